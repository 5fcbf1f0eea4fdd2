"""The names that settings take, as plain data: presets, losses with their weights, and number types.

What a name stands for is computed elsewhere: by `data/augmentation/presets.py`, `losses.py` and `device.py`, which
import heavy libraries. Code that only reads or checks a setting needs its name alone. A test proves that both sides
agree.
"""

from typing import Literal, get_args

PRESETS = ("NONE", "LIGHT", "MEDIUM", "HEAVY", "EXTREME")
"""Augmentation presets from mild to strong; each has the transforms of all before it, too."""

PHOTOGRAPH_TRANSFORMS: dict[str, tuple[str, ...]] = {
    "MEDIUM": ("HueSaturationValue",),
    "HEAVY": ("Shadow", "CLAHE", "ImageCompression"),
    "EXTREME": ("Fog",),
}
"""The transforms that a preset adds and that mean something for 8-bit RGB only."""

LossName = Literal["bce_dice", "cross_entropy", "dice", "focal_dice", "bce_dice_cldice"]

LOSSES: tuple[LossName, ...] = get_args(LossName)

LOSS_WEIGHTS: dict[LossName, tuple[str, ...]] = {
    "bce_dice": ("bce_weight",),
    "cross_entropy": (),
    "dice": (),
    "focal_dice": ("focal_weight",),
    "bce_dice_cldice": ("bce_weight", "cldice_weight"),
}
"""The weights that each loss has; the others say nothing to it."""

Optimizer = Literal["adamw", "adam"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]

ScheduleName = Literal["plateau", "cosine"]

AugmentOn = Literal["cpu", "device"]


def left_out(preset: str) -> list[str]:
    """Names of the preset's transforms that tiles other than 8-bit RGB do without."""
    milder = PRESETS[: PRESETS.index(preset) + 1]
    return [name for other in milder for name in PHOTOGRAPH_TRANSFORMS.get(other, ())]


NUM_SYMMETRIES = 8
"""Of a square: turns by 0, 90, 180 and 270 degrees, each with and without a mirror."""
