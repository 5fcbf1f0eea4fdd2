"""Computes the planned contrasts: of architectures that differ in one thing, and of the reference study's presets."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.run_configs import ArmFacts, competing
from analysis.stats.contrasts import Contrast, contrast, holm
from analysis.stats.ranks import probability_of_improvement
from analysis.tables.search_results import scores_by_value
from analysis.tables.tile_scores import final_split, read_tile_scores

Pair = tuple[ArmFacts, ArmFacts, str]
"""Two arms, and in what they differ; differences are of the first minus the second."""

ADAPTATIONS = ("scratch", "frozen", "staged", "full")
"""How an encoder is adapted, from the least that is done with its pretrained weights to the most."""

_OF_ADAPTATIONS = {
    ("frozen", "scratch"): "pretraining, encoder frozen",
    ("staged", "scratch"): "pretraining",
    ("full", "scratch"): "pretraining, never frozen",
    ("staged", "frozen"): "training the encoder, after a third",
    ("full", "frozen"): "training the encoder, from the start",
    ("full", "staged"): "training the encoder from the start, not after a third",
}

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
        A frame with `contrast`, `what`, `tiles`, `difference` (of IoU), `difference_low`, `difference_high` (interval
        of `stats.crossed`), `effect` (Cohen's d over tiles), `better` (probability that a model of the first beats one
        of the second on the same tile, each tile by its own IoU), `p` (of the interval's analysis), `p_holm` (`p`
        adjusted for all rows that have one), `p_flip` (sign-flip test over tiles), `p_places` (the tiles of a place
        flipped together), `smallest_p` (the least that `p_flip` could ever be with so few tiles), `models`,
        `scored_tiles` and `places` (pairs of each). Empty where no pair was run.
    """
    split = final_split(logs)
    scores = read_tile_scores(logs, split)
    rows: list[dict[str, Any]] = []
    found: list[Contrast] = []
    for group in _arms_by_tiles(logs):
        if scores is None:
            break
        for first, second, what in planned_pairs(group):
            one, other = scores.of(first["arm"]), scores.of(second["arm"])
            result = contrast(
                scores.parts_of(first["arm"]), scores.parts_of(second["arm"]), scores.factors, scores.groups
            )
            if result is None:
                continue
            better = probability_of_improvement(one, other)
            name = f"{first['architecture']} \N{MINUS SIGN} {second['architecture']}"
            rows.append({"contrast": name, "what": what, "tiles": group[0]["tiles"], "better": better})
            found.append(result)
    return contrast_frame(rows, found)


def planned_pairs(arms: Sequence[ArmFacts]) -> list[Pair]:
    """Returns the pairs of arms that are compared: those that differ in one thing, as their names say it.

    Adaptations of one network are all compared with each other, and decoders over one encoder with the first of them.
    So are encoders under one decoder; where the first is the network's own, which nobody pretrains, with one that is
    not pretrained either, if there is one.

    Args:
        arms: Of one number of tiles, in the study's order; those of older logs, which do not say it, are in no pair.
    """
    known = [arm for arm in arms if arm.get("decoder")]
    pairs = [*_adaptation_pairs(known), *_decoder_pairs(known), *_encoder_pairs(known)]
    return sorted(pairs, key=lambda pair: (known.index(pair[0]), known.index(pair[1])))


def _adaptation_pairs(arms: Sequence[ArmFacts]) -> list[Pair]:
    found = []
    for one, other in itertools.combinations(arms, 2):
        if one["encoder"] and _alike(one, other, "decoder", "encoder") and not _alike(one, other, "adaptation"):
            more, less = sorted((one, other), key=lambda arm: -ADAPTATIONS.index(arm["adaptation"]))
            found.append((more, less, _OF_ADAPTATIONS[more["adaptation"], less["adaptation"]]))
    return found


def _decoder_pairs(arms: Sequence[ArmFacts]) -> list[Pair]:
    found = []
    for arm in arms:
        first = next(its for its in arms if _alike(its, arm, "encoder", "adaptation"))
        if arm["encoder"] and not _alike(first, arm, "decoder"):
            found.append((arm, first, "decoder"))
    return found


def _encoder_pairs(arms: Sequence[ArmFacts]) -> list[Pair]:
    found = []
    for first in {arm["decoder"]: arm for arm in reversed(arms)}.values():
        under = [arm for arm in arms if _alike(arm, first, "decoder")]
        for encoder in dict.fromkeys(arm["encoder"] for arm in under if not _alike(arm, first, "encoder")):
            its = [arm for arm in under if arm["encoder"] == encoder]
            if alike := [arm for arm in its if _alike(arm, first, "adaptation")]:
                found.append((alike[0], first, "encoder"))
            elif not first["encoder"]:
                found.append((its[0], first, "encoder and its pretraining"))
    return found


def _alike(one: ArmFacts, other: ArmFacts, *keys: str) -> bool:
    return all(one[key] == other[key] for key in keys)  # type: ignore[literal-required]


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
    return contrast_frame(rows, found)


def contrast_frame(rows: list[dict[str, Any]], found: list[Contrast]) -> pd.DataFrame:
    """Returns a frame as of `architecture_contrasts`, adjusted for all of its rows.

    Args:
        rows: `contrast`, `what`, `tiles` and `better` of each row.
        found: The result of each.
    """
    adjusted = iter(holm([result.p for result in found if result.p is not None]))
    for row, result in zip(rows, found, strict=True):
        p, p_holm = (math.nan, math.nan) if result.p is None else (result.p, next(adjusted))
        low, high = result.interval or (math.nan, math.nan)
        row |= {"difference": result.difference, "difference_low": low, "difference_high": high}
        row |= {"effect": math.nan if result.effect is None else result.effect, "p": p, "p_holm": p_holm}
        row |= {"p_flip": result.p_flip, "p_places": result.p_flip_by_group, "smallest_p": result.smallest_p}
        row |= {"models": result.num_models}
        row |= {"scored_tiles": result.num_tiles, "places": result.num_groups}
    columns = ["contrast", "what", "tiles", "difference", "difference_low", "difference_high", "effect", "better"]
    return pd.DataFrame(rows, columns=[*columns, "p", "p_holm", "p_flip", "p_places", "smallest_p", *_COUNTS])


def _arms_by_tiles(logs: Logs) -> list[list[ArmFacts]]:
    arms = competing(logs.study["arms"])
    return [[arm for arm in arms if arm["tiles"] == tiles] for tiles in sorted({arm["tiles"] for arm in arms})]
