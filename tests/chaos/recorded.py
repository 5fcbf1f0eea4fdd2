"""Phase 2 with recorded learning curves in place of training: all of a study but the arithmetic, in milliseconds.

Run as a script, like the phase itself; being `__main__`, its functions travel to the workers by value. What goes wrong
is set by the environment; in a trial it follows from its number, so that it goes wrong in every run alike:

    EPOCH_SECONDS     how long an epoch takes (default 0.05)
    DIVERGES          trials of these numbers reach a NaN in their third epoch
    OUT_OF_MEMORY     trials of these numbers run out of memory in whole batches, wherever they run
    CROWDED           trials of these numbers run out of memory the first time they are tried
    HANGS             trials of these numbers hang in their second epoch, the first time
    WRONG             the first trial finds what only a person can mend
    TILE_SECONDS      how long scoring a tile takes besides (default 0)
    SCORING_MEMORY    final models of these numbers run out of memory the first time that they are scored
    SCORING_HANGS     the scoring of final models of these numbers hangs, the first time
    DIES_AT           the driver kills itself at a call of one of POINTS: `report:before:5` or `report:after:5`

A trial's folder tells in `worker` which process has it; beside the study's folder, `scoring-ARM-NUMBER-SPLIT` tells
which process scores a model, and `scored-…` has a line for each time that it was scored to the end.
"""

import dataclasses
import itertools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from rich.console import Console

from studies import command_line as cli
from studies.files import folder
from studies.models import selection
from studies.models.evaluation import score_model
from studies.models.scores import ModelScores, ScoringFailure, ScoringJob, ScoringMode, ScoringResult
from studies.seal import register
from studies.search.ledger import Ledger
from studies.study import run_study
from trainables import checkpoints as ckpt
from trainables.common.command import EXIT_INTERRUPTED, EXIT_OUT_OF_TIME, run
from trainables.common.errors import UserError
from trainables.config import TrialConfig
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal
from trainables.records import DivergedError, EpochRecord, OutOfMemoryError
from trainables.training import TrainingState

SETTINGS = (
    *("EPOCH_SECONDS", "DIVERGES", "OUT_OF_MEMORY", "CROWDED", "HANGS", "WRONG"),
    *("TILE_SECONDS", "SCORING_MEMORY", "SCORING_HANGS"),
)
"""What workers are told."""

POINTS: dict[str, tuple[Any, str]] = {
    "open": (Ledger, "add_arms"),
    "freeze": (folder, "write_study"),
    "add": (Ledger, "add"),
    "note": (Ledger, "note"),
    "decide": (Ledger, "decide"),
    "report": (Ledger, "report"),
    "end": (Ledger, "end"),
    "tell": (optuna.Study, "tell"),
    "select": (selection, "write_json"),
    "line": (register, "append_lines"),
}
"""Where the driver can kill itself: all that it writes to the ledger, to the selection and to the register."""


def curve(config: TrialConfig, epoch: int) -> float:
    """An IoU that rises with the epochs, faster or slower, to a height that depends on the settings; curves cross."""
    rng = np.random.default_rng([int(config.signature()[:8], 16)])
    height = 0.8 - 0.15 * abs(math.log10(config.lr / 1e-3)) - 0.2 * config.decoder_dropout + 0.05 * rng.normal()
    pace = rng.uniform(1.0, 4.0)
    noise = 0.02 * np.random.default_rng([int(config.signature()[:8], 16), epoch]).normal()
    return float(np.clip(height * (1 - math.exp(-epoch / pace)) + noise, 0.0, 1.0))


def recorded_fit(
    config: TrialConfig,
    tiles: TrainVal,
    *,
    checkpoints: Path,
    checkpoint_seconds: float,
    checkpoint_epochs: Container[int],
    resume: Path | None,
    should_stop: Callable[[], bool],
    micro_batch_size: int | None,
    **_: Any,
) -> Iterator[EpochRecord]:
    """`trainables.trial.fit` with a curve for the training; checkpoints are real, of an untrained network."""
    number = int(checkpoints.name)
    checkpoints.mkdir(parents=True, exist_ok=True)
    (checkpoints / "worker").write_text(str(os.getpid()), encoding="utf-8")
    trial = TrainingState(config, tiles, torch.device("cpu"))
    if resume is not None:
        trial.load_state(ckpt.load(resume, ckpt.NEWEST), resume)
        if trial.records[-1].best_epoch == len(trial.records):  # a kill may have come before it was saved
            ckpt.save(checkpoints / ckpt.BEST, trial.best_content(trial.records[-1]))
    if trial.records and trial.records[-1].ended:
        return
    misbehave(number, checkpoints, micro_batch_size)
    saved_at = time.monotonic()
    for epoch in range(len(trial.records) + 1, config.recipe.epochs + 1):
        until = time.monotonic() + float(os.environ.get("EPOCH_SECONDS", "0.05"))
        while time.monotonic() < until:
            if should_stop():
                return
            time.sleep(0.01)
        if epoch == 3 and number in listed("DIVERGES"):
            raise DivergedError(f"the training loss is nan in epoch {epoch}")
        if epoch == 2 and number in listed("HANGS") and first_time(checkpoints, "hung"):
            time.sleep(3600)
        judged = curve(config, epoch)
        is_best = not trial.records or judged > trial.records[-1].best
        best, best_epoch = (judged, epoch) if is_best else (trial.records[-1].best, trial.records[-1].best_epoch)
        record = EpochRecord(
            epoch=epoch,
            metrics={config.judged_metric: judged, "train/loss": 1.0 - judged},
            lr=config.lr,
            judged=judged,
            best=best,
            best_epoch=best_epoch,
            ended="epochs" if epoch == config.recipe.epochs else "",
            seconds=1.0,
            micro_batch_size=micro_batch_size or 0,
        )
        trial.end_epoch(record)
        if time.monotonic() - saved_at >= checkpoint_seconds or epoch in checkpoint_epochs:
            kept = None if resume is not None and resume.name == ckpt.PREVIOUS else checkpoints / ckpt.PREVIOUS
            ckpt.save(checkpoints / ckpt.NEWEST, trial.state(), previous=kept)
            saved_at, resume = time.monotonic(), None
        if is_best:
            ckpt.save(checkpoints / ckpt.BEST, trial.best_content(record))
        yield record


def recorded_scoring(job: ScoringJob, mode: ScoringMode, tiles: Tiles, info: DatasetInfo) -> ScoringResult:
    """`score_model`, slower and with what goes wrong."""
    if job.members:  # the same models once more, together
        return score_model(job, mode, tiles, info)
    name = f"{job.folder.parent.name}-{job.folder.name}-{'val' if job.scores_of else 'test'}"
    beside = job.folder.parents[2].parent
    (beside / f"scoring-{name}").write_text(str(os.getpid()), encoding="utf-8")
    job.beat.touch()
    number, is_final = int(job.folder.name), "-confirmation" in job.folder.parent.name
    if is_final and number in listed("SCORING_HANGS") and first_time(job.folder, "scoring-hung"):
        time.sleep(3600)
    until = time.monotonic() + len(tiles) * float(os.environ.get("TILE_SECONDS", "0"))
    while time.monotonic() < until:
        if job.permit is not None and not job.permit.exists():
            return ScoringFailure(kind="stopped")
        job.beat.touch()
        time.sleep(0.01)
    is_large = is_final and number in listed("SCORING_MEMORY")
    if is_large and first_time(job.folder, "scoring-full"):  # a second time, nodes of one core have no way left
        return ScoringFailure(kind="out of memory", reason="out of memory on cpu: an injected one")
    result = score_model(job, mode, tiles, info)
    if isinstance(result, ModelScores):
        with (beside / f"scored-{name}").open("a", encoding="utf-8") as file:
            file.write(f"{mode.label}\n")
    return result


def told(names: Iterable[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a function run with this process's settings, on whatever machine: a cluster's workers have others."""
    settings = {name: os.environ[name] for name in names if name in os.environ}

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            os.environ.update(settings)
            return function(*arguments, **named)

        return wrapped

    return wrap


def misbehave(number: int, folder: Path, micro_batch_size: int | None) -> None:
    """Runs out of memory where the environment says so."""
    if "WRONG" in os.environ:
        raise UserError("weights.pth is gone: put it back")
    is_crowded = number in listed("CROWDED") and first_time(folder, "crowded")
    if is_crowded or (number in listed("OUT_OF_MEMORY") and micro_batch_size is None):
        raise OutOfMemoryError("out of memory on cpu: an injected one")


def listed(name: str) -> list[int]:
    return json.loads(os.environ.get(name, "[]"))


def first_time(folder: Path, what: str) -> bool:
    """Whether this has not happened to the trial before; remembered beside the study's folder."""
    mark = folder.parents[2].with_name(f"{folder.parents[2].name}-{folder.parent.name}-{folder.name}-{what}")
    is_first = not mark.exists()
    mark.touch()
    return is_first


def die_at(where: str) -> None:
    """Wraps a point, so that this process is killed before or after its n-th call."""
    point, moment, count = where.split(":")
    owner, name = POINTS[point]
    original, calls = getattr(owner, name), itertools.count(1)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        is_last = next(calls) == int(count)
        if is_last and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def main() -> int:
    if "DIES_AT" in os.environ:
        die_at(os.environ["DIES_AT"])
    request = cli.read_command_line(sys.argv[1:], phase="phase2_tuning", description=__doc__ or "")
    assert request.out is not None
    as_told = told(SETTINGS)
    options = dataclasses.replace(
        request.options, fit=as_told(recorded_fit), evaluate=as_told(recorded_scoring), checkpoint_seconds=0.2
    )
    result = run_study(request.spec, out=request.out, console=Console(markup=False, emoji=False), options=options)
    if result.ending is not None:
        return EXIT_OUT_OF_TIME if result.ending == "out of time" else EXIT_INTERRUPTED
    return 1 if result.unselected or result.untested else 0


if __name__ == "__main__":
    run(main)
