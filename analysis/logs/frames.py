"""What is known of a study once its logs are read: the frames, their columns, and how logged rows fill them."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.logs.epochs import Epochs, epochs_of, history_frame, joined

THEN = " then "  # between what a trial was before and after it changed
STARTED = "started"  # the state of a trial that no row of the study's run calls ended


def _columns(spec: str) -> dict[str, str]:
    """Returns the columns' types by name: `str` where the spec says none."""
    return {name: dtype or "str" for name, _, dtype in (word.partition(":") for word in spec.split())}


_TRIAL_COLUMNS = _columns(
    "arm run_arm number:int64 stage architecture architecture_label tiles:Int64 state reason epochs:Int64 "
    "seconds:float64 judged:float64 best_epoch:Int64 signature micro_batch_size:Int64 lost_epochs:Int64 "
    "lost_seconds:float64 num_segments:int64 dtype device_model run"
)
_IDENTITY = ["arm", "run_arm", "number", "stage"]
_SELECTION_COLUMNS = _columns(
    "arm number:int64 signature judged:float64 val_iou:float64 val_f1:float64 best_epoch:Int64"
)
_MODEL_COLUMNS = _columns(
    "arm number:int64 run_arm architecture architecture_label tiles:Int64 subset:Int64 seed:Int64 init_seed:Int64 "
    "draw_seed:Int64 subset_seed:Int64 signature state best_epoch:Int64 epochs:Int64 seconds:float64 "
    "micro_batch_size:Int64 val_iou:float64 val_f1:float64 test_iou:float64 test_f1:float64 scored dtype device_model "
    "attempt run"
)
_SCORE_COLUMNS = _columns("arm number:int64 split tile group iou:float64")
_OPENING_COLUMNS = _columns("arm attempt event at why tiles_digest num_attempts:Int64 num_studies:Int64")
_IMAGE_COLUMNS = _columns("arm split caption path")
_SETTINGS = ("dtype", "device_model")  # of a trial: empty where an older log does not say them
_NO_LOSS = {"micro_batch_size": 0, "lost_epochs": 0, "lost_seconds": 0.0}
_ROW_KEYS = {  # what a row of the study's run must say, or it is left out
    "trial": ("arm", "run_arm", "number", "stage", "state", "epochs"),
    "selection": ("arm", "number"),
    "model": ("arm", "number", "run_arm"),
    "opening": ("arm", "attempt", "event", "at"),
}

TrialKey = tuple[str, int]  # arm under which it was logged, and number
ModelKey = tuple[str, int, str]  # arm, number in it, and split


@dataclass(frozen=True, kw_only=True)
class Logs:
    """What one study logged.

    Attributes:
        study: The configuration of the study's run, as logged: `study`, `phase`, `profile`, `seed`, `judged_metric`,
            `arms` (each with `arm`, `architecture`, `architecture_label`, `is_stand_in`, `track`, `weights`, `tiles`,
            `trials`, `num_trainable`, `num_frozen`, `space`, `ranges` and, in phase 3, `chosen`), `trivial`,
            `val_tiles`, `test_tiles`, `num_train_tiles`, `groups` (tile id to place), `slots`, `spec`, `versions`;
            from newer logs `train_tiles`, `data_notes` (what was odd about the tiles, a sentence each) and
            `panel_gap_px` (between the panels of a picture); and of the classes `classes` (names), `class_colors` (as
            `#rrggbb`), `class_pixels` and `ignored_pixels` (of the splits "train" and "val").
        runs: One row per trial, in the order of the study's arms: `arm`, `run_arm` (the arm under which it was logged:
            a final model that confirms a search is logged apart from it), `number`, `stage` ("search" or "final"),
            `architecture`, `architecture_label`, `tiles` (count), `state` ("finished", "stopped", "failed", "diverged",
            "out of memory", "interrupted", or "started" where no end is logged), `reason`, `epochs` (spent), `seconds`,
            `judged` (best value of the judged metric, in [0, 1]), `best_epoch` (from 1), `signature`,
            `micro_batch_size` (draws at once; 0 for whole batches), `lost_epochs` and `lost_seconds` (trained again
            since a worker was lost), `num_segments` (how many W&B runs the trial has), `dtype` ("fp32", "bf16" or
            "fp16") and `device_model` (what it was trained as and on; joined by " then " where that changed, empty
            where the logs do not say), `run` (the name of the newest), and `hyperparameters/<name>` for each one
            logged.
        history: One row per trial and epoch: `arm`, `run_arm`, `number`, `stage`, `epoch` (from 1), then every number
            that was logged with the epoch under its own key, such as `train/loss`, `val/iou`, `val/iou/<tile>`, `lr`,
            `epoch_seconds`.
        selection: One row per arm that has a selected trial: `arm`, `number`, `signature`, `judged`, `val_iou` and
            `val_f1` (full resolution, in [0, 1]), `best_epoch`.
        models: One row per final model: `arm`, `number` (in it), `run_arm`, `architecture`, `architecture_label`,
            `tiles`, `subset` and `seed` (which of the tile subsets and seeds it has, from 0), `init_seed`, `draw_seed`,
            `subset_seed`, `signature`, `state`, `best_epoch` (from 1), `epochs`, `seconds`, `micro_batch_size`,
            `val_iou`, `val_f1`, `test_iou` and `test_f1` (full resolution, in [0, 1]; missing where it was not
            scored), `scored` (how, where that was not on whole tiles as usual; else empty), `dtype` and `device_model`
            (of its training, as in `runs`), `attempt`, `run`, and `hyperparameters/<name>` as in `runs`.
        scores: One row per final model and tile that it was scored on: `arm`, `number`, `split` ("val" or "test"),
            `tile`, `group` (its place; the tile's own id where none is known), `iou` (in [0, 1]; missing where no pixel
            of the tile counts, which no mean may take for a score).
        openings: One row per event of the test tiles, as logged last: `arm`, `attempt`, `event` ("opened", "reopened",
            "result", or "recorded" where an earlier result was used), `at`, `why`, `tiles_digest`, `num_attempts` and
            `num_studies` (that ever opened these tiles, up to then).
        images: One row per picture of predictions: `arm`, `split` ("val": the selected trial's; "test": a final
            model's), `caption` (the tile), `path` (of a picture that exists).
        confusions: By (arm, number, split) of a final model, (T, K, K) pixel counts of the split's tiles in the order
            of `scores`, rows truth and columns prediction.
        notes: What the reader should know about the files, each a sentence.
    """

    study: dict[str, Any]
    runs: pd.DataFrame
    history: pd.DataFrame
    selection: pd.DataFrame
    models: pd.DataFrame
    scores: pd.DataFrame
    openings: pd.DataFrame
    images: pd.DataFrame
    confusions: dict[ModelKey, npt.NDArray[np.int64]] = field(default_factory=dict)
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
        epochs: The numbers of its epochs, in place of `rows`, where there may be many.
    """

    path: Path
    job_type: str
    start: tuple[int, int]
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    ended: bool
    epochs: Epochs | None = None


def assemble(segments: list[LoggedRun], trial_runs: list[LoggedRun], notes: Sequence[str] = ()) -> Logs:
    """Turns what one study logged into frames.

    Args:
        segments: The runs of the study itself, oldest first, at least one: several where the study was resumed.
        trial_runs: The runs of its trials, oldest first: several of one trial where that was resumed.
        notes: What reading the files has shown, to be carried on.
    """
    notes = list(notes)
    newest = segments[-1]
    logged = [_rows_by_kind(run, notes) for run in segments]
    chosen = _place_of_selection(segments, logged)
    if segments[chosen] is not newest:
        notes.append(
            "The study's newest run has not ended: selection, final models and pictures are those of an earlier run."
        )
    elif not newest.ended:
        notes.append("The study's run has not ended: it is still running or was killed, and this is what it logged.")
    study = {key: value for key, value in newest.config.items() if key != "_wandb"}
    arms = {arm["arm"]: arm for arm in study["arms"]}
    places = {arm: place for place, arm in enumerate(arms)}

    def place(arm: str) -> int:
        return places.get(arm, len(places))

    runs: dict[TrialKey, list[LoggedRun]] = defaultdict(list)
    for run in trial_runs:
        runs[run.config["run_arm"], run.config["trial"]].append(run)
    ends = {(row["run_arm"], row["number"]): row for kinds in logged for row in kinds["trial"]}
    trials: dict[TrialKey, dict[str, Any]] = {}
    epochs: dict[TrialKey, Epochs] = {}
    for key in runs.keys() | ends.keys():
        config = runs[key][-1].config if runs[key] else {}
        epochs[key] = joined([epochs_of(run.rows) if run.epochs is None else run.epochs for run in runs[key]])
        end = ends.get(key) or _progress(epochs[key], study["judged_metric"])
        identity = {"run_arm": key[0], "number": key[1]}
        identity |= {name: config.get(name) or end.get(name) for name in ("arm", "stage")}
        about = arms.get(identity["arm"], {}) | config
        trials[key] = (
            {name: about.get(name) for name in ("architecture", "architecture_label", "tiles", "signature")}
            | _NO_LOSS
            | end
            | identity
            | {name: _throughout([run.config.get(name) for run in runs[key]]) for name in _SETTINGS}
            | {"num_segments": len(runs[key]), "run": runs[key][-1].path.stem if runs[key] else None}
            | {f"hyperparameters/{name}": value for name, value in config.get("hyperparameters", {}).items()}
        )
    order = sorted(trials, key=lambda key: (place(trials[key]["arm"]), trials[key]["stage"] != "search", *key))
    for key in order:
        if (found := len(epochs[key])) < (spent := trials[key]["epochs"]):
            notes.append(f"The logs of {key[0]}, trial {key[1]}, hold {found} of its {spent} epochs.")
    selected = {row["arm"]: row for row in logged[chosen]["selection"]}
    models, sources = _models(list(arms), logged, selected, notes)
    frame = _frame([trials[key] for key in order], _TRIAL_COLUMNS)
    return Logs(
        study=study,
        runs=frame,
        history=history_frame(frame[_IDENTITY], [epochs[key] for key in order]),
        selection=_frame([selected[arm] for arm in arms if arm in selected], _SELECTION_COLUMNS),
        models=_frame([_model(row, arms, trials) for row in models], _MODEL_COLUMNS),
        scores=_frame([score for row in models for score in _scores(row, study.get("groups", {}))], _SCORE_COLUMNS),
        openings=_frame(  # none may be forgotten
            [row for kinds in logged for row in kinds["opening"]], _OPENING_COLUMNS
        ).drop_duplicates(["attempt", "event", "at"], keep="last", ignore_index=True),
        images=_frame(
            [
                image
                for arm in arms
                for split, run in (("val", segments[chosen]), ("test", segments[sources.get(arm, chosen)]))
                for image in _images(arm, split, run, notes)
            ],
            _IMAGE_COLUMNS,
        ),
        confusions={key: matrices for row in models for key, matrices in _confusions(row)},
        notes=tuple(notes),
    )


def _throughout(values: Sequence[str | None]) -> str:
    """What a trial's runs, oldest first, say it was: the newest knows, or all together; empty where none says it."""
    known = [value for value in values if value]
    return known[-1] if known and THEN in known[-1] else THEN.join(dict.fromkeys(known))


def _models(
    arms: list[str],
    logged: list[dict[str, list[dict[str, Any]]]],
    selected: dict[str, dict[str, Any]],
    notes: list[str],
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows of each arm's final models, and the place of the run that logged them: the newest that did.

    A run that was to train more of them, or was refused another look at the test tiles, takes nothing back. What was
    trained of another configuration than the selected one is left out.
    """
    found: list[dict[str, Any]] = []
    sources: dict[str, int] = {}
    for arm in arms:
        places = [place for place, kinds in enumerate(logged) if any(row["arm"] == arm for row in kinds["model"])]
        if not places:
            continue
        rows = {row["number"]: row for row in logged[places[-1]]["model"] if row["arm"] == arm}
        own = selected[arm]["signature"] if arm in selected else None
        if own is not None and any(row.get("confirms", own) != own for row in rows.values()):
            notes.append(f"The final models of {arm} are of an earlier selection, so they are left out.")
            continue
        found += [rows[number] for number in sorted(rows)]
        sources[arm] = places[-1]
    return found, sources


def _model(
    row: dict[str, Any], arms: dict[str, dict[str, Any]], trials: dict[TrialKey, dict[str, Any]]
) -> dict[str, Any]:
    """What is known of a final model: its own row, and its trial's."""
    about, trial = arms.get(row["arm"], {}), trials.get((row["run_arm"], row["number"]), {})
    taken = ("run", *_SETTINGS)
    settings = {key: value for key, value in trial.items() if key in taken or key.startswith("hyperparameters/")}
    settings = dict.fromkeys((*_SETTINGS, "scored"), "") | settings
    named = {name: about.get(name) for name in ("architecture", "architecture_label", "tiles")}
    return named | settings | {key: value for key, value in row.items() if key in _MODEL_COLUMNS}


def _scores(row: dict[str, Any], groups: dict[str, str]) -> list[dict[str, Any]]:
    """The model's IoU of each tile."""
    return [
        {
            "arm": row["arm"],
            "number": row["number"],
            "split": split,
            "tile": tile,
            "group": groups.get(tile, tile),
            "iou": iou,
        }
        for split in ("val", "test")
        for tile, iou in zip(row.get(f"{split}_tiles", ()), row.get(f"{split}_tile_iou", ()), strict=True)
    ]


def _confusions(row: dict[str, Any]) -> list[tuple[ModelKey, npt.NDArray[np.int64]]]:
    """The model's confusion matrices of each split that has them."""
    found = []
    for split in ("val", "test"):
        flat = np.array(row.get(f"{split}_tile_confusion", []), dtype=np.int64)
        if flat.size:
            num_classes = math.isqrt(flat.shape[1])
            found.append(((row["arm"], row["number"], split), flat.reshape(-1, num_classes, num_classes)))
    return found


def _rows_by_kind(run: LoggedRun, notes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows of a study's run by what they speak of, with that prefix taken off their keys."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, needed in _ROW_KEYS.items():
        prefix = f"{kind}/"
        rows = [
            {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
            for row in run.rows
            if f"{prefix}arm" in row
        ]
        found[kind] = [row for row in rows if all(key in row for key in needed)]
        if num_lacking := len(rows) - len(found[kind]):
            notes.append(
                f"{run.path.name} has rows {prefix}… that do not say all of {', '.join(needed)}: {num_lacking} of "
                f"{len(rows)} are left out."
            )
    return found


def _place_of_selection(segments: list[LoggedRun], logged: list[dict[str, list[dict[str, Any]]]]) -> int:
    """Returns the newest run that has ended; the very newest where that is none, or one that came to nothing."""
    ended = [place for place, run in enumerate(segments) if run.ended]
    has_result = bool(ended) and any(logged[ended[-1]][kind] for kind in ("selection", "model"))
    return ended[-1] if has_result else len(segments) - 1


def _progress(epochs: Epochs, metric: str) -> dict[str, Any]:
    """Returns what the epochs of a trial without a logged end say in its place."""
    judged, count = epochs.column(metric), len(epochs)
    best = int(np.argmax(np.where(judged >= 0, judged, -math.inf))) if np.any(judged >= 0) else None
    spent = epochs.column("epochs_spent")[-1] if count else 0
    return {
        "state": STARTED,
        "reason": "",
        "epochs": count if math.isnan(spent) else int(spent),
        "seconds": float(np.nansum(epochs.column("epoch_seconds"))),
        "judged": None if best is None else judged[best],
        "best_epoch": None if best is None else epochs.column("epoch")[best],
        "micro_batch_size": int(np.nanmax(epochs.column("micro_batch_size"), initial=0)),
    }


def _images(arm: str, split: str, run: LoggedRun, notes: list[str]) -> list[dict[str, str]]:
    """Returns the pictures that a run logged last for an arm; one whose file is gone is left out and noted."""
    key = f"{'selected' if split == 'val' else 'tested'}/{arm}"
    logged: dict[str, Any] = next((row[key] for row in reversed(run.rows) if key in row), {})
    names = logged.get("filenames") or [logged["path"]] if logged else []  # several pictures, or a single one
    captions = logged.get("captions") or [logged.get("caption")] * len(names)
    images = []
    for name, caption in zip(names, captions, strict=True):
        path = run.path.parent / "files" / name
        if path.is_file():
            images.append({"arm": arm, "split": split, "caption": caption or "", "path": str(path)})
        else:
            notes.append(f"The picture {name} is in the log, but its file is gone.")
    return images


def _frame(rows: list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    """Makes a frame with the documented columns first, then the others by name."""
    others = sorted({key for row in rows for key in row} - set(columns))
    return pd.DataFrame(rows, columns=[*columns, *others]).astype(columns)
