"""Computes the planned contrasts: of the pairs of architectures, and of the presets, that the reference study names."""

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.run_configs import ArmFacts
from analysis.stats.contrasts import Contrast, contrast, holm, smallest_adjusted_p
from analysis.stats.ranks import probability_of_improvement
from analysis.tables.search_results import scores_by_value
from analysis.tables.tile_scores import final_split, read_tile_scores

PAIRS = (
    ("unet_resnet34", "unet", "encoder (attempts 02 \N{MINUS SIGN} 01)"),
    ("deeplabv3plus_resnet34", "unet_resnet34", "architecture (attempts 03 \N{MINUS SIGN} 02)"),
    ("sam_unet", "sam_conv", "decoder and skips (attempts 05 \N{MINUS SIGN} 04)"),
)
"""Pairs of architectures that are compared, and no others: what the reference study asks of its attempts."""
HYPOTHESES: dict[str, tuple[tuple[str, ...], str]] = {
    "cnn": (("MEDIUM", "HEAVY"), "MEDIUM and HEAVY against the others"),
    "frozen_encoder": (("LIGHT", "MEDIUM"), "LIGHT and MEDIUM against the others"),
}
"""Which presets are expected to win in a track. Source: the reference study's hypothesis."""

PRESETS = ("NONE", "LIGHT", "MEDIUM", "HEAVY", "EXTREME")

_COUNTS = ("models", "scored_tiles", "places")


def architecture_contrasts(logs: Logs) -> pd.DataFrame:
    """Returns the planned contrasts of the study: one row per pair of architectures and number of tiles.

    Returns:
        A frame with `contrast`, `what`, `tiles`, `difference` (of IoU), `difference_low`, `difference_high` (bootstrap
        interval), `effect` (Cohen's d over tiles), `better` (probability that a model of the first beats one of the
        second on the same tile), `p` (sign-flip test over tiles), `p_places` (the tiles of a place flipped together),
        `p_holm` (`p` adjusted for all rows), `smallest_p` (the least that `p_holm` could ever be with so few tiles),
        `models`, `scored_tiles` and `places` (pairs of each). Empty where no pair was run.
    """
    split = final_split(logs)
    scores = read_tile_scores(logs, split)
    rows: list[dict[str, Any]] = []
    found: list[Contrast] = []
    for group in _arms_by_tiles(logs):
        arms = {arm["architecture"]: arm["arm"] for arm in group}
        for first, second, what in PAIRS:
            if scores is None or not {first, second} <= arms.keys():
                continue
            one, other = scores.of(arms[first]), scores.of(arms[second])
            result = contrast(one, other, scores.factors, scores.groups)
            if result is None:
                continue
            better = probability_of_improvement(one, other)
            name = f"{first} \N{MINUS SIGN} {second}"
            rows.append({"contrast": name, "what": what, "tiles": group[0]["tiles"], "better": better})
            found.append(result)
    return _contrast_frame(rows, found)


def preset_contrasts(logs: Logs) -> pd.DataFrame:
    """Returns the planned contrast of presets per arm, as `architecture_contrasts`; empty for other studies.

    It needs all presets, and is over the seeds that all of them have.
    """
    rows: list[dict[str, Any]] = []
    found = []
    for arm in logs.study["arms"] if logs.study["spec"].get("vary") == "augmentation" else ():
        expected, what = HYPOTHESES.get(arm["track"], ((), ""))
        by_preset = scores_by_value(logs, arm["arm"], "augmentation")
        if not expected or set(by_preset) != set(PRESETS):
            continue
        shared = set.intersection(*(set(scores.seeds) for scores in by_preset.values()))
        seeds = np.array(sorted(shared), dtype=np.int64)
        iou = {preset: its.iou[np.isin(its.seeds, seeds)] for preset, its in by_preset.items()}  # by seed, as sorted
        if seeds.size == 0:
            continue
        one = np.mean([iou[preset] for preset in expected], axis=0)
        other = np.mean([iou[preset] for preset in PRESETS if preset not in expected], axis=0)
        groups = by_preset["NONE"].groups
        if (result := contrast(one, other, (seeds,), groups)) is not None:
            better = probability_of_improvement(one, other)
            rows.append({"contrast": arm["architecture_label"], "what": what, "tiles": arm["tiles"], "better": better})
            found.append(result)
    return _contrast_frame(rows, found)


def _contrast_frame(rows: list[dict[str, Any]], found: list[Contrast]) -> pd.DataFrame:
    """Returns a frame as of `architecture_contrasts`, adjusted for all of its rows."""
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
