"""Makes the table of how far single scores spread, and how far a val score can be believed."""

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.stats.arrays import FloatArray
from analysis.stats.summaries import summarise
from analysis.stats.variance import crossed_variance, nested_variance
from analysis.tables.labels import folds_iou, is_of_labels, nested_iou
from analysis.tables.tile_scores import final_split


def spread(logs: Logs) -> pd.DataFrame:
    """Returns how the IoU of each arm's models spreads and where that comes from, and what val promised too much.

    Returns:
        A frame with `architecture`, `tiles`, `models`, `subsets` and `seeds` (of the final models), `median`, `iqm`
        (interquartile mean) and `sd` over the final models; `sd_subset` (between draws of tiles from this pool),
        `sd_seed`, `sd_rest` (what neither explains) and `sd_hyperparameters` (between the search's trials that ran all
        their epochs; each has a seed of its own, so that is in it); `tuned_val_iou` (of the selected trial: the best of
        several), `optimism` (that minus the mean val IoU of the final models; where budgets are of labels, IoU over
        folds minus nested IoU over folds) and `gap` (val minus test IoU, of the models that have both; other tiles, so
        part of it is how hard they are). What is not known is missing, and so are arms of which nothing is.
    """
    split = final_split(logs)
    rows = []
    for about in logs.study["arms"]:
        arm = about["arm"]
        scored = logs.models[(logs.models["arm"] == arm) & logs.models[f"{split}_iou"].notna()]
        row: dict[str, Any] = {"architecture": about["architecture_label"], "tiles": about["tiles"]}
        row |= {"models": len(scored), "subsets": scored["subset"].nunique(), "seeds": scored["seed"].nunique()}
        if len(scored):
            summary = summarise(scored[f"{split}_iou"].to_numpy(dtype=np.float64))
            row |= {"median": summary.median, "iqm": summary.iqm, "sd": summary.sd}
        by_seed = scored.pivot_table(index="subset", columns="seed", values=f"{split}_iou")
        row |= _components(by_seed.to_numpy(dtype=np.float64))
        rows.append(row | {"sd_hyperparameters": _sd_of_search(logs, arm)} | _optimism(logs, arm))
    known = ["median", "iqm", "sd", "sd_subset", "sd_seed", "sd_rest", "sd_hyperparameters"]
    known += ["tuned_val_iou", "optimism", "gap"]
    frame = pd.DataFrame(rows, columns=["architecture", "tiles", "models", "subsets", "seeds", *known])
    frame = frame.astype(dict.fromkeys(known, "float64"))
    return frame[frame[known].notna().any(axis=1)].reset_index(drop=True)


def _components(table: FloatArray) -> dict[str, float]:
    """Standard deviations of a table of subsets and seeds."""
    if crossed := crossed_variance(table):
        parts = {"sd_subset": crossed.subset, "sd_seed": crossed.seed, "sd_rest": crossed.residual}
        return {name: math.sqrt(variance) for name, variance in parts.items()}
    nested = nested_variance(list(table))
    return {"sd_seed": nested.within_sd} if nested else {}


def _sd_of_search(logs: Logs, arm: str) -> float:
    """Missing where fixed values were tried: these are of levels × seeds, not of a search."""
    if logs.study["spec"].get("vary"):
        return math.nan
    searched = logs.runs[(logs.runs["arm"] == arm) & (logs.runs["stage"] == "search")]
    return float(searched.loc[searched["state"] == "finished", "judged"].std(ddof=1))


def _optimism(logs: Logs, arm: str) -> dict[str, float]:
    if is_of_labels(logs.study):
        return {"optimism": folds_iou(logs, arm) - nested_iou(logs, arm)}
    models = logs.models[logs.models["arm"] == arm]
    if models["val_iou"].isna().all():
        return {}
    tuned = logs.selection.loc[logs.selection["arm"] == arm, "val_iou"]
    best = tuned.iloc[0] if len(tuned) else math.nan
    gap = (models["val_iou"] - models["test_iou"]).mean()
    return {"tuned_val_iou": best, "optimism": best - models["val_iou"].mean(), "gap": gap}
