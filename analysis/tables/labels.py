"""Says how many labelled tiles each arm used, and how much folds of them promised too much."""

import math

import numpy as np

from analysis.logs.frames import Logs
from analysis.logs.run_configs import ArmFacts, StudyRunConfig
from analysis.report.words import listed
from analysis.stats.nested import nested_mean


def is_of_labels(study: StudyRunConfig) -> bool:
    """Whether the budgets of a study are of all labels, with no val tiles besides."""
    return bool(study["spec"].get("labels"))


def budget_unit(study: StudyRunConfig) -> str:
    """Returns what the budgets of a study count: "labels", or "tiles", beside which there are val tiles."""
    return "labels" if is_of_labels(study) else "tiles"


def labels_used(study: StudyRunConfig, arm: ArmFacts) -> str:
    """Returns the labelled tiles that an arm used: `5 + 6 val`, `5 (5 folds)`, or `5 (no val)` without a search."""
    if not is_of_labels(study):
        return f"{arm['tiles']} + {len(study['val_tiles'])} val"
    folds = arm.get("folds", 0)
    return f"{arm['tiles']} ({f'{folds} folds' if folds else 'no val'})"


def split_words(study: StudyRunConfig, *, with_train: bool = True) -> str:
    """Returns how many tiles a study has of each split, such as `24 train, 6 val, 6 test and 8 test-oslo tiles`."""
    tested = {"test": len(study["test_tiles"])} | {
        name: len(ids) for name, ids in study.get("further_tiles", {}).items()
    }
    counts = {"labelled": study["num_train_tiles"]}
    if not is_of_labels(study):
        counts = {"train": study["num_train_tiles"]} if with_train else {}
        counts["val"] = len(study["val_tiles"])
    return f"{listed([f'{count} {split}' for split, count in (counts | tested).items()])} tiles"


def folds_iou(logs: Logs, arm: str) -> float:
    """Returns the IoU over folds of an arm's selected trial, in [0, 1]; NaN where val tiles judged, or nothing did."""
    found = logs.selection.loc[logs.selection["arm"] == arm, "judged"]
    return float(found.iloc[0]) if is_of_labels(logs.study) and len(found) else math.nan


def nested_iou(logs: Logs, arm: str) -> float:
    """Returns the IoU over folds of what an arm's search would have selected without the fold that it is scored on.

    The candidates are the epochs of all trials that ran their course, since an epoch is selected, too. `folds_iou`
    minus this is the optimism of the selection (`stats.nested`).

    Returns:
        In [0, 1]; NaN with fewer than two such trials or three folds; where fixed values were tried, which are selected
        by means over seeds; and with more than two classes, whose IoU is of the pixels of all tiles together.
    """
    study = logs.study
    folds = next(about.get("fold_tiles", ()) for about in study["arms"] if about["arm"] == arm)
    of_arm = logs.runs[(logs.runs["arm"] == arm) & (logs.runs["stage"] == "search")]
    finished = of_arm.loc[of_arm["state"] == "finished", "number"]
    columns = {f"{study['judged_metric']}/{tile}": fold for fold, tiles in enumerate(folds) for tile in tiles}
    known = [column for column in columns if column in logs.history]
    is_other = study["spec"].get("vary") or len(study.get("classes", ())) > 2
    if is_other or len(finished) < 2 or not known:
        return math.nan
    its = logs.history[(logs.history["arm"] == arm) & (logs.history["stage"] == "search")]
    candidates = its[its["number"].isin(finished)].sort_values(["number", "epoch"])
    scores = candidates[known].to_numpy(dtype=np.float64)
    return nested_mean(scores, np.array([columns[column] for column in known]))
