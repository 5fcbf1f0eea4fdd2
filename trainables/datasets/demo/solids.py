"""What stands up from the ground in a demo scene: roofs, trees, cars and boxes, drawn onto a canvas."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from trainables.datasets.demo.materials import Array, Look, linear, tinted
from trainables.datasets.demo.render import Canvas


@dataclass(frozen=True, slots=True)
class Wing:
    """A rectangle of roof in a building's own axes: middle, half sides, and `gable`, `hip`, `shed` or `flat`."""

    u: float
    v: float
    half_u: float
    half_v: float
    form: str
    lift: float = 0.0


def box(
    canvas: Canvas, x: float, y: float, angle: float, half_u: float, half_v: float, top_m: float, look: Look,
    *, on_roof: bool = False, round_m: float = 0.0,
) -> None:  # fmt: skip
    """A solid with a flat top `top_m` above ground (or above the roof below its middle), corners rounded."""
    window, u, v = canvas.window(x, y, angle, half_u, half_v)
    du, dv = np.maximum(np.abs(u) - half_u + round_m, 0), np.maximum(np.abs(v) - half_v + round_m, 0)
    cover = (np.hypot(du, dv) <= round_m) if round_m else (np.abs(u) < half_u) & (np.abs(v) < half_v)
    if not cover.any():
        return
    base = canvas.height[window][cover].mean() if on_roof else 0.0
    canvas.put(window, cover, canvas.texture(window, u, v, look), height=top_m + base, roof=None if on_roof else False)


def building(
    canvas: Canvas, x: float, y: float, angle: float, wings: Sequence[Wing], *, pitch: float, eave_m: float, look: Look
) -> None:
    """A roof of wings that meet in valleys; `pitch` is rise over run, `eave_m` the height of the walls."""
    reach_u = max(abs(wing.u) + wing.half_u for wing in wings)
    reach_v = max(abs(wing.v) + wing.half_v for wing in wings)
    window, u, v = canvas.window(x, y, angle, reach_u, reach_v)
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
        slopes = np.array([_slope(canvas, angle, rise * gu, rise * gv) for _, gu, gv in planes], np.float32)
        falls_along_u = np.array([gu != 0 for _, gu, _ in planes])
        top = np.where(higher, surface, top)
        light = np.where(higher, slopes[lowest], light)
        gain = np.where(higher, detail, gain).astype(np.float32)
        turned = np.where(higher, falls_along_u[lowest], turned)
    # Sheets and courses follow the slope: v of the texture runs down it.
    albedo = canvas.texture(window, np.where(turned, v, u), np.where(turned, u, v), look) * gain
    canvas.put(window, np.isfinite(top), albedo, height=top + eave_m, light=light, roof=True)


def _slope(canvas: Canvas, angle: float, grad_u: float, grad_v: float) -> float:
    """Cosine between the sun and a plane that rises by (grad_u, grad_v) along an object's axes."""
    c, s = math.cos(angle), math.sin(angle)
    sun_u, sun_v = c * canvas.sun[0] + s * canvas.sun[1], c * canvas.sun[1] - s * canvas.sun[0]
    cosine = (canvas.sun[2] - grad_u * sun_u - grad_v * sun_v) / math.sqrt(1 + grad_u**2 + grad_v**2)
    return max(0.0, cosine)


def tree(canvas: Canvas, x: float, y: float, radius_m: float, color: Array) -> None:
    """A crown of leaf clumps that hides what is below it, roofs included, and casts its shadow."""
    window, u, v = canvas.window(x, y, 0.0, 1.3 * radius_m, 1.3 * radius_m)
    if min(u.shape) < 2:
        return
    clumps, leaves = canvas.mottle[window], canvas.grain[window]
    angle, lobes = np.arctan2(v, u), int(canvas.rng.integers(3, 7))
    wobble = 0.07 * np.sin(lobes * angle + canvas.rng.uniform(0, 6.3)) + 0.05 * np.sin((2 * lobes + 1) * angle)
    distance = np.hypot(u, v) / radius_m * (1 + wobble) + 0.09 * clumps + 0.04 * leaves
    dome = np.sqrt(np.maximum(0, 1 - distance**2))
    height = np.asarray(radius_m * (0.9 + 0.9 * dome) + 0.35 * clumps + 0.12 * leaves, np.float32)
    grad_v, grad_u = np.gradient(cv2.GaussianBlur(height, (0, 0), 1.0), canvas.step_m)
    cosine = (canvas.sun[2] - grad_u * canvas.sun[0] - grad_v * canvas.sun[1]) / np.sqrt(1 + grad_u**2 + grad_v**2)
    gain = (0.75 + 0.35 * dome) * (1 + 0.16 * clumps + 0.14 * leaves)
    canvas.put(
        window,
        distance < 1,
        tinted(color, gain.clip(0.3, 1.7)),
        height=np.maximum(height, 0.4),
        light=np.asarray(cosine.clip(0.05, 1), np.float32),
    )


def car(canvas: Canvas, x: float, y: float, angle: float) -> None:
    """A parked car, or now and then a lorry with a roof-like box."""
    rng = canvas.rng
    paint = linear([(215, 215, 212), (60, 62, 66), (150, 152, 155), (130, 40, 36), (52, 72, 110)][rng.integers(5)])
    half_u, half_v = rng.uniform(2.0, 2.4), 0.88
    window, u, v = canvas.window(x, y, angle, half_u, half_v)
    body = (np.abs(u) / half_u) ** 6 + (np.abs(v) / half_v) ** 6 < 1
    cabin = (np.abs(u + 0.25) < 0.62 * half_u) & (np.abs(v) < 0.74)
    glass = cabin & ((np.abs(u + 0.25) > 0.36 * half_u) | (np.abs(v) > 0.62))
    albedo = np.asarray(np.where(glass, linear((48, 54, 62))[:, None, None], paint[:, None, None]), np.float32)
    canvas.put(window, body, albedo, height=np.where(cabin, 1.45, 0.9).astype(np.float32))
