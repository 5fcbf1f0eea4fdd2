"""The picture of a demo scene: surfaces on a height field, and one sun that lights, shadows and photographs them.

Everything is drawn at twice the resolution. Lengths are metres, colours linear reflectance, coordinates x right and y
down from the middle of the tile; an object's own u and v axes are turned by `angle` radians.
"""

import math
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.datasets.demo.materials import SURFACES, Array, Look, linear, tinted

METRES_PER_PIXEL = 0.15
OVERSAMPLING = 2
MARGIN_PX = 40
"""Drawn around the tile and cropped, so that what stands just outside casts its shadow inside."""

Window: TypeAlias = tuple[slice, slice]


def _noise(rng: np.random.Generator, side_px: int, cell_px: float) -> Array:
    """Smooth noise (side_px, side_px), mean 0 and deviation 1, with features of about `cell_px` and half of that."""
    field = np.zeros((side_px, side_px), np.float32)
    for cell, weight in ((cell_px, 1.0), (cell_px / 2, 0.5)):
        cells = max(2, math.ceil(side_px / cell) + 1)
        grid = rng.standard_normal((cells, cells), np.float32)
        field += weight * cv2.resize(grid, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


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
        self.grain = _noise(rng, side, 0.15 / self.step_m)
        self.mottle = _noise(rng, side, 0.8 / self.step_m)
        self.stain = _noise(rng, side, 7.0 / self.step_m)

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
        return tinted(look.color, gain * (1 - share)) + tinted(linear(surface.wear_color), gain * share)

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
        light = tinted(sun_color * cast, lit * self.slope_light) + tinted(sky_color * cast, open_sky)
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
