"""Starts W&B runs and ends the process that W&B itself starts for them; every call to it has a time limit."""

import contextlib
import functools
import logging
import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from analysis.logs.run_configs import OFFLINE_REASON
from studies.logs import wandb_variables
from studies.spec import WandbMode

if TYPE_CHECKING:
    from wandb import Run as Run  # everywhere else where it is used: it takes a second to import

PROJECT = "fewtile"

INIT_TIMEOUT_SECONDS = 10.0
"""For the server to answer when a run starts; then the run is offline."""

RETRY_SECONDS = 300.0
"""Before a process asks a server again that did not answer."""

FINISH_TIMEOUT_SECONDS = 30.0
"""For the last uploads of a run; `wandb sync` can do the rest later."""

CALL_TIMEOUT_SECONDS = 30.0
"""For W&B's own process to start, to take a row or a few pictures, or to end: it takes milliseconds."""

_T = TypeVar("_T")

_offline_until = 0.0  # on the monotonic clock: a process waits once for a server that does not answer, not per trial


def start(out: Path, mode: WandbMode, config: dict[str, Any], about: dict[str, Any]) -> tuple["Run", bool]:
    """Starts a run.

    Args:
        out: The folder for `wandb/`.
        mode: "online" or "offline".
        config: Its configuration.
        about: Its name, group and job type.

    Returns:
        The run, and whether it is offline although `mode` is "online".
    """
    import wandb

    wandb_variables.set_aside()  # of a worker whose node was started with others
    os.environ.pop("WANDB_SERVICE", None)  # of a parent process; each process has its own, and none dies with another's
    logging.raiseExceptions = False  # or W&B's own log fills the terminal with tracebacks when the disk is full
    # Twice each: it takes a failed start to find out that W&B's own process was killed
    modes: list[WandbMode] = ["online", "online"] if mode == "online" and time.monotonic() >= _offline_until else []
    modes += ["offline", "offline"]
    while True:
        now, run_id = modes.pop(0), uuid.uuid4().hex[:12]
        is_fallback = now != mode
        reason = {OFFLINE_REASON: "offline, since the server could not be reached"} if is_fallback else {}
        init = functools.partial(
            wandb.init,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(out),
            mode=now,
            id=run_id,
            config=config | reason,
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
            return bounded(init, INIT_TIMEOUT_SECONDS + CALL_TIMEOUT_SECONDS), is_fallback
        except Exception as error:
            stop_process()
            for folder in (out / "wandb").glob(f"*run-*-{run_id}"):  # it would be read as a run with nothing in it
                shutil.rmtree(folder, ignore_errors=True)
            if now == "online" and (isinstance(error, wandb.Error | TimeoutError) or "online" not in modes):
                stay_offline()
                modes = ["offline", "offline"]
            if not modes:
                raise


def stay_offline() -> None:
    """Has the runs that this process starts within `RETRY_SECONDS` offline: the server does not answer."""
    global _offline_until
    _offline_until = time.monotonic() + RETRY_SECONDS


def stop_process() -> None:
    """Ends W&B's own process, or leaves it alone where it does not answer; the next run starts a new one."""
    if "wandb" not in sys.modules:  # nothing was started
        return
    import wandb

    with contextlib.suppress(Exception):  # where it was killed, there is no connection left to close
        bounded(wandb.teardown)
    os.environ.pop("WANDB_SERVICE", None)


def finish(run: "Run") -> None:
    """Completes a run's files.

    Raises:
        TimeoutError: The server does not take all of it in time, or W&B's process does not answer.
    """
    bounded(run.finish, FINISH_TIMEOUT_SECONDS + CALL_TIMEOUT_SECONDS)


def log_pictures(run: "Run", key: str, pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> None:
    """Adds (H, W, 3) uint8 RGB pictures to a run, as JPEG files."""
    import wandb

    logging.disable(logging.WARNING)  # W&B minds pictures of several sizes, and says so on the root logger
    try:
        pairs = zip(pictures, captions, strict=True)
        run.log({key: [wandb.Image(picture, caption=text, file_type="jpg") for picture, text in pairs]})
    finally:
        logging.disable(logging.NOTSET)


def bounded(call: Callable[[], _T], seconds: float | None = None) -> _T:
    """Returns what a call returns, or raises what it raises.

    Args:
        call: What to call.
        seconds: Time limit; `CALL_TIMEOUT_SECONDS` if None.

    Raises:
        TimeoutError: The call takes longer; it is left to a thread that nobody waits for.
    """
    outcome: Future[_T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # W&B calls sys.exit where its own process was killed
            outcome.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    threading.Thread(target=run, name="wandb-call", daemon=True).start()
    return outcome.result(timeout=CALL_TIMEOUT_SECONDS if seconds is None else seconds)
