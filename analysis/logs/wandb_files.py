"""Reads the W&B files of one study, and finds the runs of one study among those of several and of other programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.logs.assemble import assemble
from analysis.logs.epochs import epochs_of
from analysis.logs.errors import LogsError
from analysis.logs.frames import Logs
from analysis.logs.run_configs import (
    OFFLINE_REASON,
    STUDY_JOB,
    TRIAL_JOB,
    ArmFacts,
    StudyRunConfig,
    TrialRunConfig,
    required,
)
from analysis.logs.wandb_run import LoggedRun, read_run

__all__ = ["Logs", "LogsError", "compact", "logs_of", "read_logs", "study_identity"]

_FROZEN_KEYS = ("phase", "profile", "seed", "judged_metric", "tiles_digest")  # that no resumed study can change
_NEEDED_KEYS = {  # of a trial's configuration, to assemble a study
    *required(TrialRunConfig),
    *("study", "study_id", "architecture", "architecture_label", "tiles", "signature", "hyperparameters"),
    *("dtype", "device_model"),
    OFFLINE_REASON,
}


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
    runs = [compact(run) for path in paths if (run := read_run(path, notes))]
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
    if offline := [
        run for run in taken if OFFLINE_REASON in run.config and run.path.parent.name.startswith("offline-")
    ]:
        notes.append(
            f"{len(offline)} of {len(taken)} W&B runs are offline, since the server could not be reached: "
            f"`wandb sync {offline[0].path.parent.parent}/offline-run-*` uploads them."
        )
    return assemble(segments, trial_runs, notes)


def compact(run: LoggedRun) -> LoggedRun:
    """Returns a trial's run with only what `assemble` needs, its epochs in columns; another run as it is.

    A study may have tens of thousands of trials.
    """
    if run.job_type != TRIAL_JOB:
        return run
    config = {key: value for key, value in run.config.items() if key in _NEEDED_KEYS}
    return replace(run, config=config, rows=[], epochs=epochs_of(run.rows))


def _study_segments(source: str, runs: list[LoggedRun], notes: list[str], study: str | None) -> list[LoggedRun]:
    """Returns the runs of the study of this name, or of the newest, oldest first: several where it was resumed."""
    told = [run for run in runs if run.job_type == STUDY_JOB]
    if not told:
        raise LogsError(
            f"{source} holds {len(runs)} readable W&B runs, but none is a study's (job type {STUDY_JOB}): "
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
    if missing := [key for key in required(StudyRunConfig) if key not in config]:
        return missing
    arms = config["arms"] if isinstance(config["arms"], list) else [{}]
    return [
        f"arms/{key}" for key in required(ArmFacts) if not all(isinstance(arm, dict) and key in arm for arm in arms)
    ]


def _trial_runs(runs: list[LoggedRun], notes: list[str]) -> list[LoggedRun]:
    """Returns those of a trial, but for those that do not say of which."""
    needed = required(TrialRunConfig)
    trials = [run for run in runs if run.job_type == TRIAL_JOB]
    lacking = [run for run in trials if not all(key in run.config for key in needed)]
    if lacking:
        notes.append(
            f"{len(lacking)} of {len(trials)} runs of trials do not say all of {', '.join(needed)}, such as "
            f"{lacking[0].path.name}: they are left out."
        )
    return [run for run in trials if all(key in run.config for key in needed)]
