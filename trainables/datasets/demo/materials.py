"""Materials of the demo scenes: what colours they come in, and how they wear, grain and repeat.

Roofs and look-alikes share them, so that colour says little: a roof differs from a yard by its form, its shadow and its
surroundings. Colours are linear reflectance, lengths metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Surface:
    """A material: colours to choose from, and how it varies over its own axes.

    Attributes:
        colors: sRGB triples, 0..255.
        wear_color: sRGB triple that wear mixes in (rust, moss, dust, dry grass).
        wear: Most of the surface that wear may take, 0..1.
        grain, mottle, stain: Relative deviations of noise at about 0.15, 0.6 and 6 m.
        panel_m: Size (u, v) of sheets, slabs or rows, or None.
        panel: Relative deviation from panel to panel.
        seam: Relative darkness of the joints between panels.
        stripe_m: Period of stripes over v, 0 for none.
        stripe: Relative amplitude of the stripes.
    """

    colors: tuple[tuple[int, int, int], ...]
    wear_color: tuple[int, int, int] = (120, 110, 95)
    wear: float = 0.3
    grain: float = 0.06
    mottle: float = 0.05
    stain: float = 0.08
    panel_m: tuple[float, float] | None = None
    panel: float = 0.0
    seam: float = 0.0
    stripe_m: float = 0.0
    stripe: float = 0.0


_CLAY = ((170, 98, 72), (150, 82, 66), (186, 124, 96), (136, 86, 70))
_GREYS = ((98, 98, 99), (124, 121, 117), (84, 86, 90), (140, 134, 126))
_PALE = ((172, 166, 156), (192, 187, 177), (150, 145, 136), (182, 168, 146))

SURFACES = {
    "metal": Surface(
        ((168, 172, 176), (140, 144, 148), (186, 184, 178), (128, 112, 100)), wear_color=(128, 82, 56), wear=0.75,
        grain=0.05, stain=0.06, panel_m=(0.9, 2.6), panel=0.11, seam=0.1, stripe_m=0.55, stripe=0.05,
    ),
    "painted": Surface(
        ((84, 112, 150), (96, 122, 100), (140, 66, 56), (196, 196, 190), (104, 92, 86)), wear_color=(150, 140, 130),
        wear=0.35, grain=0.04, mottle=0.04, stain=0.06, panel_m=(0.6, 90.0), panel=0.04, seam=0.12,
    ),
    "tile": Surface(
        _CLAY, wear_color=(92, 84, 66), wear=0.4, grain=0.09, mottle=0.08, stain=0.07, panel_m=(0.35, 0.42),
        panel=0.09, stripe_m=0.42, stripe=0.07,
    ),
    "slate": Surface(
        _GREYS, wear_color=(104, 108, 88), grain=0.08, stain=0.06, panel_m=(0.6, 0.4), panel=0.08, stripe_m=0.4,
        stripe=0.05,
    ),
    "bitumen": Surface(
        _GREYS, wear_color=(150, 146, 138), wear=0.4, stain=0.12, panel_m=(1.1, 90.0), panel=0.05, seam=0.14,
    ),
    "gravel": Surface(
        (*_PALE, (132, 124, 112)), wear_color=(96, 94, 88), wear=0.4, grain=0.13, mottle=0.06, stain=0.1,
    ),
    "concrete": Surface(
        _PALE, wear_color=(118, 112, 104), wear=0.4, grain=0.05, stain=0.1, panel_m=(4.0, 4.0), panel=0.05,
        seam=0.12,
    ),
    "thatch": Surface(
        ((140, 122, 92), (116, 100, 78)), wear_color=(90, 82, 66), wear=0.4, grain=0.12, mottle=0.08, stain=0.05,
        panel_m=(0.2, 90.0), panel=0.1,
    ),
    "asphalt": Surface(
        _GREYS, wear_color=(148, 142, 132), wear=0.15, grain=0.05, mottle=0.04, stain=0.06,
    ),
    "soil": Surface(
        ((158, 112, 82), (174, 144, 110), (144, 118, 94), (150, 98, 72)), wear_color=(122, 114, 76), mottle=0.07,
        stain=0.1,
    ),
    "grass": Surface(
        ((84, 102, 60), (98, 108, 66), (74, 94, 58)), wear_color=(150, 136, 96), wear=0.4, grain=0.09, mottle=0.11,
        stain=0.1,
    ),
    "meadow": Surface(
        ((104, 116, 68), (128, 126, 78), (88, 106, 62)), wear_color=(156, 142, 100), wear=0.35, grain=0.08,
        mottle=0.09, stain=0.07, panel_m=(90.0, 5.5), panel=0.06, stripe_m=5.5, stripe=0.03,
    ),
    "paving": Surface(
        (*_CLAY, *_PALE), wear_color=(110, 100, 88), stain=0.07, panel_m=(0.6, 0.6), panel=0.06, seam=0.06,
    ),
    "court": Surface(
        ((92, 130, 104), (88, 112, 146), (160, 94, 74), (128, 126, 122)), wear_color=(150, 140, 126), wear=0.15,
        grain=0.02, mottle=0.02, stain=0.04,
    ),
    "pool": Surface(
        ((96, 168, 186), (70, 146, 172), (110, 160, 150)), wear_color=(70, 120, 120), wear=0.2, grain=0.04,
        stain=0.05,
    ),
    "ploughed": Surface(
        ((134, 100, 76), (116, 92, 74), (152, 122, 94)), wear_color=(168, 140, 108), mottle=0.06,
        panel_m=(90.0, 2.4), panel=0.06, stripe_m=1.1, stripe=0.16,
    ),
    "crop": Surface(
        ((88, 112, 58), (110, 124, 66), (128, 130, 76)), wear_color=(150, 124, 92), wear=0.4, grain=0.08, mottle=0.1,
        panel_m=(90.0, 3.2), panel=0.04, stripe_m=1.5, stripe=0.2,
    ),
    "stubble": Surface(
        ((188, 164, 116), (170, 150, 108)), wear_color=(140, 116, 86), wear=0.4, grain=0.07, stain=0.07,
        panel_m=(90.0, 4.5), panel=0.05, seam=0.06, stripe_m=0.8, stripe=0.06,
    ),
    "metal_sheet": Surface(
        ((84, 96, 120), (150, 72, 58), (170, 172, 172), (92, 110, 92)), wear_color=(120, 88, 66), grain=0.03,
        mottle=0.03, stain=0.03, stripe_m=0.5, stripe=0.07,
    ),
}  # fmt: skip
"""Materials by name; the roofs' colours recur on the ground on purpose."""


@dataclass(frozen=True, slots=True)
class Look:
    """A surface as it is on one object: its colour (3,) in linear reflectance, how worn (0..1), its panels' table."""

    surface: Surface
    color: Array
    wear: float
    panels: Array


def linear(srgb: Sequence[float]) -> Array:
    """Linear reflectance (3,) of an sRGB triple, 0..255."""
    return np.asarray((np.asarray(srgb) / 255.0) ** 2.2, np.float32)


def tinted(color: NDArray[Any], gain: Array) -> Array:
    """A colour (3,) times a gain (h, w), as planes (3, h, w)."""
    return np.asarray(color, np.float32)[:, None, None] * gain
