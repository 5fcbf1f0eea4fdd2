"""Reads the W&B files of one study; the one file here that knows W&B's records."""

import functools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

from analysis.logs.epochs import epochs_of
from analysis.logs.frames import LoggedRun, Logs, assemble
from analysis.logs.record_log import FILE_HEADER, split_records

__all__ = ["Logs", "LogsError", "logs_of", "read_logs", "read_run", "study_identity", "thinned"]

_OFFLINE_KEY = "wandb_mode"  # only where a run should have been online
_STUDY_KEYS = (
    *("study", "phase", "profile", "seed", "judged_metric", "arms", "trivial", "val_tiles", "test_tiles"),
    *("num_train_tiles", "slots", "spec"),
)
_FROZEN_KEYS = ("phase", "profile", "seed", "judged_metric", "tiles_digest")  # that no resumed study can change
_ARM_KEYS = (
    *("arm", "architecture", "architecture_label", "is_stand_in", "track", "weights", "tiles", "trials"),
    *("num_trainable", "num_frozen", "ranges"),
)
_TRIAL_KEYS = ("arm", "run_arm", "trial", "stage")
_NEEDED_KEYS = {
    *_TRIAL_KEYS,
    *("study", "study_id", "architecture", "architecture_label", "tiles", "signature", "hyperparameters"),
    *("dtype", "device_model"),
    _OFFLINE_KEY,
}

# The bytes of a record: its number (field 1), then what it is. A summary repeats the rows of the history.
_IS_SUMMARY = re.compile(rb"\x08[\x80-\xff]*[\x00-\x7f]\x1a").match
_IS_HISTORY = re.compile(rb"\x08[\x80-\xff]*[\x00-\x7f]\x12[\x80-\xff]*[\x00-\x7f]", re.DOTALL).fullmatch
_NUMBER = re.compile(rb"\n.\x12.([ -~]+)\x82\x01.([-+.0-9eENaInfity]+)", re.DOTALL)  # item: nested_key, value_json
_IS_STEP = re.compile(rb"(\x12(\x00|.\x08[\x80-\xff]*[\x00-\x7f]))?", re.DOTALL).fullmatch

_PARSER = json.JSONDecoder()
_decoded = functools.lru_cache(maxsize=4096)(bytes.decode)  # the same keys in each row


class LogsError(ValueError):
    """A person's mistake about where the logs are: one line with the value, the rule and the fix."""


def read_logs(source: Path, study: str | None = None) -> Logs:
    """Reads every W&B run under `<source>/wandb/`, logged offline or online.

    Args:
        source: A study's folder, the one that holds `wandb/`. Nothing else in it is read.
        study: Name of the one to take where several have logged to it; the newest if None.

    Raises:
        LogsError: There is no such folder, no W&B file in it, or none of a study, or of this one.
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
    runs = [run for path in paths if (run := _read(path, notes, lean=True))]
    return logs_of(runs, str(source), notes, study)


def logs_of(runs: Iterable[LoggedRun], source: str, notes: Sequence[str] = (), study: str | None = None) -> Logs:
    """Joins the W&B runs of one study, from files or from a server.

    Args:
        runs: All that there are, in any order, those of other studies and programs too.
        source: Where they are from, for messages: a folder, or `entity/project`.
        notes: What reading them has shown, to be carried on.
        study: Name or id of the one to take; the newest if None.

    Raises:
        LogsError: No run is of a study, or of this one.
    """
    notes = list(notes)
    ordered = sorted(runs, key=lambda run: (run.start, run.path))
    segments = _study_segments(source, ordered, notes, study)
    identity = study_identity(segments[-1])
    trial_runs = _trial_runs([run for run in ordered if study_identity(run) == identity], notes)
    taken = [*segments, *trial_runs]
    if offline := [run for run in taken if _OFFLINE_KEY in run.config and run.path.parent.name.startswith("offline-")]:
        notes.append(
            f"{len(offline)} of {len(taken)} W&B runs are offline, since the server could not be reached: "
            f"`wandb sync {offline[0].path.parent.parent}/offline-run-*` uploads them."
        )
    return assemble(segments, trial_runs, notes)


def read_run(path: Path, notes: list[str]) -> LoggedRun | None:
    """Reads one file up to its tear, adds to `notes` what was odd; None where it does not even say which run it is."""
    return _read(path, notes, lean=False)


def _read(path: Path, notes: list[str], *, lean: bool) -> LoggedRun | None:
    """Reads one file; of a trial only what `assemble` needs where it shall be lean, its epochs in columns."""
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
        if _IS_SUMMARY(payload):
            continue
        if (numbers := _row_of_numbers(payload)) is not None:
            rows.append(numbers)
            continue
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
    run = LoggedRun(path=path, job_type=head.job_type, start=start, config=config, rows=rows, ended=ended)
    return thinned(run) if lean else run


def thinned(run: LoggedRun) -> LoggedRun:
    """Returns a run with as little of a trial as `assemble` needs: there may be tens of thousands."""
    if run.job_type != "trial":
        return run
    config = {key: value for key, value in run.config.items() if key in _NEEDED_KEYS}
    return replace(run, config=config, rows=[], epochs=epochs_of(run.rows))


def _row_of_numbers(payload: bytes) -> dict[str, float] | None:
    """Returns a row of history that holds nothing but numbers under plain keys; None for any other record.

    What `_put` would return, in a third of the time. A row is taken only if each of its bytes is accounted for.

    Source: https://protobuf.dev/programming-guides/encoding and `HistoryRecord` of W&B's wandb_internal.proto.
    """
    head, *parts = _NUMBER.split(payload)
    if not parts or any(parts[2:-1:3]) or not _IS_HISTORY(head) or not _IS_STEP(parts[-1]):
        return None
    values, _ = _PARSER.raw_decode(f"[{b','.join(parts[1::3]).decode()}]")
    return dict(zip(map(_decoded, parts[::3]), values, strict=True))


def _put(into: dict[str, Any], items: Iterable[Any]) -> dict[str, Any]:
    """Sets W&B's items, whose keys may be paths, in nested dictionaries, and returns these."""
    for item in items:
        *parents, last = item.nested_key or [item.key]
        inner = into
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = json.loads(item.value_json)
    return into


def _study_segments(source: str, runs: list[LoggedRun], notes: list[str], study: str | None) -> list[LoggedRun]:
    """Returns the runs of the study of this name, or of the newest, oldest first: several where it was resumed."""
    told = [run for run in runs if run.job_type == "study"]
    if not told:
        raise LogsError(
            f"{source} holds {len(runs)} readable W&B runs, but none is a study's (job type study): "
            "give the folder or the project that a study logged to"
        )
    missing = {run.path: _missing(run.config) for run in told}
    studies = [run for run in told if not missing[run.path]]
    unfit = [f"the study's run {path.name} does not say {', '.join(keys)}" for path, keys in missing.items() if keys]
    if not studies:
        raise LogsError(f"{unfit[-1]}, but a report needs that: read a study that Fewtile has logged")
    notes += [f"{words[0].upper()}{words[1:]}: it is left out." for words in unfit]
    found = {study_identity(run): str(run.config["study"]) for run in reversed(studies)}  # the newest first
    wanted = [identity for identity, name in found.items() if study in (None, name, identity[1])]
    if not wanted:
        raise LogsError(
            f"{source} holds no study {study!r}, but {', '.join(sorted(found.values()))}: name one of these"
        )
    identity = wanted[0]
    if study is None and len(found) > 1:
        others = ", ".join(sorted(name for other, name in found.items() if other != identity))
        notes.append(f"There are logs of other studies as well ({others}): only the newest, {identity[0]}, is read.")
    elif len(wanted) > 1:
        notes.append(f"{source} holds {len(wanted)} studies called {identity[0]}: only the newest is read.")
    name, segments = identity[0], [run for run in studies if study_identity(run) == identity]
    if odd := [key for key in _FROZEN_KEYS if len({json.dumps(run.config.get(key)) for run in segments}) > 1]:
        notes.append(
            f"The runs of the study {name} differ in {', '.join(odd)}, which no resumed study can: several studies of "
            "that name are read as one."
        )
    return segments


def study_identity(run: LoggedRun) -> tuple[str, str]:
    """Returns the name of the study that a run is of, and what tells it from others of that name; empty if unsaid."""
    return str(run.config.get("study")), str(run.config.get("study_id", ""))


def _missing(config: dict[str, Any]) -> list[str]:
    """Returns what the configuration of a study's run does not say."""
    if missing := [key for key in _STUDY_KEYS if key not in config]:
        return missing
    arms = config["arms"] if isinstance(config["arms"], list) else [{}]
    return [f"arms/{key}" for key in _ARM_KEYS if not all(isinstance(arm, dict) and key in arm for arm in arms)]


def _trial_runs(runs: list[LoggedRun], notes: list[str]) -> list[LoggedRun]:
    """Returns those of a trial, but for those that do not say of which."""
    trials = [run for run in runs if run.job_type == "trial"]
    known = [run for run in trials if all(key in run.config for key in _TRIAL_KEYS)]
    if lacking := [run.path.name for run in trials if not all(key in run.config for key in _TRIAL_KEYS)]:
        notes.append(
            f"{len(lacking)} of {len(trials)} runs of trials do not say all of {', '.join(_TRIAL_KEYS)}, such as "
            f"{lacking[0]}: they are left out."
        )
    return known
