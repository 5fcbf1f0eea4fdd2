"""Says how many labelled tiles each arm used, and how much folds of them promised too much."""

import math

from analysis.logs.frames import Logs
from analysis.logs.run_configs import ArmFacts, StudyRunConfig
from analysis.report.words import listed


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
