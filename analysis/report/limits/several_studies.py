"""Warns of what limits a report of several studies."""

from collections.abc import Sequence

from analysis.logs.frames import Logs
from analysis.report.conclude.conclusions import deciding_study
from analysis.report.limits.conditions import mixed_conditions
from analysis.report.limits.study_warnings import study_warnings
from analysis.tables.arm_scores import iou_by_arm
from analysis.tables.labels import budget_unit
from analysis.tables.tile_scores import final_split


def report_warnings(studies: Sequence[Logs]) -> list[str]:
    """Returns what limits a report of some studies: shared warnings once, the others with the name of their study."""
    return [
        *_different_tiles(studies),
        *_higher_elsewhere(studies),
        *mixed_conditions(studies),
        *_shared(studies),
    ]


def tiles_key(logs: Logs) -> tuple[object, ...]:
    """Returns what is the same for two studies on the same tiles."""
    study = logs.study
    known = study.get("tiles_digest") or tuple(study["val_tiles"])  # which budgets of labels do without
    return known, tuple(study["test_tiles"])


def _different_tiles(studies: Sequence[Logs]) -> list[str]:
    """A warning where the studies did not use the same tiles: their scores cannot be compared."""
    by_tiles: dict[tuple[object, ...], list[str]] = {}
    for logs in studies:
        by_tiles.setdefault(tiles_key(logs), []).append(logs.study["study"])
    if len(by_tiles) == 1:
        return []
    apart = " | ".join(", ".join(names) for names in by_tiles.values())
    return [f"These studies did NOT USE THE SAME TILES ({apart}): do not compare scores across the bar."]


def _higher_elsewhere(studies: Sequence[Logs]) -> list[str]:
    """A warning where another study has a higher score on the same tiles than the deciding one."""
    if len(studies) == 1:
        return []
    deciding = deciding_study(studies)
    mine, split = iou_by_arm(deciding), final_split(deciding)
    mine = mine[mine["tiles"] == mine["tiles"].max()]
    found = []
    for logs in studies:
        theirs = iou_by_arm(logs)
        theirs = theirs[theirs["tiles"].isin(mine["tiles"])].sort_values("mean", ascending=False, kind="stable")
        is_alike = final_split(logs) == split and tiles_key(logs) == tiles_key(deciding)
        if not is_alike or theirs.empty or not theirs["mean"].iloc[0] > mine["mean"].max():
            continue
        best = theirs.iloc[0]
        found.append(
            f"{logs.study['study']} has a higher {split} IoU with {best['tiles']} {budget_unit(logs.study)}, "
            f"{best['mean']:.3f} ({best['label']}), than {deciding.study['study']} ({mine['mean'].max():.3f}), which "
            "the first conclusion is based on."
        )
    return found


def _shared(studies: Sequence[Logs]) -> list[str]:
    found: dict[str, list[str]] = {}
    for logs in studies:
        for text in study_warnings(logs):
            found.setdefault(text, []).append(logs.study["study"])
    if len(studies) == 1:
        return list(found)
    return [text if len(names) == len(studies) else f"{', '.join(names)}: {text}" for text, names in found.items()]
