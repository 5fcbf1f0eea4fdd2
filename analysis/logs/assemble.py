"""Joins the W&B runs of one study, of which there are several where it was resumed, and fills the frames of `Logs`."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from analysis.logs import frames, rows
from analysis.logs.epochs import Epochs, epochs_of, history_frame, joined
from analysis.logs.forecast_row import forecast_from_history
from analysis.logs.frames import STARTED, Logs, ModelKey
from analysis.logs.further_rows import FurtherRow
from analysis.logs.rows import ModelRow, OpeningRow, SelectionRow, Split, TrialRow
from analysis.logs.run_configs import THEN, ArmFacts, StudyRunConfig, required
from analysis.logs.wandb_run import LoggedRun
from trainables.common.splits import TEST, further_split

_IDENTITY = ["arm", "run_arm", "number", "stage"]
_COMPUTED_WITH = ("dtype", "device_model")  # of a trial: empty where an older log does not say them
_NO_LOSS = {"micro_batch_size": 0, "lost_epochs": 0, "lost_seconds": 0.0}

TrialKey = tuple[str, int]  # arm under which it was logged, and number


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """A run of the study itself, with its rows by kind."""

    run: LoggedRun
    trials: list[TrialRow]
    selections: list[SelectionRow]
    models: list[ModelRow]
    further: list[FurtherRow]
    openings: list[OpeningRow]


def assemble(study_runs: list[LoggedRun], trial_runs: list[LoggedRun], notes: Sequence[str] = ()) -> Logs:
    """Turns what one study logged into frames.

    Args:
        study_runs: The runs of the study itself, oldest first, at least one: several where the study was resumed.
        trial_runs: The runs of its trials, oldest first: several of one trial where that was resumed.
        notes: What reading the files has shown, to be carried on.
    """
    notes = list(notes)
    segments = [_segment(run, notes) for run in study_runs]
    newest, deciding = segments[-1], _deciding(segments)
    if deciding is not newest:
        notes.append(
            "The study's newest run has not ended: selection, final models and pictures are those of an earlier run."
        )
    elif not newest.run.ended:
        notes.append("The study's run has not ended: it is still running or was killed, and this is what it logged.")
    study = cast("StudyRunConfig", {key: value for key, value in newest.run.config.items() if key != "_wandb"})
    trained = {run.config["arm"] for run in trial_runs}
    trained |= {row["arm"] for segment in segments for row in segment.trials}
    selected = {row["arm"]: row for row in deciding.selections}
    study["arms"] = [arm for arm in study["arms"] if "recipe_of" not in arm or arm["arm"] in trained]
    # Without recipes that were trained beside an earlier selection, where the deciding one is the recipe itself
    same = {arm for arm, row in selected.items() if row.get("is_recipe")}
    study["arms"] = [arm for arm in study["arms"] if arm.get("recipe_of") not in same]
    arms = {arm["arm"]: arm for arm in study["arms"]}
    trials, epochs = _trials(segments, trial_runs, arms, study["judged_metric"])
    for key, trial in trials.items():
        if (found := len(epochs[key])) < (spent := trial["epochs"]):
            notes.append(f"The logs of {key[0]}, trial {key[1]}, hold {found} of its {spent} epochs.")
    models, sources = _models(list(arms), segments, selected, notes)
    further = _further(segments, models)
    scored = {further_split(row["test_set"]) for its in further.values() for row in its}
    runs = frames.frame(list(trials.values()), frames.TRIAL_COLUMNS)
    groups = study.get("groups", {})
    pictured: list[tuple[str, Split, LoggedRun]] = []
    for arm in arms:
        pictured += [(arm, "val", deciding.run), (arm, "test", sources.get(arm, deciding).run)]
    return Logs(
        study=study,
        runs=runs,
        history=history_frame(runs[_IDENTITY], list(epochs.values())),
        selection=frames.frame([selected[arm] for arm in arms if arm in selected], frames.SELECTION_COLUMNS),
        models=frames.frame([_model(row, further[_key(row)], arms, trials) for row in models], frames.MODEL_COLUMNS),
        scores=frames.frame(
            [score for row in models for score in _scores(row, further[_key(row)], groups)], frames.SCORE_COLUMNS
        ),
        openings=frames.frame(  # none may be forgotten
            [row for segment in segments for row in segment.openings], frames.OPENING_COLUMNS
        ).drop_duplicates(["attempt", "event", "at"], keep="last", ignore_index=True),
        images=frames.frame(
            [image for arm, split, run in pictured for image in _images(arm, split, run, notes)], frames.IMAGE_COLUMNS
        ),
        confusions={key: matrices for row in models for key, matrices in _confusions(row, further[_key(row)])},
        notes=tuple(notes),
        forecast=forecast_from_history(deciding.run.rows),
        further=tuple(split for split in study.get("further_tiles", ()) if split in scored),
    )


def _segment(run: LoggedRun, notes: list[str]) -> _Segment:
    """Sorts the rows of a study's run by kind, and notes how many lack a key that they must have."""

    def of_kind(kind: rows.RowKind[rows.Row]) -> list[rows.Row]:
        whole, num_lacking = kind.from_history(run.rows)
        if num_lacking:
            notes.append(
                f"{run.path.name} has rows {kind.name}/… that do not say all of {', '.join(required(kind.type))}: "
                f"{num_lacking} of {len(whole) + num_lacking} are left out."
            )
        return whole

    return _Segment(
        run=run,
        trials=of_kind(rows.TRIAL),
        selections=of_kind(rows.SELECTION),
        models=of_kind(rows.MODEL),
        further=of_kind(rows.FURTHER),
        openings=of_kind(rows.OPENING),
    )


def _deciding(segments: list[_Segment]) -> _Segment:
    """Returns the newest run that has ended; the very newest where none has, or where that one came to nothing."""
    ended = [segment for segment in segments if segment.run.ended]
    return ended[-1] if ended and (ended[-1].selections or ended[-1].models) else segments[-1]


def _trials(
    segments: list[_Segment], trial_runs: list[LoggedRun], arms: Mapping[str, ArmFacts], judged_metric: str
) -> tuple[dict[TrialKey, dict[str, Any]], dict[TrialKey, Epochs]]:
    """Returns what is known of each trial, a row of the frame, and its epochs; both in the order of the arms."""
    runs: dict[TrialKey, list[LoggedRun]] = defaultdict(list)
    for run in trial_runs:
        runs[run.config["run_arm"], run.config["trial"]].append(run)
    ends = {(row["run_arm"], row["number"]): row for segment in segments for row in segment.trials}
    trials: dict[TrialKey, dict[str, Any]] = {}
    epochs: dict[TrialKey, Epochs] = {}
    for key in runs.keys() | ends.keys():
        config = runs[key][-1].config if runs[key] else {}
        epochs[key] = joined([epochs_of(run.rows) if run.epochs is None else run.epochs for run in runs[key]])
        end: Mapping[str, Any] = ends.get(key) or _progress(epochs[key], judged_metric)
        identity: dict[str, Any] = {"run_arm": key[0], "number": key[1]}
        identity |= {name: config.get(name) or end.get(name) for name in ("arm", "stage")}
        about = {**arms.get(identity["arm"], {}), **config}
        trials[key] = (
            {name: about.get(name) for name in ("architecture", "architecture_label", "tiles", "signature")}
            | _NO_LOSS
            | dict(end)
            | identity
            | {name: _throughout([run.config.get(name) for run in runs[key]]) for name in _COMPUTED_WITH}
            | {"num_segments": len(runs[key]), "run": runs[key][-1].path.stem if runs[key] else None}
            | {f"hyperparameters/{name}": value for name, value in config.get("hyperparameters", {}).items()}
        )
    places = {arm: place for place, arm in enumerate(arms)}

    def order(key: TrialKey) -> tuple[int, bool, str, int]:
        return places.get(trials[key]["arm"], len(places)), trials[key]["stage"] != "search", *key

    ordered = sorted(trials, key=order)
    return {key: trials[key] for key in ordered}, {key: epochs[key] for key in ordered}


def _throughout(values: Sequence[str | None]) -> str:
    """What a trial's runs, oldest first, say it was: the newest knows, or all together; empty where none says it."""
    known = [value for value in values if value]
    return known[-1] if known and THEN in known[-1] else THEN.join(dict.fromkeys(known))


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


def _models(
    arms: list[str], segments: list[_Segment], selected: Mapping[str, SelectionRow], notes: list[str]
) -> tuple[list[ModelRow], dict[str, _Segment]]:
    """Returns the rows of each arm's final models, and the run that logged them: the newest that did.

    A run that was to train more of them, or was refused another look at the test tiles, takes nothing back. What was
    trained of another configuration than the selected one is left out.
    """
    found: list[ModelRow] = []
    sources: dict[str, _Segment] = {}
    for arm in arms:
        source = next((one for one in reversed(segments) if any(row["arm"] == arm for row in one.models)), None)
        if source is None:
            continue
        models = {row["number"]: row for row in source.models if row["arm"] == arm}
        own = selected[arm]["signature"] if arm in selected else None
        if own is not None and any(row.get("confirms", own) != own for row in models.values()):
            notes.append(f"The final models of {arm} are of an earlier selection, so they are left out.")
            continue
        found += [models[number] for number in sorted(models)]
        sources[arm] = source
    return found, sources


def _further(segments: list[_Segment], models: Sequence[ModelRow]) -> dict[TrialKey, list[FurtherRow]]:
    """Returns what each of the models came to on further test sets, as logged last; nothing of other configurations."""
    signatures = {_key(row): row.get("signature") for row in models}
    newest = {(_key(row), row["test_set"]): row for segment in segments for row in segment.further}
    found: dict[TrialKey, list[FurtherRow]] = {key: [] for key in signatures}
    for (key, _), row in newest.items():
        if signatures.get(key) == row["signature"]:
            found[key].append(row)
    return found


def _key(row: ModelRow | FurtherRow) -> TrialKey:
    return row["arm"], row["number"]


def _model(
    row: ModelRow,
    further: Sequence[FurtherRow],
    arms: Mapping[str, ArmFacts],
    trials: Mapping[TrialKey, Mapping[str, Any]],
) -> dict[str, Any]:
    """Returns what is known of a final model: its own row, its trial's, and those of further test sets."""
    about: Mapping[str, Any] = arms.get(row["arm"], {})
    trial = trials.get((row["run_arm"], row["number"]), {})
    taken = ("run", *_COMPUTED_WITH)
    settings = {key: value for key, value in trial.items() if key in taken or key.startswith("hyperparameters/")}
    settings = dict.fromkeys((*_COMPUTED_WITH, "scored"), "") | settings
    named = {name: about.get(name) for name in ("architecture", "architecture_label", "tiles")}
    about = named | settings | {key: value for key, value in row.items() if key in frames.MODEL_COLUMNS}
    for its in further:
        split = further_split(its["test_set"])
        about |= {f"{split}_iou": its["test_iou"], f"{split}_f1": its["test_f1"]}
        if how := its.get("scored"):
            about["scored"] = "; ".join(filter(None, (about["scored"], how)))
    return about


def _by_split(
    row: ModelRow, further: Sequence[FurtherRow]
) -> list[tuple[Split, dict[str, float | None], list[list[int]]]]:
    """Returns a model's IoU by tile and its confusion matrices of each split; empty where it was not scored on it."""
    found = [(split, rows.tile_iou(row, split), rows.tile_confusion(row, split)) for split in (*rows.SPLITS, rows.TTA)]
    for its in further:
        split = further_split(its["test_set"])
        found.append((split, rows.tile_iou(its, TEST), rows.tile_confusion(its, TEST)))
    return found


def _scores(row: ModelRow, further: Sequence[FurtherRow], groups: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns the model's IoU of each tile."""
    model = {"arm": row["arm"], "number": row["number"]}
    return [
        model | {"split": split, "tile": tile, "group": groups.get(tile, tile), "iou": iou}
        for split, by_tile, _ in _by_split(row, further)
        for tile, iou in by_tile.items()
    ]


def _confusions(row: ModelRow, further: Sequence[FurtherRow]) -> list[tuple[ModelKey, npt.NDArray[np.int64]]]:
    """Returns the model's confusion matrices of each split that has them."""
    found: list[tuple[ModelKey, npt.NDArray[np.int64]]] = []
    for split, _, matrices in _by_split(row, further):
        flat = np.array(matrices, dtype=np.int64)
        if flat.size:
            num_classes = math.isqrt(flat.shape[1])
            found.append(((row["arm"], row["number"], split), flat.reshape(-1, num_classes, num_classes)))
    return found


def _images(arm: str, split: Split, run: LoggedRun, notes: list[str]) -> list[dict[str, str]]:
    """Returns the pictures that a run logged last for an arm; one whose file is gone is left out and noted."""
    key = rows.pictures_key(split, arm)
    images = []
    for name, caption in rows.pictures(next((row[key] for row in reversed(run.rows) if key in row), {})):
        path = run.path.parent / "files" / name
        if path.is_file():
            images.append({"arm": arm, "split": split, "caption": caption, "path": str(path)})
        else:
            notes.append(f"The picture {name} is in the log, but its file is gone.")
    return images
