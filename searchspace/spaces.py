"""The search spaces: a range per hyperparameter, around the track's or the architecture's own learning rate.

Every function takes what a study changes of the recipes; what it fixes for all trials leaves the ranges, too.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import yaml

from searchspace.ranges import Bounds, Choices, Range, Space
from trainables.config import TrialConfig
from trainables.models.architecture import Track
from trainables.models.composed.names import get_architecture
from trainables.names import LOSS_WEIGHTS, LOSSES, PRESETS

Point = dict[str, Any]

Hyperparameter = Literal[
    "augmentation",
    "lr",
    "loss",
    "bce_weight",
    "focal_weight",
    "cldice_weight",
    "decoder_dropout",
    "encoder_lr_factor",
]
"""What `--vary` takes."""

NOTHING: Mapping[str, Any] = {}

LR_CENTER: dict[Track, float] = {"cnn": 1e-3, "frozen_encoder": 1e-4, "transformer": 1e-4}
"""Learning rate of a track's recipe, unless an architecture's row has its own. Source: the reference recipe; ours for
transformers."""

LR_DECADES = 1.0
"""The range reaches this many powers of ten to either side of the recipe's learning rate."""

SEARCHED_PRESETS = ("LIGHT", "MEDIUM", "HEAVY", "EXTREME")

COMMON: Space = {
    "augmentation": Choices(SEARCHED_PRESETS),
    "decoder_dropout": Bounds(0.0, 0.5),
    "bce_weight": Bounds(0.1, 0.9),
    "focal_weight": Bounds(0.1, 0.9),
    "cldice_weight": Bounds(0.1, 0.5),
    "encoder_lr_factor": Bounds(0.03, 1.0, log=True),
}
"""The ranges that all tracks share; of the loss's weights, an architecture has those of its loss, and the encoder's
factor only where its name says that a pretrained encoder is trained."""

OVERRIDES: dict[str, Space] = {}
"""Ranges in which an architecture differs from its track: the one place to change a single space."""

RECIPE_POINT: Point = {"augmentation": "MEDIUM", "decoder_dropout": 0.3, "loss": "bce_dice"}
"""The reference study's recipe; its lr is the middle of each range, and a loss has the weights of `RECIPE_WEIGHTS`."""

RECIPE_WEIGHTS: Point = {"bce_weight": 0.5, "focal_weight": 0.5, "cldice_weight": 0.3}
"""Source: the reference study's halves; ours for Focal; Shit et al. 2021 find 0.1 to 0.5 for clDice."""

LEVELS: dict[str, tuple[Any, ...]] = {
    "augmentation": PRESETS,
    "decoder_dropout": (0.0, 0.15, 0.3, 0.5),
    "bce_weight": (0.1, 0.3, 0.5, 0.7, 0.9),
    "loss": LOSSES,
    "focal_weight": (0.1, 0.3, 0.5, 0.7, 0.9),
    "cldice_weight": (0.0, 0.1, 0.3, 0.5),
    "encoder_lr_factor": (0.03, 0.1, 0.3, 1.0),
}
"""What `--vary` tries of each hyperparameter; of lr, see `levels`."""

LR_LEVELS = (0.1, 1 / 3, 1.0, 3.0, 10.0)
"""Factors on the recipe's learning rate."""


def space_for(architecture: str, fixed: Mapping[str, Any] = NOTHING, changed: Mapping[str, Any] = NOTHING) -> Space:
    """The ranges of an architecture's hyperparameters, in a fixed order; the preset of its recipe is among them.

    Args:
        architecture: Its name.
        fixed: Hyperparameters that have one value for all trials, and no range.
        changed: Hyperparameters that the recipe has other values of, see `recipe_point`.
    """
    row, recipe = get_architecture(architecture), recipe_point(architecture, {**changed, **fixed})
    center = recipe["lr"]
    ranges: Space = {"lr": Bounds(center * 10.0**-LR_DECADES, center * 10.0**LR_DECADES, log=True), **COMMON}
    if recipe["augmentation"] == "NONE":
        ranges["augmentation"] = Choices(("NONE", *SEARCHED_PRESETS))
    ranges |= {name: Choices(setting.choices) for name, setting in row.settings.items()}
    ranges |= OVERRIDES.get(architecture, {})
    if not row.has_dropout:
        del ranges["decoder_dropout"]
    return {name: ranges[name] for name in ranges if name in recipe and name not in fixed}


def recipe_point(architecture: str, changed: Mapping[str, Any] = NOTHING) -> Point:
    """What an architecture is trained with where nothing is searched: the reference study's settings, or its own.

    It has all that decides a trial: its lr, augmentation, dropout and loss, the weights of that loss, and its settings.

    Args:
        architecture: Its name.
        changed: Values in place of the recipe's own; those that the architecture has no use for are left out.
    """
    row = get_architecture(architecture)
    point = {"lr": LR_CENTER[row.track], **RECIPE_POINT, **RECIPE_WEIGHTS}
    point |= {name: setting.default for name, setting in row.settings.items()} | dict(row.recipe)
    point |= {name: value for name, value in changed.items() if name in point}
    idle = {weight for weight in RECIPE_WEIGHTS if weight not in LOSS_WEIGHTS.get(point["loss"], ())}
    return {name: value for name, value in point.items() if name not in idle}


def value_of(name: str, text: str) -> Any:
    """A hyperparameter's value as YAML reads it, and a number as what the hyperparameter takes."""
    is_float = name in TrialConfig.model_fields and TrialConfig.model_fields[name].annotation is float
    try:
        value = float(text) if is_float else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text  # refused with its flag
    return value if isinstance(value, str | int | float) else text


def levels(architecture: str, name: str) -> tuple[Any, ...]:
    """The values that `--vary` tries of an architecture's hyperparameter, in their order."""
    if name == "lr":
        return tuple(recipe_point(architecture)["lr"] * factor for factor in LR_LEVELS)
    return LEVELS[name]


def num_levels(name: str) -> int:
    """How many values `--vary` tries of a hyperparameter: of every architecture as many."""
    return len(LR_LEVELS if name == "lr" else LEVELS[name])


def trial_config(architecture: str, point: Mapping[str, Any], **others: Any) -> TrialConfig:
    """The configuration at a point, which names hyperparameters and the architecture's own settings alike.

    Args:
        architecture: Its name.
        point: As of `recipe_point`.
        others: The other fields of `TrialConfig`.
    """
    own = get_architecture(architecture).settings
    settings = {name: value for name, value in point.items() if name in own}
    return TrialConfig(
        architecture=architecture, settings=settings, **others, **{n: v for n, v in point.items() if n not in own}
    )


def starting_points(space: Mapping[str, Range], recipe: Point, num_points: int, seed: int) -> list[Point]:
    """The first points of a search: the recipe, then a scrambled Sobol sequence.

    The sequence lies in the unit cube and depends on `seed` alone, so that all arms start from the same points relative
    to their ranges. Where a range excludes the recipe's value, its middle stands in.

    Args:
        space: The ranges.
        recipe: The architecture's, see `recipe_point`.
        num_points: How many points, at least 1.
        seed: Of the scrambling.

    Source: Sobol' 1967 with Owen's scrambling, as in `scipy.stats.qmc`.
    """
    from scipy.stats import qmc  # here: it takes a second or two, and only a search that begins needs it

    num_sequence = num_points - 1
    power = max(0, math.ceil(math.log2(max(1, num_sequence))))  # Sobol sequences are balanced at powers of two
    cube = qmc.Sobol(len(space), rng=seed).random_base2(power)[:num_sequence]
    first = {name: recipe[name] if values.has(recipe.get(name)) else values.at(0.5) for name, values in space.items()}
    return [
        first,
        *({n: values.at(float(u)) for (n, values), u in zip(space.items(), row, strict=True)} for row in cube),
    ]


def random_point(space: Mapping[str, Range], seed: int) -> Point:
    """A point drawn evenly from the ranges (evenly in the logarithm where they are logarithmic)."""
    rng = np.random.default_rng(seed)
    return {name: values.at(float(rng.random())) for name, values in space.items()}
