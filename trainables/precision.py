"""How long a training step takes on this CPU in a number type."""

import time

import torch

from trainables.config import TrialConfig
from trainables.data.draws import DrawSource
from trainables.data.tiles import TrainVal
from trainables.names import Precision
from trainables.training import TrainingState

NUM_STEPS = 3
"""Timed after one that warms up; the fastest counts, since others may use the machine meanwhile."""


def step_seconds(config: TrialConfig, tiles: TrainVal, precision: Precision, num_threads: int) -> float:
    """The fastest of a few training steps on so many CPU cores (s).

    Steps are of the epochs in which all that is ever trained is trained.
    """
    torch.set_num_threads(num_threads)  # of this thread alone, where PyTorch computes with OpenMP
    config = config.model_copy(update={"recipe": config.recipe.model_copy(update={"precision": precision})})
    recipe = config.recipe
    trial = TrainingState(config, tiles, torch.device("cpu"))
    source = DrawSource(
        trial.tiles,
        preset="NONE",
        window_px=recipe.window_px,
        subset_seed=recipe.subset_seed,
        draw_seed=recipe.draw_seed,
    )
    epoch = config.frozen_epochs + 1
    images, masks = next(source.batches(epoch, num_draws=config.batch_size, batch_size=config.batch_size))
    trial.start_epoch(epoch)
    seconds = []
    for _ in range(1 + NUM_STEPS):
        started = time.perf_counter()
        trial.train_step(images, masks)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
