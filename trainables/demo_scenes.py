"""Draws aerial scenes: surfaces and solids on a height field, and one sun that shades, shadows and photographs them.

Roofs and look-alikes share their materials, so that colour says little: a roof differs from a yard by its form, its
shadow and its surroundings. Everything is drawn at twice the resolution. Lengths are metres, colours linear
reflectance, coordinates x right and y down from the middle of the tile; an object's own u and v axes are turned by
`angle` radians.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

METRES_PER_PIXEL = 0.15
OVERSAMPLING = 2
MARGIN_PX = 40
"""Drawn around the tile and cropped, so that what stands just outside casts its shadow inside."""

Array: TypeAlias = NDArray[np.float32]
Window: TypeAlias = tuple[slice, slice]


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


@dataclass(frozen=True, slots=True)
class Wing:
    """A rectangle of roof in a building's own axes: middle, half sides, and `gable`, `hip`, `shed` or `flat`."""

    u: float
    v: float
    half_u: float
    half_v: float
    form: str
    lift: float = 0.0


def linear(srgb: Sequence[float]) -> Array:
    """Linear reflectance (3,) of an sRGB triple, 0..255."""
    return np.asarray((np.asarray(srgb) / 255.0) ** 2.2, np.float32)


def noise(rng: np.random.Generator, side_px: int, cell_px: float) -> Array:
    """Smooth noise (side_px, side_px), mean 0 and deviation 1, with features of about `cell_px` and half of that."""
    field = np.zeros((side_px, side_px), np.float32)
    for cell, weight in ((cell_px, 1.0), (cell_px / 2, 0.5)):
        cells = max(2, math.ceil(side_px / cell) + 1)
        grid = rng.standard_normal((cells, cells), np.float32)
        field += weight * cv2.resize(grid, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _tinted(color: NDArray[Any], gain: Array) -> Array:
    """A colour (3,) times a gain (h, w), as planes (3, h, w)."""
    return np.asarray(color, np.float32)[:, None, None] * gain


class Canvas:
    """A scene while it is drawn: albedo, height, the sun's angle on each slope, and which pixels show roof.

    Attributes:
        rng: The scene's only source of chance.
        side_m: Side of the drawn square, margin included.
        sun: Unit vector (x, y, up) towards the sun.
    """

    def __init__(self, rng: np.random.Generator, size_px: int) -> None:
        self.rng = rng
        self.step_m = METRES_PER_PIXEL / OVERSAMPLING
        side = OVERSAMPLING * (size_px + 2 * MARGIN_PX)
        self.side_m = side * self.step_m
        self.inner = (slice(OVERSAMPLING * MARGIN_PX, -OVERSAMPLING * MARGIN_PX),) * 2
        azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(34, 60))
        flat = math.cos(elevation)
        self.sun = (flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation))
        self.albedo: Array = np.zeros((3, side, side), np.float32)
        self.height: Array = np.zeros((side, side), np.float32)
        self.slope_light: Array = np.full((side, side), self.sun[2], np.float32)
        self.roof = np.zeros((side, side), np.bool_)
        self.grain = noise(rng, side, 0.15 / self.step_m)
        self.mottle = noise(rng, side, 0.8 / self.step_m)
        self.stain = noise(rng, side, 7.0 / self.step_m)

    def look(self, name: str, color: int | None = None) -> Look:
        """How one object of the surface `name` looks, with its own tint and wear."""
        surface, rng = SURFACES[name], self.rng
        index = int(rng.integers(len(surface.colors))) if color is None else color % len(surface.colors)
        tint = rng.normal(1, 0.1) * (1 + rng.normal(0, 0.03, 3))
        return Look(
            surface,
            np.asarray(linear(surface.colors[index]) * tint.clip(0.6, 1.4), np.float32),
            surface.wear * float(rng.uniform(0, 1)) ** 1.5,
            rng.standard_normal(211, np.float32),
        )

    def window(self, x: float, y: float, angle: float, half_u: float, half_v: float) -> tuple[Window, Array, Array]:
        """The pixels around a turned rectangle, and their coordinates (h, w) in its axes."""
        c, s = math.cos(angle), math.sin(angle)
        reach = (abs(s) * half_u + abs(c) * half_v, abs(c) * half_u + abs(s) * half_v)
        spans, axes = [], []
        for middle, half in zip((y, x), reach, strict=True):
            low, high = ((middle + sign * half + self.side_m / 2) / self.step_m for sign in (-1, 1))
            span = slice(max(0, math.floor(low)), max(0, min(self.height.shape[0], math.ceil(high) + 1)))
            spans.append(span)
            axes.append(
                (np.arange(span.start, span.stop, dtype=np.float32) + 0.5) * self.step_m - self.side_m / 2 - middle
            )
        dy, dx = axes[0][:, None], axes[1][None, :]
        return (spans[0], spans[1]), np.asarray(c * dx + s * dy), np.asarray(c * dy - s * dx)

    def texture(self, window: Window, u: Array, v: Array, look: Look) -> Array:
        """Albedo (3, h, w) of a look over a window; u and v (h, w) are the surface's own axes in metres."""
        surface = look.surface
        grain, mottle, stain = self.grain[window], self.mottle[window], self.stain[window]
        gain = 1 + surface.grain * grain + surface.mottle * mottle + surface.stain * stain
        worn = 0.7 * stain + 0.5 * mottle + 0.2 * grain
        if surface.panel_m is not None:
            size_u, size_v = surface.panel_m
            across, down = np.floor(u / size_u), np.floor(v / size_v)
            table = look.panels[((across * 37 + down * 101) % 211).astype(np.int64)]
            gain += surface.panel * table
            worn += 0.8 * table
            if surface.seam:
                width = 0.12
                gain -= surface.seam * ((u - across * size_u < width) | (v - down * size_v < width))
        if surface.stripe_m:
            gain += surface.stripe * np.sin(v * (2 * math.pi / surface.stripe_m) + 0.5 * stain)
        # A ramp over the noise: wear comes in patches with frayed edges, and covers about `look.wear` of the surface.
        ramp = (1.6 if surface.panel > 0.1 else 0.55) * (worn - 2.2 * (0.5 - look.wear))
        share = (0.35 + 0.5 * ramp).clip(0, 0.8)
        gain = gain.clip(0.3, 1.8)
        return _tinted(look.color, gain * (1 - share)) + _tinted(linear(surface.wear_color), gain * share)

    def put(
        self,
        window: Window,
        cover: Array | NDArray[np.bool_],
        albedo: Array,
        *,
        height: Array | float | None = None,
        light: Array | float | None = None,
        roof: bool | None = False,
    ) -> None:
        """Lays albedo (3, h, w) over a window where `cover` (h, w) in 0..1 says so.

        What has a `height` in metres hides what is lower and is hidden by what is higher; what has none lies on the
        ground. `light` is the cosine between slope and sun (flat if None); `roof` None leaves the label as it is.
        """
        pixels, below = self.albedo[:, *window], self.height[window]
        where = (cover > 0) & ((below <= 0) if height is None else (height > below))
        if cover.dtype != np.bool_:
            albedo = pixels + cover * (albedo - pixels)
        np.copyto(pixels, albedo, where=where)
        np.copyto(self.slope_light[window], self.sun[2] if light is None else light, where=where)
        if height is not None:
            np.copyto(below, height, where=where)
            if roof is not None:
                np.copyto(self.roof[window], roof, where=where)

    def ground(
        self, x: float, y: float, angle: float, half_u: float, half_v: float, look: Look, *, soft_m: float = 0.0
    ) -> None:
        """A flat rectangle; with `soft_m` its outline frays over about that width."""
        window, u, v = self.window(x, y, angle, half_u + soft_m, half_v + soft_m)
        inside = np.minimum(half_u - np.abs(u), half_v - np.abs(v))
        cover: Array | NDArray[np.bool_] = inside > 0
        if soft_m:
            cover = np.asarray((0.5 + (inside + 0.35 * soft_m * self.mottle[window]) / soft_m).clip(0, 1), np.float32)
        self.put(window, cover, self.texture(window, u, v, look))

    def box(
        self, x: float, y: float, angle: float, half_u: float, half_v: float, top_m: float, look: Look,
        *, on_roof: bool = False, round_m: float = 0.0,
    ) -> None:  # fmt: skip
        """A solid with a flat top `top_m` above ground (or above the roof below its middle), corners rounded."""
        window, u, v = self.window(x, y, angle, half_u, half_v)
        du, dv = np.maximum(np.abs(u) - half_u + round_m, 0), np.maximum(np.abs(v) - half_v + round_m, 0)
        cover = (np.hypot(du, dv) <= round_m) if round_m else (np.abs(u) < half_u) & (np.abs(v) < half_v)
        if not cover.any():
            return
        base = self.height[window][cover].mean() if on_roof else 0.0
        self.put(window, cover, self.texture(window, u, v, look), height=top_m + base, roof=None if on_roof else False)

    def slope(self, angle: float, grad_u: float, grad_v: float) -> float:
        """Cosine between the sun and a plane that rises by (grad_u, grad_v) along an object's axes."""
        c, s = math.cos(angle), math.sin(angle)
        sun_u, sun_v = c * self.sun[0] + s * self.sun[1], c * self.sun[1] - s * self.sun[0]
        cosine = (self.sun[2] - grad_u * sun_u - grad_v * sun_v) / math.sqrt(1 + grad_u**2 + grad_v**2)
        return max(0.0, cosine)

    def building(
        self, x: float, y: float, angle: float, wings: Sequence[Wing], *, pitch: float, eave_m: float, look: Look
    ) -> None:
        """A roof of wings that meet in valleys; `pitch` is rise over run, `eave_m` the height of the walls."""
        reach_u = max(abs(wing.u) + wing.half_u for wing in wings)
        reach_v = max(abs(wing.v) + wing.half_v for wing in wings)
        window, u, v = self.window(x, y, angle, reach_u, reach_v)
        top: Array = np.full(u.shape, -np.inf, np.float32)
        light: Array = np.zeros(u.shape, np.float32)
        gain: Array = np.ones(u.shape, np.float32)
        turned = np.zeros(u.shape, np.bool_)
        for wing in wings:
            side_u, side_v = u - wing.u, v - wing.v
            edge = np.minimum(wing.half_u - np.abs(side_u), wing.half_v - np.abs(side_v))
            long_u = wing.half_u >= wing.half_v
            planes = [(wing.half_v - side_v, 0.0, -1.0), (wing.half_v + side_v, 0.0, 1.0)]
            ends = [(wing.half_u - side_u, -1.0, 0.0), (wing.half_u + side_u, 1.0, 0.0)]
            if not long_u:
                planes, ends = ends, planes
            if wing.form == "hip":
                planes += ends
            elif wing.form == "shed":
                planes = planes[1:]
            rise = pitch
            if wing.form == "flat":
                planes, rise = [(np.zeros_like(u), 0.0, 0.0)], 0.0
            stack = np.stack([plane[0] for plane in planes])
            lowest = stack.argmin(axis=0)
            surface = np.asarray(rise * stack.min(axis=0) + wing.lift, np.float32)
            detail = np.where(edge < 0.16, 0.8, 1.0)
            if len(planes) > 1:
                two = np.partition(stack, 1, axis=0)
                detail = np.where(two[1] - two[0] < 0.3, 1.18, detail)
            if wing.form == "flat":
                rim = edge < 0.35
                surface = surface + np.where(rim, np.float32(0.5), np.float32(0))
                detail = np.where(rim, 1.2, np.where(edge < 0.6, 0.85, 1.0))
            higher = (edge > 0) & (surface > top)
            slopes = np.array([self.slope(angle, rise * gu, rise * gv) for _, gu, gv in planes], np.float32)
            falls_along_u = np.array([gu != 0 for _, gu, _ in planes])
            top = np.where(higher, surface, top)
            light = np.where(higher, slopes[lowest], light)
            gain = np.where(higher, detail, gain).astype(np.float32)
            turned = np.where(higher, falls_along_u[lowest], turned)
        # Sheets and courses follow the slope: v of the texture runs down it.
        albedo = self.texture(window, np.where(turned, v, u), np.where(turned, u, v), look) * gain
        self.put(window, np.isfinite(top), albedo, height=top + eave_m, light=light, roof=True)

    def tree(self, x: float, y: float, radius_m: float, color: Array) -> None:
        """A crown of leaf clumps that hides what is below it, roofs included, and casts its shadow."""
        window, u, v = self.window(x, y, 0.0, 1.3 * radius_m, 1.3 * radius_m)
        if min(u.shape) < 2:
            return
        clumps, leaves = self.mottle[window], self.grain[window]
        angle, lobes = np.arctan2(v, u), int(self.rng.integers(3, 7))
        wobble = 0.07 * np.sin(lobes * angle + self.rng.uniform(0, 6.3)) + 0.05 * np.sin((2 * lobes + 1) * angle)
        distance = np.hypot(u, v) / radius_m * (1 + wobble) + 0.09 * clumps + 0.04 * leaves
        dome = np.sqrt(np.maximum(0, 1 - distance**2))
        height = np.asarray(radius_m * (0.9 + 0.9 * dome) + 0.35 * clumps + 0.12 * leaves, np.float32)
        grad_v, grad_u = np.gradient(cv2.GaussianBlur(height, (0, 0), 1.0), self.step_m)
        cosine = (self.sun[2] - grad_u * self.sun[0] - grad_v * self.sun[1]) / np.sqrt(1 + grad_u**2 + grad_v**2)
        gain = (0.75 + 0.35 * dome) * (1 + 0.16 * clumps + 0.14 * leaves)
        self.put(
            window,
            distance < 1,
            _tinted(color, gain.clip(0.3, 1.7)),
            height=np.maximum(height, 0.4),
            light=np.asarray(cosine.clip(0.05, 1), np.float32),
        )

    def car(self, x: float, y: float, angle: float) -> None:
        """A parked car, or now and then a lorry with a roof-like box."""
        rng = self.rng
        paint = linear([(215, 215, 212), (60, 62, 66), (150, 152, 155), (130, 40, 36), (52, 72, 110)][rng.integers(5)])
        half_u, half_v = rng.uniform(2.0, 2.4), 0.88
        window, u, v = self.window(x, y, angle, half_u, half_v)
        body = (np.abs(u) / half_u) ** 6 + (np.abs(v) / half_v) ** 6 < 1
        cabin = (np.abs(u + 0.25) < 0.62 * half_u) & (np.abs(v) < 0.74)
        glass = cabin & ((np.abs(u + 0.25) > 0.36 * half_u) | (np.abs(v) > 0.62))
        albedo = np.asarray(np.where(glass, linear((48, 54, 62))[:, None, None], paint[:, None, None]), np.float32)
        self.put(window, body, albedo, height=np.where(cabin, 1.45, 0.9).astype(np.float32))

    def roof_fraction(self) -> float:
        """Share of the tile that shows roof so far, 0..1."""
        return float(self.roof[self.inner].mean())

    def mask(self) -> NDArray[np.uint8]:
        """The tile's mask (H, W) uint8, 1 where at least half of a pixel shows roof, else 0."""
        size = self.height[self.inner].shape[0] // OVERSAMPLING
        coverage = self.roof[self.inner].reshape(size, OVERSAMPLING, size, OVERSAMPLING).mean(axis=(1, 3))
        return np.asarray(coverage >= 0.5, np.uint8)

    def photograph(self) -> NDArray[np.uint8]:
        """The tile's image (H, W, 3) uint8 RGB: lit, shadowed, blurred and noisy."""
        rng = self.rng
        lit = 1 - 0.9 * _cast_shadow(self.height, self.sun, self.step_m)
        around = cv2.blur(self.height, (31, 31))
        open_sky = 1 / (1 + 0.22 * np.maximum(0, around - self.height))
        sky = rng.uniform(0.2, 0.36)
        sky_color = np.array([0.82, 0.96, 1.22]) * sky
        sun_color = np.array([1.04, 1.0, 0.94]) * (1 - sky) / self.sun[2]
        cast = rng.uniform(0.95, 1.4) * (1 + rng.normal(0, 0.045, 3))
        light = _tinted(sun_color * cast, lit * self.slope_light) + _tinted(sky_color * cast, open_sky)
        radiance = (self.albedo * light)[:, *self.inner].transpose(1, 2, 0)
        size = radiance.shape[0] // OVERSAMPLING
        pixels = cv2.resize(np.ascontiguousarray(radiance), (size, size), interpolation=cv2.INTER_AREA)
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.45, 0.75))
        saturation, haze = rng.uniform(0.55, 0.95), rng.uniform(0.0, 0.035)
        pixels = saturation * pixels + (1 - saturation) * pixels.mean(axis=2, keepdims=True)
        tones = ((pixels * (1 - haze) + haze).clip(0, 1.2) / 1.02) ** (1 / rng.uniform(2.0, 2.4))
        grain = rng.standard_normal(tones.shape, np.float32) * (0.5 + 0.5 * tones) * rng.uniform(0.008, 0.024)
        return np.asarray(((tones + grain).clip(0, 1) * 255).round(), np.uint8)


def _cast_shadow(height: Array, sun: tuple[float, float, float], step_m: float) -> Array:
    """How far each pixel lies in shadow, 0..1: whether the ground towards the sun rises above the ray to it.

    The highest obstacle within 2^(k+1) steps is the higher of those within 2^k steps, here and 2^k steps on.
    """
    level = math.hypot(sun[0], sun[1])
    drop_m = step_m * sun[2] / level
    obstacle, reach = height, 1
    while reach * drop_m < float(height.max()) + drop_m:
        shift = np.array([[1, 0, -reach * sun[0] / level], [0, 1, -reach * sun[1] / level]])
        moved = cv2.warpAffine(obstacle, shift, height.shape[::-1], flags=cv2.INTER_LINEAR)
        obstacle = np.maximum(obstacle, moved - reach * drop_m)
        reach *= 2
    return np.asarray(((obstacle - height - 0.12) / 0.35).clip(0, 1), np.float32)
