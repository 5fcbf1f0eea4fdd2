"""Compares the pairs of architectures that the reference study asks about, and no others."""

import math
from typing import Any

import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.run_configs import ArmFacts
from analysis.stats.contrasts import Contrast, contrast, holm, smallest_adjusted_p
from analysis.stats.ranks import probability_of_improvement
from analysis.tables.scores import final_split, read_scores

PLANNED = (
    ("02 \N{MINUS SIGN} 01", "unet_resnet34", "unet", "encoder"),
    ("03 \N{MINUS SIGN} 02", "deeplabv3plus_resnet34", "unet_resnet34", "architecture"),
    ("05 \N{MINUS SIGN} 04", "sam_unet", "sam_conv", "decoder and skips"),
)
"""Pairs that are compared, and no others: what the reference study asks of its attempts."""

_COUNTS = ("models", "scored_tiles", "places")


def contrasts(logs: Logs) -> pd.DataFrame:
    """Returns the planned contrasts of the study: one row per pair of architectures and number of tiles.

    Returns:
        A frame with `contrast`, `what`, `tiles`, `difference` (of IoU), `difference_low`, `difference_high` (bootstrap
        interval), `effect` (Cohen's d over tiles), `better` (probability that a model of the first beats one of the
        second on the same tile), `p` (sign-flip test over tiles), `p_places` (the tiles of a place flipped together),
        `p_holm` (`p` adjusted for all rows), `smallest_p` (the least that `p_holm` could ever be with so few tiles),
        `models`, `scored_tiles` and `places` (pairs of each). Empty where no pair was run.
    """
    split = final_split(logs)
    scores = read_scores(logs, split)
    rows: list[dict[str, Any]] = []
    found: list[Contrast] = []
    for group in _arms_by_tiles(logs):
        arms = {arm["architecture"]: arm["arm"] for arm in group}
        for name, first, second, what in PLANNED:
            if scores is None or not {first, second} <= arms.keys():
                continue
            one, other = scores.of(arms[first]), scores.of(arms[second])
            result = contrast(one, other, scores.factors, scores.groups)
            if result is None:
                continue
            better = probability_of_improvement(one, other)
            rows.append({"contrast": name, "what": what, "tiles": group[0]["tiles"], "better": better})
            found.append(result)
    return contrast_frame(rows, found)


def contrast_frame(rows: list[dict[str, Any]], found: list[Contrast]) -> pd.DataFrame:
    """Returns a frame as of `contrasts`, adjusted for all of its rows."""
    adjusted = holm([result.p for result in found])
    for row, result, p_holm in zip(rows, found, adjusted, strict=True):
        low, high = result.interval or (math.nan, math.nan)
        row |= {"difference": result.difference, "difference_low": low, "difference_high": high}
        row |= {"effect": math.nan if result.effect is None else result.effect, "p": result.p, "p_holm": p_holm}
        row |= {"p_places": result.p_by_group, "smallest_p": smallest_adjusted_p(result.num_tiles, len(found))}
        row |= {"models": result.num_models}
        row |= {"scored_tiles": result.num_tiles, "places": result.num_groups}
    columns = ["contrast", "what", "tiles", "difference", "difference_low", "difference_high", "effect", "better"]
    return pd.DataFrame(rows, columns=[*columns, "p", "p_places", "p_holm", "smallest_p", *_COUNTS])


def _arms_by_tiles(logs: Logs) -> list[list[ArmFacts]]:
    budgets = sorted({arm["tiles"] for arm in logs.study["arms"]})
    return [[arm for arm in logs.study["arms"] if arm["tiles"] == tiles] for tiles in budgets]
