"""Says how many labelled tiles each arm used, and how much folds of them promised too much."""

import math

from analysis.logs.frames import Logs
from analysis.logs.run_configs import ArmFacts, StudyRunConfig


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


def split_words(study: StudyRunConfig) -> str:
    """Returns how many tiles a study has of each split, such as `24 train, 6 val and 6 test tiles`."""
    num_test = len(study["test_tiles"])
    if is_of_labels(study):
        return f"{study['num_train_tiles']} labelled and {num_test} test tiles"
    return f"{study['num_train_tiles']} train, {len(study['val_tiles'])} val and {num_test} test tiles"


def folds_iou(logs: Logs, arm: str) -> float:
    """Returns the IoU over folds of an arm's selected trial, in [0, 1]; NaN where val tiles judged, or nothing did."""
    found = logs.selection.loc[logs.selection["arm"] == arm, "judged"]
    return float(found.iloc[0]) if is_of_labels(logs.study) and len(found) else math.nan
