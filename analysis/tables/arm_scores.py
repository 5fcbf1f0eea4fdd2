"""Computes the IoU that each arm's final models reached, and which arms can be compared."""

import functools
import math

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.rows import Split
from analysis.logs.run_configs import competing
from analysis.stats.bootstrap import count_scored, has_interval
from analysis.stats.summaries import summarise
from analysis.tables.classes import constant_iou
from analysis.tables.tile_scores import TileScores, final_split, read_tile_scores


def iou_by_arm(logs: Logs, split: Split | None = None, *, with_recipes: bool = False) -> pd.DataFrame:
    """Returns the IoU of each arm that has final models, in the order of the study's arms.

    Args:
        logs: Of one study.
        split: Where the models were scored; the split that they are compared on if left out.
        with_recipes: Also of the recipes that were trained beside what a search selected, which compete with nothing.

    Returns:
        A frame with `arm`, `label`, `tiles`, `mean`, `low`, `high` (interval), `num_models`, `num_subsets`,
        `num_seeds`, and `median`, `iqm` (interquartile mean) and `sd` over models; in [0, 1].
    """
    frame = _iou_by_arm(logs, split or final_split(logs))
    shown = logs.study["arms"] if with_recipes else competing(logs.study["arms"])
    return frame[frame["arm"].isin([arm["arm"] for arm in shown])].reset_index(drop=True)


@functools.lru_cache(maxsize=16)  # its intervals take long, and a report asks for them again and again
def _iou_by_arm(logs: Logs, split: Split) -> pd.DataFrame:
    scores = read_tile_scores(logs, split)
    rows = []
    for about in logs.study["arms"]:
        models = logs.models[(logs.models["arm"] == about["arm"]) & logs.models[f"{split}_iou"].notna()]
        if models.empty:
            continue
        summary = summarise(models[f"{split}_iou"].to_numpy(dtype=np.float64))
        low, high = interval_ends(scores, about["arm"])
        rows.append(
            {
                "arm": about["arm"],
                "label": about["architecture_label"],
                "tiles": about["tiles"],
                "mean": summary.mean,
                "low": low,
                "high": high,
                "num_models": summary.n,
                "num_subsets": models["subset"].nunique(),
                "num_seeds": models["seed"].nunique(),
                "median": summary.median,
                "iqm": summary.iqm,
                "sd": summary.sd,
            }
        )
    columns = ["arm", "label", "tiles", "mean", "low", "high", "num_models", "num_subsets", "num_seeds"]
    return pd.DataFrame(rows, columns=[*columns, "median", "iqm", "sd"]).astype({"sd": "float64"})


def interval_ends(scores: TileScores | None, arm: str) -> tuple[float, float]:
    """Returns the ends of an arm's interval, NaN where it has none."""
    return (None if scores is None else scores.interval(arm)) or (math.nan, math.nan)


def iou_by_model(logs: Logs) -> pd.DataFrame:
    """Returns one row per final model that has a score: `label`, `tiles`, `value` (its IoU, in [0, 1])."""
    split = final_split(logs)
    scored = logs.models[logs.models[f"{split}_iou"].notna()]
    return pd.DataFrame(
        {"label": scored["architecture_label"], "tiles": scored["tiles"], "value": scored[f"{split}_iou"]}
    ).reset_index(drop=True)


def comparable_scores(logs: Logs, arms: list[str], split: Split | None = None) -> TileScores | None:
    """Returns the scores of those of some arms that have two models or more, scored on tiles of two places or more.

    They are of the split that models are compared on, unless another one is given. Of an arm with a single model
    nothing is known of its seeds. Models that some of the arms lack are left out. None where fewer than two arms or
    models are left.
    """
    scores = read_tile_scores(logs, split or final_split(logs))
    if scores is None:
        return None
    known = []
    for arm in arms:
        num_models, _, num_groups = count_scored(scores.of(arm), scores.groups)
        if has_interval(num_models, num_groups):
            known.append(arm)
    chosen = scores.select(known).paired() if len(known) > 1 else None
    return chosen if chosen is not None and chosen.iou.shape[1] > 1 else None


def below_trivial(logs: Logs) -> dict[str, float]:
    """Returns the mean IoU of the arms whose final models are on average no better than one class everywhere."""
    frame, trivial = iou_by_arm(logs), constant_iou(logs, final_split(logs))
    worse = frame[frame["mean"] <= trivial] if trivial is not None else frame[:0]
    return dict(zip(worse["arm"], worse["mean"], strict=True))
