"""The only file that writes W&B: a run per trial, and a run of the study itself, from which all tables can be made.

Runs of one study share its folder (offline, the default) or project (online). A trial's run is in the group
`<study>/<arm>`; the study's run holds the spec, the ranges, every ended trial's state and cost, and the selection.
"""

import os
import socket
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import wandb
from numpy.typing import NDArray

from studies.coordinator import Progress
from studies.spec import WandbMode
from trainables.errors import UserError
from trainables.records import EpochRecord

PROJECT = "fewtile"

CONNECT_TIMEOUT_SECONDS = 5.0


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
    """One W&B run, or nothing at all where W&B is disabled."""

    def __init__(
        self, out: Path, mode: WandbMode, *, name: str, job_type: str, config: dict[str, Any], group: str | None = None
    ):
        self._run: wandb.Run | None = None
        if mode == "disabled":
            return
        os.environ.setdefault("WANDB_SILENT", "true")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(out),
            mode=mode,
            name=name,
            group=group,
            job_type=job_type,
            id=uuid.uuid4().hex[:12],
            config=config,
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
                x_transaction_log_flush_interval=1,  # seconds that a killed process can lose
            ),
        )

    def log(self, row: dict[str, Any]) -> None:
        """Adds a row to the run's history."""
        if self._run is not None:
            self._run.log(row)

    def log_pictures(self, key: str, pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> None:
        """Adds (H, W, 3) uint8 RGB pictures under one key."""
        if self._run is not None:
            images = [wandb.Image(p, caption=c) for p, c in zip(pictures, captions, strict=True)]
            self._run.log({key: images})

    def finish(self) -> None:
        """Completes the run's files, soon: see `complete_files`."""
        if self._run is not None:
            self._run.finish()
            self._run = None


def complete_files() -> None:
    """Waits until the files of all finished runs are whole: `finish` alone returns some milliseconds before that."""
    wandb.teardown()


def log_epoch(run: Run, record: EpochRecord) -> None:
    """Logs every metric of an epoch of a trial."""
    run.log(
        {
            "epoch": record.epoch,
            "lr": record.lr,
            "epoch_seconds": record.seconds,
            "step_seconds": record.step_seconds,
            "peak_memory_gib": record.peak_memory_gib,
            **record.metrics,
        }
    )


def log_trial(run: Run, progress: Progress) -> None:
    """Logs to the study's run how a trial ended and what it cost."""
    row: dict[str, Any] = {
        "arm": progress.assignment.arm.name,
        "number": progress.assignment.number,
        "state": progress.outcome or "interrupted",
        "reason": progress.reason,
        "epochs": progress.epoch,
        "seconds": progress.seconds,
    }
    if progress.epoch:
        row |= {"judged": progress.best, "best_epoch": progress.best_epoch}
    run.log({f"trial/{key}": value for key, value in row.items()})
