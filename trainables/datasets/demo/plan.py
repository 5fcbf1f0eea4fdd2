"""A demo scene's plan: its axes along the streets, what is drawn along them, and how land is cut into parts."""

import math

import numpy as np

from trainables.datasets.demo import solids
from trainables.datasets.demo.kinds import Kind
from trainables.datasets.demo.materials import linear
from trainables.datasets.demo.render import Canvas

Rectangle = tuple[float, float, float, float]
"""Middle (s, t) and half sides along the streets' two directions, metres."""


class Plan:
    """One scene's streets and lots: turns (s, t) along the streets into the canvas's (x, y), and draws there."""

    def __init__(self, canvas: Canvas, kind: Kind) -> None:
        self.canvas, self.kind, self.rng = canvas, kind, canvas.rng
        self.angle = self.rng.uniform(0, math.pi)
        self.roofs = [str(name) for name in self.rng.choice(kind.roofs, 3)]
        self.leaf = linear([(70, 92, 50), (84, 100, 56), (62, 82, 52), (104, 104, 60)][self.rng.integers(4)])

    def xy(self, s: float, t: float) -> tuple[float, float]:
        """The canvas's (x, y) of a point (s, t), metres."""
        c, n = math.cos(self.angle), math.sin(self.angle)
        return c * s - n * t, n * s + c * t

    def ground(self, rectangle: Rectangle, surface: str, *, soft_m: float = 0.0) -> None:
        """A flat rectangle whose texture runs along either direction; with `soft_m` its outline frays."""
        s, t, half_s, half_t = rectangle
        turn = 0.0
        if self.rng.random() < 0.5:
            half_s, half_t, turn = half_t, half_s, math.pi / 2
        self.canvas.ground(*self.xy(s, t), self.angle + turn, half_s, half_t, self.canvas.look(surface), soft_m=soft_m)

    def line(self, rectangle: Rectangle, level: float) -> None:
        """A painted line: a thin rectangle of grey `level`, 0..255."""
        s, t, half_s, half_t = rectangle
        window, u, v = self.canvas.window(*self.xy(s, t), self.angle, half_s, half_t)
        cover = 0.75 * ((np.abs(u) < half_s) & (np.abs(v) < half_t))
        self.canvas.put(window, cover, linear((level, level, level * 0.97))[:, None, None])

    def frame(self, rectangle: Rectangle, width_m: float, top_m: float, surface: str) -> None:
        """Four low walls (or, with `top_m` 0, painted lines) along a rectangle's outline."""
        s, t, half_s, half_t = rectangle
        look = self.canvas.look(surface)
        along_s = [(0.0, side * half_t, half_s, width_m) for side in (-1, 1)]
        along_t = [(side * half_s, 0.0, width_m, half_t) for side in (-1, 1)]
        for ds, dt, a, b in along_s + along_t:
            if top_m == 0:
                self.line((s + ds, t + dt, a, b), 225)
            else:
                solids.box(self.canvas, *self.xy(s + ds, t + dt), self.angle, a, b, top_m, look)

    def tree(self, s: float, t: float, radius_m: float) -> None:
        """A tree in its own shade of the scene's green."""
        tint = self.rng.normal(1, 0.16) * (1 + self.rng.normal(0, 0.07, 3))
        solids.tree(self.canvas, *self.xy(s, t), radius_m, np.asarray(self.leaf * tint.clip(0.5, 1.5), np.float32))

    def car(self, s: float, t: float, turn: float = 0.0) -> None:
        """A car, parked along s or turned by `turn` radians, never quite straight."""
        solids.car(self.canvas, *self.xy(s, t), self.angle + turn + self.rng.normal(0, 0.03))


def split(
    rng: np.random.Generator, rectangle: Rectangle, shortest_m: float, gap_m: float
) -> tuple[list[Rectangle], list[Rectangle]]:
    """Cuts a rectangle into parts with sides of `shortest_m` or more, and the gaps of `gap_m` between them."""
    s, t, half_s, half_t = rectangle
    along_s = half_s >= half_t
    half = half_s if along_s else half_t
    room = 2 * half - gap_m - 2 * shortest_m
    # Now and then a part that could be cut stays whole, so that sizes vary.
    if room < 0 or (room < 0.8 * shortest_m and rng.random() < 0.3):
        return [rectangle], []
    first = shortest_m + room * rng.uniform(0.25, 0.75)
    second = 2 * half - gap_m - first
    parts = [(-half + first / 2, first / 2), (half - second / 2, second / 2)]
    cut = (-half + first + gap_m / 2, gap_m / 2)
    whole = [(s + d, t, h, half_t) if along_s else (s, t + d, half_s, h) for d, h in (*parts, cut)]
    halves = [split(rng, part, shortest_m, gap_m) for part in whole[:2]]
    return halves[0][0] + halves[1][0], [whole[2], *halves[0][1], *halves[1][1]]
