"""How long a training step takes on this CPU in each number type."""

import time
from collections.abc import Sequence

import torch

from trainables.config import TrialConfig
from trainables.data.draws import DrawSource
from trainables.data.tiles import TrainVal
from trainables.names import Precision
from trainables.training import TrainingState

NUM_STEPS = 3
"""Timed in each type after one that warms up; the fastest counts."""


def step_seconds(
    config: TrialConfig, tiles: TrainVal, precisions: Sequence[Precision], num_threads: int
) -> dict[Precision, float]:
    """The fastest of a few training steps in each of the types, on so many CPU cores (s).

    Steps are of the epochs in which all that is ever trained is trained. The types take turns, and only the time that
    this thread computes counts: Ray's many processes start meanwhile, and whichever type came first would seem slow.
    """
    torch.set_num_threads(num_threads)  # of this thread alone, where PyTorch computes with OpenMP
    trials = {}
    for precision in precisions:
        recipe = config.recipe.model_copy(update={"precision": precision})
        trials[precision] = TrainingState(config.model_copy(update={"recipe": recipe}), tiles, torch.device("cpu"))
    source = DrawSource(
        tiles.budget(config.tiles, config.recipe.subset_seed),
        preset="NONE",
        window_px=config.recipe.window_px,
        subset_seed=config.recipe.subset_seed,
        draw_seed=config.recipe.draw_seed,
    )
    epoch = config.frozen_epochs + 1
    images, masks = next(source.batches(epoch, num_draws=config.batch_size, batch_size=config.batch_size))
    seconds: dict[Precision, list[float]] = {precision: [] for precision in precisions}
    for trial in trials.values():
        trial.start_epoch(epoch)
    for _ in range(1 + NUM_STEPS):
        for precision, trial in trials.items():
            started = time.thread_time()
            trial.train_step(images, masks)
            seconds[precision].append(time.thread_time() - started)
    return {precision: min(each[1:]) for precision, each in seconds.items()}
