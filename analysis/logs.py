"""What is known of a study once its logs are read: the frames, their columns, and how logged rows fill them."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

STARTED = "started"  # the state of a trial that no row of the study's run calls ended
_TRIAL_COLUMNS = {
    "arm": "str",
    "number": "int64",
    "architecture": "str",
    "architecture_label": "str",
    "tiles": "Int64",
    "state": "str",
    "reason": "str",
    "epochs": "Int64",
    "seconds": "float64",
    "judged": "float64",
    "best_epoch": "Int64",
    "signature": "str",
    "micro_batch_size": "Int64",
    "lost_epochs": "Int64",
    "lost_seconds": "float64",
    "num_segments": "int64",
}
_HISTORY_COLUMNS = {"arm": "str", "number": "int64", "epoch": "int64"}
_SELECTION_COLUMNS = {
    "arm": "str",
    "number": "int64",
    "signature": "str",
    "judged": "float64",
    "val_iou": "float64",
    "val_f1": "float64",
    "best_epoch": "Int64",
}
_IMAGE_COLUMNS = {"arm": "str", "caption": "str", "path": "str"}
_CONFIRMATION_COLUMNS = {
    "arm": "str",
    "number": "int64",
    "init_seed": "Int64",
    "draw_seed": "Int64",
    "signature": "str",
    "state": "str",
    "val_iou": "float64",
    "val_f1": "float64",
    "test_iou": "float64",
    "test_f1": "float64",
    "best_epoch": "Int64",
    "micro_batch_size": "Int64",
    "attempt": "str",
}
_OPENING_COLUMNS = {
    "arm": "str",
    "attempt": "str",
    "event": "str",
    "at": "str",
    "why": "str",
    "tiles_digest": "str",
    "num_attempts": "Int64",
    "num_studies": "Int64",
}
_NO_LOSS = {"micro_batch_size": 0, "lost_epochs": 0, "lost_seconds": 0.0}

TrialKey = tuple[str, int]  # arm and number


@dataclass(frozen=True, kw_only=True)
class Logs:
    """What one study logged.

    Attributes:
        study: The configuration of the study's run, as logged: `study`, `profile`, `seed`, `judged_metric`, `arms`,
            `trivial`, `val_tiles`, `spec`, `versions`.
        runs: One row per trial, in the order of the study's arms: `arm`, `number`, `architecture`,
            `architecture_label`, `tiles` (count), `state` ("finished", "stopped", "failed", "diverged", "out of
            memory", "interrupted", or "started" where no end is logged), `reason`, `epochs` (spent), `seconds`,
            `judged` (best value of the judged metric, in [0, 1]), `best_epoch` (from 1), `signature`,
            `micro_batch_size` (draws at once; 0 for whole batches), `lost_epochs` and `lost_seconds` (trained again
            since a worker was lost), `num_segments` (how many W&B runs the trial has), and `hyperparameters/<name>`
            for each one logged.
        history: One row per trial and epoch: `arm`, `number`, `epoch` (from 1), then every number that was logged with
            the epoch under its own key, such as `train/loss`, `val/iou`, `val/iou/<tile>`, `lr`, `epoch_seconds`.
        selection: One row per arm that has a selected trial: `arm`, `number`, `signature`, `judged`, `val_iou` and
            `val_f1` (full resolution, in [0, 1]), `best_epoch`.
        confirmations: One row per arm and new seed that its selected configuration was trained with again: `arm`,
            `number` (of the seed, from 0), `init_seed`, `draw_seed`, `signature`, `state`, `val_iou`, `val_f1`,
            `test_iou` and `test_f1` (full resolution, in [0, 1]), `best_epoch` (from 1), `attempt`.
        openings: One row per event of the test tiles, as logged last: `arm`, `attempt`, `event` ("opened", "reopened",
            "result", or "recorded" where an earlier result was used), `at`, `why`, `tiles_digest`, `num_attempts` and
            `num_studies` (that ever opened these tiles, up to then).
        images: One row per picture of a selected trial's predictions: `arm`, `caption`, `path` (of a PNG that exists).
        notes: What the reader should know about the files, each a sentence.
    """

    study: dict[str, Any]
    runs: pd.DataFrame
    history: pd.DataFrame
    selection: pd.DataFrame
    confirmations: pd.DataFrame
    openings: pd.DataFrame
    images: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """One W&B run, as far as its file can be read.

    Attributes:
        path: Its file; pictures lie in `files/` beside it.
        job_type: "study" or "trial".
        start: Seconds and nanoseconds since 1970.
        config: Its configuration, nested as logged.
        rows: Its history, one dictionary per logged step.
        ended: Whether its end is in the file.
    """

    path: Path
    job_type: str
    start: tuple[int, int]
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    ended: bool


def assemble(segments: list[LoggedRun], trial_runs: list[LoggedRun], notes: Sequence[str] = ()) -> Logs:
    """Turns what one study logged into frames.

    Args:
        segments: The runs of the study itself, oldest first, at least one: several where the study was resumed.
        trial_runs: The runs of its trials, oldest first: several of one trial where that was resumed.
        notes: What reading the files has shown, to be carried on.
    """
    notes = list(notes)
    newest = segments[-1]
    chosen = _segment_of_selection(segments)
    if chosen is not newest:
        notes.append(
            "The study's newest run has not ended: selection, confirmations and pictures are those of an earlier run."
        )
    elif not chosen.ended:
        notes.append("The study's run has not ended: it is still running or was killed, and this is what it logged.")
    study = {key: value for key, value in newest.config.items() if key != "_wandb"}
    arms = {arm["arm"]: arm for arm in study["arms"]}
    places = {arm: place for place, arm in enumerate(arms)}

    runs: dict[TrialKey, list[LoggedRun]] = defaultdict(list)
    for run in trial_runs:
        runs[run.config["arm"], run.config["trial"]].append(run)
    ends = {(row["arm"], row["number"]): row for run in segments for row in _rows_under("trial/", run)}
    trials: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    for key in sorted(runs.keys() | ends.keys(), key=lambda key: (places.get(key[0], len(places)), *key)):
        arm, number = key
        epochs = _epochs(runs[key])
        end = ends.get(key) or _progress(epochs, study["judged_metric"])
        if len(epochs) < end["epochs"]:
            notes.append(f"The logs of {arm}, trial {number}, hold {len(epochs)} of its {end['epochs']} epochs.")
        config = runs[key][-1].config if runs[key] else {}
        about = arms.get(arm, {}) | config
        trials.append(
            {name: about.get(name) for name in ("architecture", "architecture_label", "tiles", "signature")}
            | _NO_LOSS
            | end
            | {"arm": arm, "number": number, "num_segments": len(runs[key])}
            | {f"hyperparameters/{name}": value for name, value in config.get("hyperparameters", {}).items()}
        )
        history += [{**row, "arm": arm, "number": number} for row in epochs]
    selected = {row["arm"]: row for row in _rows_under("selection/", chosen)}
    confirmed = {(row["arm"], row["number"]): row for row in _rows_under("confirmation/", chosen)}
    openings = [row for run in segments for row in _rows_under("opening/", run)]  # none may be forgotten
    return Logs(
        study=study,
        runs=_frame(trials, _TRIAL_COLUMNS),
        history=_frame(history, _HISTORY_COLUMNS),
        selection=_frame([selected[arm] for arm in arms if arm in selected], _SELECTION_COLUMNS),
        confirmations=_frame(
            [confirmed[key] for key in sorted(confirmed, key=lambda key: (places.get(key[0], len(places)), *key))],
            _CONFIRMATION_COLUMNS,
        ),
        openings=_frame(openings, _OPENING_COLUMNS).drop_duplicates(
            ["attempt", "event", "at"], keep="last", ignore_index=True
        ),
        images=_frame([image for arm in arms for image in _images(arm, chosen, notes)], _IMAGE_COLUMNS),
        notes=tuple(notes),
    )


def _rows_under(prefix: str, run: LoggedRun) -> list[dict[str, Any]]:
    """Returns the rows that speak of an arm under the prefix, with the prefix taken off their keys."""
    return [
        {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
        for row in run.rows
        if f"{prefix}arm" in row
    ]


def _segment_of_selection(segments: list[LoggedRun]) -> LoggedRun:
    """Returns the newest run that has ended; the very newest where that is none, or one that selected nothing."""
    ended = [run for run in segments if run.ended]
    return ended[-1] if ended and _rows_under("selection/", ended[-1]) else segments[-1]


def _epochs(runs: list[LoggedRun]) -> list[dict[str, float]]:
    """Returns the epochs that a trial's runs hold together, numbers only: an epoch's first record stands.

    A run that goes on from a checkpoint begins with the records of that checkpoint, and where it cannot, with the next
    epoch: only together are the runs sure to hold all epochs.
    """
    epochs: dict[int, dict[str, float]] = {}
    for run in runs:
        for row in run.rows:
            if "epoch" in row:
                numbers = {key: float(row[key]) for key in row if key[0] != "_" and isinstance(row[key], int | float)}
                epochs.setdefault(row["epoch"], numbers)
    return [epochs[epoch] for epoch in sorted(epochs)]


def _progress(epochs: list[dict[str, float]], metric: str) -> dict[str, Any]:
    """Returns what the epochs of a trial without a logged end say in its place."""
    best = max((row for row in epochs if row.get(metric, math.nan) >= 0), key=lambda row: row[metric], default={})
    return {
        "state": STARTED,
        "reason": "",
        "epochs": int(epochs[-1].get("epochs_spent", len(epochs))) if epochs else 0,
        "seconds": sum(row.get("epoch_seconds", 0.0) for row in epochs),
        "judged": best.get(metric),
        "best_epoch": best.get("epoch"),
        "micro_batch_size": max((int(row.get("micro_batch_size", 0)) for row in epochs), default=0),
    }


def _images(arm: str, run: LoggedRun, notes: list[str]) -> list[dict[str, str]]:
    """Returns the pictures that were logged last for an arm; one whose file is gone is left out and noted."""
    logged: dict[str, Any] = next(
        (row[f"selected/{arm}"] for row in reversed(run.rows) if f"selected/{arm}" in row), {}
    )
    names = logged.get("filenames") or [logged["path"]] if logged else []  # several pictures, or a single one
    captions = logged.get("captions") or [logged.get("caption")] * len(names)
    images = []
    for name, caption in zip(names, captions, strict=True):
        path = run.path.parent / "files" / name
        if path.is_file():
            images.append({"arm": arm, "caption": caption or "", "path": str(path)})
        else:
            notes.append(f"The picture {name} is in the log, but its file is gone.")
    return images


def _frame(rows: list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    """Makes a frame with the documented columns first, then the others by name."""
    others = sorted({key for row in rows for key in row} - set(columns))
    return pd.DataFrame(rows, columns=[*columns, *others]).astype(columns)
