"""Makes the two main tables: IoU by architecture, and IoU by number of tiles."""

import math
from typing import Any

import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.rows import SPLITS, TTA, Split
from analysis.logs.run_configs import ArmFacts, competing
from analysis.tables.arm_scores import interval_ends, iou_by_arm
from analysis.tables.comparison import Comparison, compare
from analysis.tables.labels import folds_iou, is_of_labels, labels_used, nested_iou
from analysis.tables.tile_scores import TileScores, final_split, read_tile_scores

_PUBLISHED = ("test_iou", "test_f1", "val_iou", "val_f1", "best_epoch", "minutes")


def iou_by_architecture(logs: Logs) -> pd.DataFrame:
    """Returns a row per arm: its scores with intervals, how far it is behind the leader, and what a model costs.

    Returns:
        A frame, most tiles first, then the highest IoU, arms without a final model last; a recipe stands below what was
        tuned from it, and is in no comparison. It has `architecture` (its label), `tiles` (count), `labels` (those
        used, of which some judged); `test_iou` and `val_iou`, each with `_low` and `_high` (of the interval;
        missing with one model or one place), `test_f1` and `val_f1` (means over models, on whole tiles, in [0, 1]); of
        the split that decides (test, or val while the test tiles are sealed) `behind` (IoU of the leader with as many
        tiles minus this one, over the models that both have) with its interval, `differs` (from the leader, by
        `ranks.below_leader`: yes or no) and `p` (of that difference, uncorrected); `ensemble_iou` (of the mean of the
        probabilities of all models; of several subsets, the mean over these) and `tta_iou` (of the mean over the eight
        symmetries of a tile, averaged over models; with its interval where its scores by tile are known), on test;
        `test-<name>_iou` with its interval and `test-<name>_f1` of each further test set; `best_epoch` (median),
        `minutes` (mean per model), `published_<...>` (of the reference study, where the log has it), `models` (final
        ones with a score) and `trivial_iou` (of calling every pixel the best single class, on val). Where an arm has no
        final model, the selected trial stands for it with its val scores. Where budgets are of labels, there are no val
        scores, and `folds_iou` is that of the selected trial over its folds, `nested_iou` that of what would be
        selected without the fold that it is scored on, and `folds_gap` `folds_iou` minus `test_iou`. What is not known
        is missing.
    """
    split = final_split(logs)
    other = "val" if split == "test" else "test"
    frame, scores = iou_by_arm(logs), {name: read_tile_scores(logs, name) for name in (*SPLITS, *logs.further)}
    recipes = {arm["recipe_of"]: arm["arm"] for arm in logs.study["arms"] if "recipe_of" in arm}
    by_arm = {str(row["arm"]): row for row in frame.to_dict("records")}
    abouts = {arm["arm"]: arm for arm in logs.study["arms"]}
    rows = []
    for tiles in sorted({arm["tiles"] for arm in abouts.values()}, reverse=True):
        group = frame[frame["tiles"] == tiles].sort_values("mean", ascending=False, kind="stable")
        ordered = [str(arm) for arm in group["arm"]]
        known = _beside_leader(compare(logs, tuple(ordered))) if ordered else {}
        competitors = [arm["arm"] for arm in competing(logs.study["arms"]) if arm["tiles"] == tiles]
        ordered += [arm for arm in competitors if arm not in by_arm]
        for arm in [name for first in ordered for name in (first, recipes.get(first)) if name]:
            row = {"architecture": abouts[arm]["architecture_label"], "tiles": tiles}
            row |= {"labels": labels_used(logs.study, abouts[arm]), **_scores(logs, arm, scores)}
            if arm in by_arm:
                row |= {"behind": group["mean"].iloc[0] - by_arm[arm]["mean"]} | known.get(arm, {})
            rows.append(row | _published(logs, abouts[arm]))
    columns = ["architecture", "tiles", "labels", *_with_ends(f"{split}_iou"), f"published_{split}_iou"]
    columns += [*_with_ends("behind"), *(["folds_iou", "nested_iou", "folds_gap"] if is_of_labels(logs.study) else [])]
    columns += ["differs", "p", f"{split}_f1", "ensemble_iou"]
    columns += ["tta_iou"] if read_tile_scores(logs, TTA) is None else _with_ends("tta_iou")
    columns += [name for further in logs.further for name in (*_with_ends(f"{further}_iou"), f"{further}_f1")]
    columns += [*_with_ends(f"{other}_iou"), f"published_{other}_iou", f"{other}_f1"]
    columns += ["best_epoch", "minutes", *(f"published_{name}" for name in _PUBLISHED if not name.endswith("iou"))]
    columns += ["models", "trivial_iou"]
    if not logs.study.get("published"):
        columns = [name for name in columns if not name.startswith("published_")]
    made = pd.DataFrame(rows, columns=columns)
    return made.astype({"best_epoch": "Float64"}).round({"best_epoch": 0}).astype({"best_epoch": "Int64"})


def iou_by_tiles(logs: Logs) -> pd.DataFrame:
    """Returns IoU against tiles; empty with fewer than two budgets.

    Returns:
        A row per architecture (`architecture`, its label); per budget the mean over its final models under the number
        of tiles, such as `12`, with `12_low`, `12_high` (interval) and `12_models` (how many).
    """
    frame = iou_by_arm(logs, with_recipes=True)
    budgets = sorted(frame["tiles"].unique())
    if len(budgets) < 2:
        return pd.DataFrame()
    rows = []
    for label, of_label in frame.groupby("label", sort=False):
        row: dict[str, Any] = {"architecture": label}
        for tiles in budgets:
            cell = of_label[of_label["tiles"] == tiles]
            for column, key in (("mean", ""), ("low", "_low"), ("high", "_high"), ("num_models", "_models")):
                row[f"{tiles}{key}"] = cell[column].iloc[0] if len(cell) else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _with_ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _scores(logs: Logs, arm: str, scores: dict[Split, TileScores | None]) -> dict[str, Any]:
    """The scores of an arm's final models, or of its selected trial where it has none."""
    own = logs.models[logs.models["arm"] == arm]
    models = own[own[f"{final_split(logs)}_iou"].notna()]
    row: dict[str, Any] = {"models": len(models), "best_epoch": models["best_epoch"].median()}
    if is_of_labels(logs.study):
        over_folds = folds_iou(logs, arm)
        row |= {"folds_iou": over_folds, "nested_iou": nested_iou(logs, arm)}
        row |= {"folds_gap": over_folds - models["test_iou"].mean()}
    elif own.empty:
        selection = logs.selection[logs.selection["arm"] == arm]
        row |= {name: selection[name].iloc[0] for name in ("val_iou", "val_f1", "best_epoch") if len(selection)}
    for name in scores:
        if len(models):  # the mean is over the models that its interval is of
            row |= {key: own[key].mean() for key in (f"{name}_iou", f"{name}_f1")}
        low, high = interval_ends(scores[name], arm)
        row |= {f"{name}_iou_low": low, f"{name}_iou_high": high}
    row |= {"ensemble_iou": own.groupby("subset")["ensemble_iou"].first().mean(), "tta_iou": own["tta_iou"].mean()}
    low, high = interval_ends(read_tile_scores(logs, TTA), arm)
    row |= {"tta_iou_low": low, "tta_iou_high": high}
    return row | {"minutes": models["seconds"].mean() / 60, "trivial_iou": logs.study["trivial"]["iou"]}


def _beside_leader(comparison: Comparison | None) -> dict[str, dict[str, Any]]:
    """How each arm compares with the leader, by arm; empty where nothing can be compared."""
    if comparison is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for arm, behind in comparison.behind.items():
        found[arm] = {"differs": "yes" if arm in comparison.below else "no"}
        if behind is not None:
            low, high = behind.interval(least=-1, most=1)
            found[arm] |= {"behind": behind.mean, "behind_low": low, "behind_high": high, "p": behind.p}
    return found


PUBLISHED_TILES = 24
"""Train tiles of the reference study."""


def _published(logs: Logs, arm: ArmFacts) -> dict[str, Any]:
    """The published figures of an arm; none for other numbers of tiles and for variants."""
    is_same = arm["tiles"] == PUBLISHED_TILES and not arm["is_stand_in"]
    figures = (logs.study.get("published") or {}).get(arm["architecture"], {}) if is_same else {}
    return {f"published_{name}": figures.get(name) for name in _PUBLISHED}
