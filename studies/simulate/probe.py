"""Times short trials of each architecture on this machine, several side by side as in a study."""

import multiprocessing
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from studies.backend.slots import Slots
from studies.inputs import StudyInputs
from studies.search.plans import Plan
from trainables.common.errors import UserError
from trainables.config import TrialConfig
from trainables.data.tiles import TrainVal
from trainables.names import Precision

EPOCHS, STEPS = 3, 4
"""Of a trial that is timed. The first epoch warms up: it fills caches, and libraries choose how to compute."""

GB = 1e9
BYTES_PER_PARAMETER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a trial of an architecture takes on this machine.

    Attributes:
        step_seconds: Of an optimizer step with its draws, one for each epoch that was timed.
        judging_seconds: What an epoch takes besides its steps.
        newest_gb: Of a checkpoint to go on from (10⁹ bytes).
        best_gb: Of a model that is kept.
    """

    step_seconds: Sequence[float]
    judging_seconds: float
    newest_gb: float
    best_gb: float

    def epoch_seconds(self, num_steps: int) -> tuple[float, float, float]:
        """Of an epoch of so many steps, by the fastest, the median and the slowest of those that were timed."""
        steps = min(self.step_seconds), statistics.median(self.step_seconds), max(self.step_seconds)
        low, middle, high = (num_steps * step + self.judging_seconds for step in steps)
        return low, middle, high


def probe(
    inputs: StudyInputs,
    plan: Plan,
    slots: Slots,
    precision: Precision,
    track: Callable[[Sequence[str], str], Iterable[str]],
) -> dict[str, Pace]:
    """The pace of every architecture, with as many trials side by side as this machine would run.

    Args:
        inputs: With tiles.
        plan: Of the study's first stage; of each architecture, the arm with the most tiles is timed.
        slots: Of this machine; on one with several GPUs, trials are timed on the first.
        precision: What trials are computed in.
        track: Shows how many architectures have been timed: takes their names and a description.

    Raises:
        UserError: A trial has no room, or its network cannot be trained.
    """
    found = {}
    # All that one GPU has room for, or all that the cores have room for
    count = min(slots.count, max(1, int(1 / slots.gpus))) if slots.gpus else slots.count
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_keep, initargs=(inputs.tiles,)) as pool:
        for name in track(list(inputs.spec.architectures), "timing a few steps"):
            arm = max((arm for arm in plan.arms if arm.architecture == name), key=lambda arm: arm.tiles)
            config = _short(plan.config(arm, 0, arm.recipe(inputs.spec)), precision)
            networks = inputs.num_networks(arm) if config.folds else 1
            args = (config, networks, slots.device, slots.cpus)
            copies = [pool.submit(_time, *args) for _ in range(count)]
            try:
                found[name] = _together([copy.result() for copy in copies])
            except (RuntimeError, MemoryError, ArithmeticError) as error:  # of memory, or by the network itself
                words = str(error).strip().partition("\n")[0]
                raise UserError(
                    f"{name} could not be timed with {count} side by side ({words}): give fewer or smaller "
                    "trials, such as by --cpus-per-trial or --window-px, or leave --forecast out"
                ) from error
    return found


def _short(config: TrialConfig, precision: Precision) -> TrialConfig:
    """A trial of a few epochs of a few steps; a pretrained encoder is trained from the second on."""
    recipe = {"epochs": EPOCHS, "draws_per_epoch": STEPS * config.batch_size, "precision": precision}
    changes = {"recipe": config.recipe.model_copy(update=recipe)}
    return config.model_copy(update=changes | ({"fixed_epochs": EPOCHS} if config.fixed_epochs else {}))


_tiles: list[TrainVal] = []
"""Of this process."""


def _keep(tiles: TrainVal) -> None:
    _tiles.append(tiles)


def _time(config: TrialConfig, num_networks: int, device: str, num_threads: int) -> Pace:
    """Runs the short trial, in a process of its own."""
    from trainables.checkpoints import BEST, NEWEST, count_parameters  # here: only who forecasts needs torch
    from trainables.device import use_threads
    from trainables.trial import fit

    use_threads(num_threads)
    tiles = _tiles[0]
    with tempfile.TemporaryDirectory(prefix="fewtile-") as folder:
        path = Path(folder)
        records = []
        sizes = {NEWEST: 0.0, BEST: 0.0}
        for record in fit(config, tiles, checkpoints=path, checkpoint_seconds=0.0, device=device):
            records.append(record)
            sizes |= {name: (path / name).stat().st_size / GB for name in sizes if (path / name).exists()}
    if not sizes[BEST]:  # folds have no model to keep, but the final models of their labels do
        sizes[BEST] = BYTES_PER_PARAMETER * count_parameters(config, tiles.info)[0] / GB
    timed = records[1:]
    judging = [record.seconds - num_networks * STEPS * record.step_seconds for record in timed]
    return Pace(
        step_seconds=[num_networks * record.step_seconds for record in timed],
        judging_seconds=max(0.0, statistics.median(judging)),
        newest_gb=sizes[NEWEST],
        best_gb=sizes[BEST],
    )


def _together(copies: Sequence[Pace]) -> Pace:
    """Of copies of a trial that ran side by side."""
    return Pace(
        step_seconds=[seconds for copy in copies for seconds in copy.step_seconds],
        judging_seconds=statistics.fmean(copy.judging_seconds for copy in copies),
        newest_gb=max(copy.newest_gb for copy in copies),
        best_gb=max(copy.best_gb for copy in copies),
    )
