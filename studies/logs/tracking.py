"""A study's W&B runs: one per trial, and one of the study itself, from which all tables can be made.

Runs of one study share its folder (offline, the default) or project (online). A trial's run is in the group
`<study>/<arm>`. What they hold is said by `analysis.logs.rows` and `analysis.logs.run_configs`.
Nothing here stops or slows a study because of W&B: every call has a time limit, and what fails is given up.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.logs import rows
from analysis.logs.forecast_row import ForecastRow, forecast_to_history
from analysis.logs.further_rows import FurtherModel
from analysis.logs.rows import EpochRow, FinalModel, OpeningRow, SelectionRow, TrialRow
from studies.logs import wandb_process
from studies.search.trials import Trial
from studies.spec import WandbMode
from trainables.records import EpochRecord

if TYPE_CHECKING:
    from studies.logs.wandb_process import Run

MAX_RESTARTS = 2
"""Runs that may take one's place whose process died; pictures of before are in its own files."""


class WandbRun:
    """One W&B run, or nothing at all where W&B is disabled. It never raises because of W&B, nor waits for it for long.

    Attributes:
        is_offline_fallback: Whether it should be online and is offline, because the server did not let it start.
        trouble: Why its log is not complete, as a sentence; empty as long as nothing is known to be wrong. The file of
            a run is known to be whole only after `complete_files`.
    """

    def __init__(
        self,
        out: Path,
        mode: WandbMode,
        *,
        name: str,
        job_type: str,
        config: Mapping[str, Any],
        group: str | None = None,
    ):
        self.name = name
        self._run: Run | None = None
        self._rows: list[dict[str, Any]] = []  # for a run that takes this one's place
        self._num_restarts = 0
        self.is_offline_fallback, self.trouble = False, ""
        if mode == "disabled":
            return
        about = {"name": name, "group": group, "job_type": job_type}
        self._start = functools.partial(wandb_process.start, out, mode, dict(config), about)
        try:
            self._run, self.is_offline_fallback = self._start()
        except Exception as error:
            self.trouble = f"W&B could not start {name}, so nothing of it is logged: {_words(error)}."

    def log(self, row: dict[str, Any]) -> None:
        """Adds a row to the run's history."""
        self._try(lambda run: run.log(row))
        self._rows.append(row)

    def log_pictures(self, key: str, pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> None:
        """Adds (H, W, 3) uint8 RGB pictures under one key."""
        self._try(lambda run: wandb_process.log_pictures(run, key, pictures, captions))

    def finish(self) -> None:
        """Completes the run's files, soon: see `complete_files`."""
        while (run := self._run) is not None:
            try:
                wandb_process.finish(run)
            except Exception as error:
                if run.offline or not isinstance(error, TimeoutError):
                    self._begin_again(error)
                    continue
                # The server is gone; the file is whole all the same
                wandb_process.stay_offline()
                folder = Path(run.settings.sync_dir)
                self.trouble = f"W&B could not upload all of {self.name} in time: run `wandb sync {folder}` later."
            _finished.append((self, Path(run.settings.sync_file)))
            self._run = None

    def _try(self, action: Callable[["Run"], None]) -> None:
        while self._run is not None:
            try:
                wandb_process.bounded(functools.partial(action, self._run))
                return
            except Exception as error:
                if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                    self.trouble = f"W&B could not write a picture of {self.name}: {_words(error)}."  # but rows it may
                    return
                self._begin_again(error)

    def _begin_again(self, error: Exception) -> None:
        """Replaces W&B's own process, and goes on in a new run with all rows; gives up after some times."""
        self._run = None
        wandb_process.stop_process()
        self._num_restarts += 1
        try:
            if self._num_restarts > MAX_RESTARTS:
                raise error
            run, self.is_offline_fallback = self._start()
            for row in self._rows:
                wandb_process.bounded(functools.partial(run.log, row))
            self._run = run
        except Exception as last:
            self.trouble = f"W&B stopped logging {self.name}, whose file is read as far as it goes: {_words(last)}."


_finished: list[tuple[WandbRun, Path]] = []  # whose files may not be whole yet


def complete_files() -> None:
    """Waits until the files of all finished runs are whole: `finish` alone returns some milliseconds before that."""
    wandb_process.stop_process()
    if _finished:
        from analysis.logs.wandb_run import read_run  # here: it imports W&B
    for run, path in _finished:
        notes: list[str] = []
        try:
            logged = read_run(path, notes)
        except OSError as error:
            logged, notes = None, [f"{_words(error)}."]
        if not run.trouble and (logged is None or not logged.ended):  # on a full disk W&B itself says nothing
            run.trouble = f"The log of {run.name} has no end: {' '.join(notes) or 'was the disk full?'}"
    _finished.clear()


def log_epoch(run: WandbRun, record: EpochRecord) -> None:
    """Logs an epoch of a trial, with every metric, to its run."""
    row = EpochRow(
        epoch=record.epoch,
        lr=record.lr,
        epoch_seconds=record.seconds,
        step_seconds=record.step_seconds,
        peak_memory_gib=record.peak_memory_gib,
        micro_batch_size=record.micro_batch_size,
    )
    run.log({**row, **record.metrics})


def log_trial(run: WandbRun, trial: Trial, stage: str) -> None:
    """Logs to the study's run how a trial ended and what it cost."""
    row = TrialRow(
        arm=trial.arm.parent,
        run_arm=trial.arm.name,
        number=trial.number,
        stage=stage,
        signature=trial.config.signature(),
        state=trial.outcome or "interrupted",
        reason=trial.reason,
        epochs=trial.epoch,
        seconds=trial.seconds,
        micro_batch_size=trial.micro_batch_size,
        lost_epochs=trial.lost_epochs,
        lost_seconds=trial.lost_seconds,
    )
    if trial.epoch:
        row["best_epoch"] = trial.best_epoch
        if trial.config.is_judged:
            row["judged"] = trial.best
    run.log(rows.TRIAL.to_history(row))


def log_selection(run: WandbRun, row: SelectionRow) -> None:
    """Logs to the study's run which trial an arm's search selected."""
    run.log(rows.SELECTION.to_history(row))


def log_model(run: WandbRun, model: FinalModel) -> None:
    """Logs to the study's run what a final model came to."""
    run.log(rows.MODEL.to_history(rows.model_row(model)))


def log_further(run: WandbRun, model: FurtherModel) -> None:
    """Logs to the study's run what a final model came to on a further test set."""
    run.log(rows.FURTHER.to_history(rows.further_row(model)))


def log_opening(run: WandbRun, row: OpeningRow) -> None:
    """Logs to the study's run that the test tiles were opened, or that an earlier result was used instead."""
    run.log(rows.OPENING.to_history(row))


def log_forecast(run: WandbRun, row: ForecastRow) -> None:
    """Logs to the study's run how long the rest of it was to take when its first trial had ended, and what it took."""
    run.log(forecast_to_history(row))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".: ")
