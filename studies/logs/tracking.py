"""The only file that writes W&B: a run per trial, and a run of the study itself, from which all tables can be made.

Runs of one study share its folder (offline, the default) or project (online). A trial's run is in the group
`<study>/<arm>`; the study's run holds the spec, the ranges, every ended trial's state and cost, and the selection.
Nothing here stops or slows a study because of W&B: every call has a time limit, and what fails is given up.
"""

import contextlib
import functools
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import wandb
from numpy.typing import NDArray
from pydantic import ValidationError

from analysis.logs.wandb_files import read_run
from studies.logs import wandb_variables
from studies.search.trials import Trial
from studies.spec import WandbMode
from trainables.common.errors import UserError
from trainables.records import EpochRecord

PROJECT = "fewtile"

CONNECT_TIMEOUT_SECONDS = 5.0

INIT_TIMEOUT_SECONDS = 10.0
"""For the server to answer when a run starts; then the run is offline."""

RETRY_SECONDS = 300.0
"""Before a process asks a server again that did not answer."""

FINISH_TIMEOUT_SECONDS = 30.0
"""For the last uploads of a run; `wandb sync` can do the rest later."""

CALL_TIMEOUT_SECONDS = 30.0
"""For W&B's own process to start, to take a row or a few pictures, or to end: it takes milliseconds."""

MAX_RESTARTS = 2
"""Runs that may take one's place whose process died; pictures of before are in its own files."""

_T = TypeVar("_T")


def check_variables() -> list[str]:
    """Sets W&B's variables aside that a study does not heed, and checks the others; returns what to say of the former.

    Raises:
        UserError: W&B refuses the value of one.
    """
    ignored = wandb_variables.set_aside()
    for name in sorted(wandb_variables.HEEDED & os.environ.keys()):
        try:
            wandb.Settings().update_from_env_vars({name: os.environ[name]})
        except Exception as error:
            shown = "***" if name in wandb_variables.SECRET else repr(os.environ[name])
            raise UserError(f"{name} is {shown}, but W&B refuses it ({_rule(error)}): mend or unset it") from error
    if not ignored:
        return []
    heeded = "WANDB_PROJECT, WANDB_ENTITY, WANDB_BASE_URL and what a login needs"
    return [f"{', '.join(ignored)} {'is' if len(ignored) == 1 else 'are'} ignored: a study heeds {heeded}"]


def check_start() -> None:
    """Starts a run that nobody keeps: whatever W&B refuses is known before a study starts.

    Raises:
        UserError: W&B starts none here, because of its files of settings or its folders.
    """
    with tempfile.TemporaryDirectory(prefix="fewtile-") as scratch:
        try:
            run, _ = _start(Path(scratch), "offline", {}, {"name": "check", "group": None, "job_type": "check"})
            _bounded(run.finish, CALL_TIMEOUT_SECONDS)
        except Exception as error:
            raise UserError(
                f"W&B starts no run here ({_rule(error)}): mend its files of settings, or use --wandb disabled"
            ) from error
        finally:
            _stop_service()


def _rule(error: Exception) -> str:
    """What W&B says of a value, in one line."""
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return " ".join(str(error).split()) or type(error).__name__


def check_online() -> None:
    """Refuses `online` before anything starts where it could not work.

    Raises:
        UserError: There is no login, or the server cannot be reached (W&B itself would try for minutes).
    """
    url = urlsplit(wandb.setup().settings.base_url)
    try:
        if not urllib.request.getproxies():
            port = url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection((url.hostname or "", port), timeout=CONNECT_TIMEOUT_SECONDS).close()
        if not wandb.login():
            raise UserError("--wandb online needs a login: run `wandb login`, or use --wandb offline")
    except wandb.errors.Error as error:
        raise UserError("--wandb online needs a login: run `wandb login`, or use --wandb offline") from error
    except OSError as error:
        raise UserError(
            f"--wandb online cannot reach {url.hostname}: check the network, or use --wandb offline"
        ) from error


class Run:
    """One W&B run, or nothing at all where W&B is disabled. It never raises because of W&B, nor waits for it for long.

    Attributes:
        is_offline_fallback: Whether it should be online and is offline, because the server did not let it start.
        trouble: Why its log is not complete, as a sentence; empty as long as nothing is known to be wrong. The file of
            a run is known to be whole only after `complete_files`.
    """

    def __init__(
        self, out: Path, mode: WandbMode, *, name: str, job_type: str, config: dict[str, Any], group: str | None = None
    ):
        self._name = name
        self._run: wandb.Run | None = None
        self._rows: list[dict[str, Any]] = []  # for a run that takes this one's place
        self._num_restarts = 0
        self.is_offline_fallback, self.trouble = False, ""
        if mode == "disabled":
            return
        about = {"name": name, "group": group, "job_type": job_type}
        self._start = functools.partial(_start, out, mode, config, about)
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
        pairs = list(zip(pictures, captions, strict=True))

        def log(run: wandb.Run) -> None:
            logging.disable(logging.WARNING)  # W&B minds pictures of several sizes, and says so on the root logger
            try:
                run.log({key: [wandb.Image(picture, caption=text, file_type="jpg") for picture, text in pairs]})
            finally:
                logging.disable(logging.NOTSET)

        self._try(log)

    def finish(self) -> None:
        """Completes the run's files, soon: see `complete_files`."""
        global _offline_until
        while (run := self._run) is not None:
            try:
                _bounded(run.finish, FINISH_TIMEOUT_SECONDS + CALL_TIMEOUT_SECONDS)
            except Exception as error:
                if run.offline or not isinstance(error, TimeoutError):
                    self._begin_again(error)
                    continue
                # The server is gone; the file is whole all the same
                _offline_until = time.monotonic() + RETRY_SECONDS
                folder = Path(run.settings.sync_dir)
                self.trouble = f"W&B could not upload all of {self._name} in time: run `wandb sync {folder}` later."
            _finished.append((self, Path(run.settings.sync_file)))
            self._run = None

    def _try(self, action: Callable[[wandb.Run], None]) -> None:
        while self._run is not None:
            try:
                _bounded(functools.partial(action, self._run), CALL_TIMEOUT_SECONDS)
                return
            except Exception as error:
                if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                    self.trouble = f"W&B could not write a picture of {self._name}: {_words(error)}."  # but rows it may
                    return
                self._begin_again(error)

    def _begin_again(self, error: Exception) -> None:
        """Replaces W&B's own process, and goes on in a new run with all rows; gives up after some times."""
        self._run = None
        _stop_service()
        self._num_restarts += 1
        try:
            if self._num_restarts > MAX_RESTARTS:
                raise error
            run, self.is_offline_fallback = self._start()
            for row in self._rows:
                _bounded(functools.partial(run.log, row), CALL_TIMEOUT_SECONDS)
            self._run = run
        except Exception as last:
            self.trouble = f"W&B stopped logging {self._name}, whose file is read as far as it goes: {_words(last)}."


def complete_files() -> None:
    """Waits until the files of all finished runs are whole: `finish` alone returns some milliseconds before that."""
    _stop_service()
    for run, path in _finished:
        notes: list[str] = []
        try:
            logged = read_run(path, notes)
        except OSError as error:
            logged, notes = None, [f"{_words(error)}."]
        if not run.trouble and (logged is None or not logged.ended):  # on a full disk W&B itself says nothing
            run.trouble = f"The log of {run._name} has no end: {' '.join(notes) or 'was the disk full?'}"
    _finished.clear()


def log_epoch(run: Run, record: EpochRecord) -> None:
    """Logs every metric of an epoch of a trial."""
    run.log(
        {
            "epoch": record.epoch,
            "lr": record.lr,
            "epoch_seconds": record.seconds,
            "step_seconds": record.step_seconds,
            "peak_memory_gib": record.peak_memory_gib,
            "micro_batch_size": record.micro_batch_size,
            **record.metrics,
        }
    )


def log_trial(run: Run, trial: Trial, stage: str) -> None:
    """Logs to the study's run how a trial ended and what it cost; a later row of the same trial stands for it."""
    row: dict[str, Any] = {
        "arm": trial.arm.parent,
        "run_arm": trial.arm.name,
        "number": trial.number,
        "stage": stage,
        "signature": trial.config.signature(),
        "state": trial.outcome or "interrupted",
        "reason": trial.reason,
        "epochs": trial.epoch,
        "seconds": trial.seconds,
        "micro_batch_size": trial.micro_batch_size,
        "lost_epochs": trial.lost_epochs,
        "lost_seconds": trial.lost_seconds,
    }
    if trial.epoch:
        row |= {"judged": trial.best, "best_epoch": trial.best_epoch}
    _log_under("trial", run, row)


def log_model(run: Run, row: dict[str, Any]) -> None:
    """Logs to the study's run what a final model came to.

    Args:
        run: The study's.
        row: `arm`, `number` (in it, from 0), `run_arm` (the arm under which its trial was logged), `confirms` (the
            signature of the selected configuration, where there was a search), `subset` and `seed`
            (which of the tile subsets and seeds it has, from 0), `state`, `init_seed`, `draw_seed`, `subset_seed`,
            `signature`, `best_epoch` (from 1), `epochs`, `seconds`, `micro_batch_size` (0 for none), `val_iou`,
            `val_f1`, `test_iou`, `test_f1` (full resolution, in [0, 1]), `val_tile_iou`, `test_tile_iou`,
            `val_tile_confusion` and `test_tile_confusion` (each by tile id; see `score_model`), `scored` (how it was
            scored where not in the usual way) and `attempt`;
            what is None is left out. A later row of the same arm and number stands for it.
    """
    by_tile = {key: value for key, value in row.items() if isinstance(value, dict)}
    as_lists: dict[str, list[Any]] = {}  # W&B would split a dictionary by the dots in tile ids
    for key, values in by_tile.items():
        as_lists |= {key: list(values.values()), f"{key.partition('_')[0]}_tiles": list(values)}
    _log_under("model", run, {key: value for key, value in row.items() if key not in by_tile} | as_lists)


def log_opening(run: Run, row: dict[str, Any]) -> None:
    """Logs to the study's run that the test tiles were opened, or that an earlier result was used instead.

    Args:
        run: The study's.
        row: `arm`, `attempt`, `event` ("opened", "reopened", "result", or "recorded" where an earlier result was
            used), `at`, `why` (for a reopening), `tiles_digest`, `num_attempts` and `num_studies` (that ever opened
            these test tiles, so far); what is None is left out.
    """
    _log_under("opening", run, row)


_offline_until = 0.0  # on the monotonic clock: a process waits once for a server that does not answer, not per trial
_finished: list[tuple[Run, Path]] = []  # whose files may not be whole yet


def _log_under(prefix: str, run: Run, row: dict[str, Any]) -> None:
    run.log({f"{prefix}/{key}": value for key, value in row.items() if value is not None})


def _start(out: Path, mode: WandbMode, config: dict[str, Any], about: dict[str, Any]) -> tuple[wandb.Run, bool]:
    """Starts a run, and tells whether it is offline in spite of `mode`."""
    global _offline_until
    wandb_variables.set_aside()  # of a worker whose node was started with others
    os.environ.pop("WANDB_SERVICE", None)  # of a parent process; each process has its own, and none dies with another's
    logging.raiseExceptions = False  # or W&B's own log fills the terminal with tracebacks when the disk is full
    # Twice each: it takes a failed start to find out that W&B's own process was killed
    modes: list[WandbMode] = ["online", "online"] if mode == "online" and time.monotonic() >= _offline_until else []
    modes += ["offline", "offline"]
    while True:
        now, run_id = modes.pop(0), uuid.uuid4().hex[:12]
        is_fallback = now != mode
        told = {"wandb_mode": "offline, since the server could not be reached"} if is_fallback else {}
        start = functools.partial(
            wandb.init,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(out),
            mode=now,
            id=run_id,
            config=config | told,
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_viewer=True,  # it would wait for the server on its own account
                x_transaction_log_flush_interval=0.02,  # seconds that a killed process can lose
                init_timeout=INIT_TIMEOUT_SECONDS,
                finish_timeout=FINISH_TIMEOUT_SECONDS,
                finish_timeout_raises=True,
            ),
            **about,
        )
        try:
            return _bounded(start, INIT_TIMEOUT_SECONDS + CALL_TIMEOUT_SECONDS), is_fallback
        except Exception as error:
            _stop_service()
            for folder in (out / "wandb").glob(f"*run-*-{run_id}"):  # it would be read as a run with nothing in it
                shutil.rmtree(folder, ignore_errors=True)
            if now == "online" and (isinstance(error, wandb.Error | TimeoutError) or "online" not in modes):
                _offline_until = time.monotonic() + RETRY_SECONDS
                modes = ["offline", "offline"]
            if not modes:
                raise


def _stop_service() -> None:
    """Ends W&B's own process, or leaves it alone where it does not answer; the next run starts a new one."""
    with contextlib.suppress(Exception):  # where it was killed, there is no connection left to close
        _bounded(wandb.teardown, CALL_TIMEOUT_SECONDS)
    os.environ.pop("WANDB_SERVICE", None)


def _bounded(call: Callable[[], _T], seconds: float) -> _T:
    """Returns what a call returns or raises, or raises TimeoutError and leaves it to a thread that nobody waits for."""
    outcome: Future[_T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # W&B calls sys.exit where its own process was killed
            outcome.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    threading.Thread(target=run, name="wandb-call", daemon=True).start()
    return outcome.result(timeout=seconds)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".: ")
