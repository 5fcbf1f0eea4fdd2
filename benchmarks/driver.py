"""How many results a second the driver takes, with many trials on record; and how fast it is simulated on many GPUs."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna

from benchmarks.table import Row, Spread
from studies.search.coordinator import Coordinator
from studies.search.ledger import Ledger
from studies.search.plans import Search
from studies.search.trials import EpochReport
from studies.simulate.clock import simulate
from studies.simulate.curves import MadeUp
from studies.spec import StudySpec
from trainables.config import Recipe

NUM_ARMS, EPOCHS = 10, 10
ON_RECORD, GPUS = 10_000, 1_000
NUM_TRIALS = 100
"""That are measured, on top of those on record; all of them report every epoch."""

ENCODERS = ("resnet18", "resnet34", "resnet50", "mobilenet_v2", "efficientnet_lite0")


def rows() -> Iterator[Row]:
    """Results a second with 10,000 trials on record in a file, and the seconds of a simulation of so many."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = _spec(ON_RECORD // NUM_ARMS, sampler="random")  # TPE would take most of the time
    with tempfile.TemporaryDirectory(prefix="fewtile-bench-") as folder:
        ledger = Ledger(Path(folder) / "optuna.db", {arm.name: "" for arm in spec.arms()}, study_id="bench")
        started = time.perf_counter()
        simulate(spec, MadeUp(spec=spec), gpus=GPUS, ledger=ledger)
        yield Row(
            what=f"simulation of {ON_RECORD} trials on {GPUS} GPUs, random search, with a ledger in a file",
            unit="s",
            ours=Spread.of([time.perf_counter() - started]),
        )
        yield Row(
            what=f"results with {ON_RECORD} trials on record, {EPOCHS} for each suggestion of TPE",
            unit="1/s",
            ours=Spread.of(list(_results_per_second(ledger))),
            is_better_when="more",
        )
        ledger.close()


def _results_per_second(ledger: Ledger) -> Iterator[float]:
    """Of each trial: its suggestion, its results and its end; none is stopped early."""
    spec = _spec((ON_RECORD + NUM_TRIALS) // NUM_ARMS, grace_epochs=EPOCHS)
    coordinator = Coordinator(spec, ledger, Search(spec))
    for _ in range(NUM_TRIALS):
        started = time.perf_counter()
        trial = coordinator.next()
        assert trial is not None
        for epoch in range(1, EPOCHS + 1):
            ended = "epochs" if epoch == EPOCHS else ""
            coordinator.report(trial.key, EpochReport(epoch=epoch, best=epoch / 20, best_epoch=epoch, ended=ended))
        yield EPOCHS / (time.perf_counter() - started)


def _spec(trials: int, **changes: Any) -> StudySpec:
    names = tuple(f"{decoder}:{encoder}@scratch" for decoder in ("unet", "fpn") for encoder in ENCODERS)
    settings = {"architectures": names, "trials": trials, "grace_epochs": 2, "reduction_factor": 2} | changes
    return StudySpec.model_validate(settings | {"tiles": (24,), "recipe": Recipe(epochs=EPOCHS)})
