"""Reads the runs of a W&B project through its server, as `wandb_files` reads those of a folder."""

import contextlib
import functools
import math
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb

from analysis.logs.errors import LogsError
from analysis.logs.rows import pictures
from analysis.logs.run_configs import STUDY_JOB
from analysis.logs.wandb_run import LoggedRun
from trainables.common.network import check_url

TIMEOUT_SECONDS = 60
"""For one answer of the server, with all retries."""

NUM_RETRIES = 3
"""Where no answer comes, or the answer is that there were too many questions. At least one: 0 is W&B's own default."""

NUM_THREADS = 8
"""Histories that are read at the same time: each takes three small requests."""

RUNS_PER_PAGE = 200

_PROJECT = re.compile(r"[^/\s]+/[^/\s]+")
_ENDED = ("finished", "failed")  # any exit code; where W&B says "crashed" or "killed", no end was logged
_PICTURES = ("image-file", "images/separated")
_NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_project_runs(
    project: str, folder: Path, shrink: Callable[[LoggedRun], LoggedRun] | None = None
) -> list[LoggedRun]:
    """Reads every run of a W&B project, oldest first, and downloads the pictures of the studies' own runs.

    A run that is not Fewtile's, whose configuration names no study, comes without its history.

    Args:
        project: As `entity/project`.
        folder: For the pictures, in `<run id>/files/`; one that is there already is not downloaded again. The runs'
            `path` lies beside that, but there is no such file.
        shrink: What to make of each run once it is read: of thousands, whole rows would fill the memory.

    Returns:
        The runs as the offline reader gives them, but for W&B's own entry `_wandb` in their configuration, and with a
        start that is right to about a hundredth of a second.

    Raises:
        LogsError: It is no `entity/project`, there is no login, the server does not answer within two minutes, or
            it has no such project that this login may read.
    """
    api = connect(project)
    with told_in_one_line(project):
        found = list(api.runs(project, lazy=False, per_page=RUNS_PER_PAGE, include_sweeps=False))
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            read = functools.partial(_read, folder=folder, shrink=shrink, has_failed=threading.Event())
            runs = list(pool.map(read, found))
    return sorted(runs, key=lambda run: (run.start, run.path))


def check_project(project: str) -> None:
    """Refuses what cannot be a project's name; nothing is asked of a server.

    Raises:
        LogsError: It is no `entity/project`.
    """
    if not _PROJECT.fullmatch(project):
        raise LogsError(f"the W&B project is {project!r}, but must be entity/project: give it like someone/fewtile")


def connect(project: str) -> wandb.Api:
    """Returns W&B's interface to its server, which gives up soon where there is no answer.

    Args:
        project: As `entity/project`; whether there is such a project is not asked.

    Raises:
        LogsError: It is no `entity/project`, there is no login, or the server cannot be reached.
    """
    check_project(project)
    os.environ.setdefault("WANDB_SILENT", "true")
    settings = wandb.setup(
        settings=wandb.Settings(
            silent=True,
            x_graphql_timeout_seconds=TIMEOUT_SECONDS / (1 + NUM_RETRIES),
            x_graphql_retry_max=NUM_RETRIES,
            x_graphql_retry_wait_max_seconds=10,
            x_file_transfer_timeout_seconds=TIMEOUT_SECONDS,
            x_file_transfer_retry_max=NUM_RETRIES,
            x_file_transfer_retry_wait_max_seconds=10,
        )
    ).settings
    host = urlsplit(settings.base_url).hostname
    try:
        check_url(settings.base_url)
        if not wandb.login(prompt=False):
            raise LogsError(f"{host} has no login here, but {project} needs one: run `wandb login`")
        return wandb.Api(timeout=TIMEOUT_SECONDS)
    except OSError as error:
        raise LogsError(f"{host} cannot be reached: check the network, or WANDB_BASE_URL") from error
    except wandb.Error as error:
        raise LogsError(
            f"{host} did not take the login ({_words(error)}): check the network, or `wandb login --relogin`"
        ) from error


@contextlib.contextmanager
def told_in_one_line(project: str) -> Iterator[None]:
    """Turns whatever W&B raises in the block, which has no common base, into a `LogsError` about the project."""
    try:
        yield
    except Exception as error:
        raise LogsError(
            f"W&B does not give {project} ({_words(error)}): check the name, the network and the login's rights"
        ) from error


def _read(
    run: Any, *, folder: Path, shrink: Callable[[LoggedRun], LoggedRun] | None, has_failed: threading.Event
) -> LoggedRun:
    if has_failed.is_set():
        raise CancelledError  # an earlier run has told why
    try:
        logged = _logged(run, folder)
        return logged if shrink is None else shrink(logged)
    except BaseException:
        has_failed.set()
        raise


def _logged(run: Any, folder: Path) -> LoggedRun:
    rows = [_row(row) for row in run.scan_history()] if "study" in run.config else []
    if run.job_type == STUDY_JOB:
        _download(run, rows, folder / run.id / "files")
    return LoggedRun(
        path=folder / run.id / f"run-{run.id}.wandb",
        job_type=run.job_type or "",
        start=_start(run, rows),
        config=dict(run.config),
        rows=rows,
        ended=run.state in _ENDED,
    )


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """Undoes what the server does to a row: NaN becomes a string, and a missing key may become None.

    Source: https://github.com/wandb/sweeps/pull/32 (strings where a NaN was logged).
    """
    kept = {key: value for key, value in row.items() if value is not None}
    return {key: _NOT_NUMBERS.get(value, value) if isinstance(value, str) else value for key, value in kept.items()}


def _start(run: Any, rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Returns when the run began; for one that was synced later, the server only says when that was."""
    began = next(
        (row["_timestamp"] - row["_runtime"] for row in rows if {"_timestamp", "_runtime"} <= row.keys()), None
    )
    if began is None:
        created = datetime.fromisoformat(run.created_at)
        began = (created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp()
    return int(began), round(began % 1 * 1e9)


def _download(run: Any, rows: list[dict[str, Any]], folder: Path) -> None:
    """Downloads the pictures that the rows name, as far as the server has them."""
    logged = [value for row in rows for value in row.values() if isinstance(value, dict) and "_type" in value]
    names = sorted({name for value in logged if value["_type"] in _PICTURES for name, _ in pictures(value)})
    if not names:
        return
    for file in run.files(names=names):
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size:
            file.download(root=str(folder), replace=True).close()


def _words(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".: ")
