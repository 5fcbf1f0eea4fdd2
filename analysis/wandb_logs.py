"""Reads the W&B files of one study; the one file here that knows W&B."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

from analysis.logs import LoggedRun, Logs, assemble
from analysis.record_log import FILE_HEADER, split_records

__all__ = ["Logs", "LogsError", "read_logs", "read_run"]

_OFFLINE_KEY = "wandb_mode"  # only where a run should have been online
_STUDY_KEYS = ("study", "phase", "profile", "seed", "judged_metric", "arms", "trivial", "val_tiles", "slots")
_TRIAL_KEYS = ("arm", "run_arm", "trial", "stage")


class LogsError(ValueError):
    """A person's mistake about where the logs are: one line with the value, the rule and the fix."""


def read_logs(source: Path) -> Logs:
    """Reads every W&B run under `<source>/wandb/`, logged offline or online.

    Args:
        source: A study's folder, the one that holds `wandb/`. Nothing else in it is read.

    Raises:
        LogsError: There is no such folder, no W&B file in it, or none of a study.
    """
    if not source.is_dir():
        raise LogsError(f"the study's folder is {source}, but no such folder exists: give the one that holds wandb/")
    paths = sorted(
        path
        for pattern in ("offline-run-*/run-*.wandb", "run-*/run-*.wandb")
        for path in (source / "wandb").glob(pattern)
        if not (path.is_symlink() or path.parent.is_symlink())
    )
    if not paths:
        raise LogsError(
            f"{source} holds no W&B run (wandb/*run-*/run-*.wandb): give the folder of a study that has run"
        )
    notes: list[str] = []
    runs = sorted((run for path in paths if (run := read_run(path, notes))), key=lambda run: (run.start, run.path))
    segments = _study_segments(source, runs, notes)
    name = segments[-1].config["study"]
    trial_runs = [run for run in runs if run.job_type == "trial" and run.config.get("study") == name]
    if offline := sum(_OFFLINE_KEY in run.config for run in [*segments, *trial_runs]):
        notes.append(
            f"{offline} of {len(segments) + len(trial_runs)} W&B runs are offline, since the server could not be "
            f"reached: `wandb sync {source / 'wandb'}/offline-run-*` uploads them."
        )
    return assemble(segments, trial_runs, notes)


def read_run(path: Path, notes: list[str]) -> LoggedRun | None:
    """Reads one file up to its tear, adds to `notes` what was odd; None where it does not even say which run it is."""
    name, data = f"{path.parent.name}/{path.name}", path.read_bytes()
    if not data.startswith(FILE_HEADER):
        notes.append(f"{name} ({len(data)} bytes) does not begin like a W&B file: it is left out.")
        return None
    payloads, torn_at = split_records(data)
    if torn_at is not None:
        notes.append(f"{name} is torn at byte {torn_at} of {len(data)}: it is read up to there.")
    head, ended = None, False
    config: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for payload in payloads:
        record = Record.FromString(payload)
        match record.WhichOneof("record_type"):
            case "run":
                head = record.run
                _put(config, record.run.config.update)
            case "config":
                _put(config, record.config.update)
            case "history":
                rows.append(_put({}, record.history.item))
            case "exit":
                ended = True
    if head is None:
        notes.append(f"{name} ({len(data)} bytes) does not say which run it is of: it is left out.")
        return None
    start = (head.start_time.seconds, head.start_time.nanos)
    return LoggedRun(path=path, job_type=head.job_type, start=start, config=config, rows=rows, ended=ended)


def _put(into: dict[str, Any], items: Iterable[Any]) -> dict[str, Any]:
    """Sets W&B's items, whose keys may be paths, in nested dictionaries, and returns these."""
    for item in items:
        *parents, last = item.nested_key or [item.key]
        inner = into
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = json.loads(item.value_json)
    return into


def _study_segments(source: Path, runs: list[LoggedRun], notes: list[str]) -> list[LoggedRun]:
    """Returns the runs of the newest study, oldest first: several where it was resumed."""
    studies = [run for run in runs if run.job_type == "study"]
    if not studies:
        raise LogsError(
            f"{source} holds {len(runs)} readable W&B runs, but none is a study's (job type study): "
            "give the folder that a study wrote to"
        )
    for run in studies:
        if missing := [key for key in _STUDY_KEYS if key not in run.config]:
            raise LogsError(
                f"the study's run {run.path.name} does not say {', '.join(missing)}, but a report needs that: "
                "read a study that Fewtile has logged"
            )
    name = studies[-1].config["study"]
    others = sorted({str(run.config["study"]) for run in studies} - {name})
    if others:
        notes.append(f"The folder also holds the study {', '.join(others)}: only the newest, {name}, is read.")
    return [run for run in studies if run.config["study"] == name]
