"""Lots without a building: gardens, and look-alikes that share a roof's shape or colour."""

import math

import numpy as np

from trainables.datasets.demo import solids
from trainables.datasets.demo.plan import Plan, Rectangle, split


def _garden(plan: Plan, lot: Rectangle) -> None:
    plan.ground(lot, str(plan.rng.choice(["grass", "crop", "soil"])), soft_m=0.5)
    s, t, half_s, half_t = lot
    for _ in range(plan.rng.poisson(0.012 * 4 * half_s * half_t)):
        plan.tree(
            s + plan.rng.uniform(-1, 1) * half_s, t + plan.rng.uniform(-1, 1) * half_t, plan.rng.uniform(0.8, 2.8)
        )


def _swept(plan: Plan, lot: Rectangle) -> None:
    """A swept or paved square with a low outline, in the colours of clay roofs."""
    s, t, half_s, half_t = lot
    square = (s, t, 0.8 * half_s, 0.8 * half_t)
    plan.ground(square, str(plan.rng.choice(["soil", "paving", "tile", "concrete"])), soft_m=0.2)
    if plan.rng.random() < 0.7:
        plan.frame(square, 0.12, plan.rng.uniform(0.15, 0.7), "concrete")


def _slab(plan: Plan, lot: Rectangle) -> None:
    """The floor and first courses of a house that has no roof yet."""
    s, t, half_s, half_t = lot
    half_s, half_t = min(0.8 * half_s, plan.kind.largest_m / 2), min(0.8 * half_t, 6.0)
    plan.ground((s, t, half_s, half_t), "concrete")
    top_m = plan.rng.uniform(0.3, 1.6)
    plan.frame((s, t, half_s, half_t), 0.14, top_m, "concrete")
    for part in split(plan.rng, (s, t, half_s, half_t), 3.0, 0.2)[1]:
        solids.box(plan.canvas, *plan.xy(*part[:2]), plan.angle, *part[2:], top_m, plan.canvas.look("concrete"))


def _yard(plan: Plan, lot: Rectangle) -> None:
    """Concrete or gravel with containers, pallets and lorries."""
    s, t, half_s, half_t = lot
    plan.ground(lot, str(plan.rng.choice(["concrete", "gravel", "bitumen"])), soft_m=0.2)
    for _ in range(plan.rng.poisson(0.012 * 4 * half_s * half_t)):
        ds, dt = plan.rng.uniform(-0.7, 0.7, 2) * (half_s, half_t)
        half_u, half_v = ((3.0, 1.2), (1.0, 0.8), (0.6, 0.6))[plan.rng.integers(3)]
        turn = plan.rng.choice([0.0, math.pi / 2]) + plan.rng.normal(0, 0.05)
        look = plan.canvas.look("metal_sheet" if half_u > 2 else "thatch")
        solids.box(
            plan.canvas, *plan.xy(s + ds, t + dt), plan.angle + turn, half_u, half_v, 2.4 if half_u > 2 else 0.8, look
        )


def _court(plan: Plan, lot: Rectangle) -> None:
    """A sports court with its lines."""
    s, t, half_s, half_t = lot
    plan.ground(lot, str(plan.rng.choice(["grass", "court", "asphalt"])))
    a, b = 0.8 * half_s, 0.8 * half_t
    plan.ground((s, t, min(half_s - 0.5, a + 1.2), min(half_t - 0.5, b + 1.2)), "court")
    if plan.rng.random() < 0.7:
        plan.ground((s, t, a, b), "court")
    plan.frame((s, t, a, b), 0.07, 0, "court")
    plan.line((s, t, 0.07, b) if a > b else (s, t, a, 0.07), 225)
    for side in (-0.72, 0.72):
        goal = (s + side * a, t, 0.28 * a, 0.4 * b) if a > b else (s, t + side * b, 0.4 * a, 0.28 * b)
        plan.frame(goal, 0.06, 0, "court")


def _car_park(plan: Plan, lot: Rectangle) -> None:
    s, t, half_s, half_t = lot
    plan.ground(lot, str(plan.rng.choice(["asphalt", "asphalt", "concrete", "paving"])))
    used = plan.rng.uniform(0.25, 0.85)
    rows = np.arange(-half_t + 2.8, half_t - 2.4, 8.0 if plan.rng.random() < 0.5 else 5.6)
    for row in rows:
        for stall in np.arange(-half_s + 1.6, half_s - 1.4, 2.6):
            plan.line((s + stall - 1.3, t + row, 0.06, 2.4), 215)
            if plan.rng.random() < used:
                plan.car(s + stall, t + row + plan.rng.uniform(-0.3, 0.3), math.pi / 2)


def _pool(plan: Plan, lot: Rectangle) -> None:
    _garden(plan, lot)
    s, t, half_s, half_t = lot
    a, b = min(4.5, 0.5 * half_s), min(2.4, 0.4 * half_t)
    plan.ground((s, t, a + 1.3, b + 1.3), str(plan.rng.choice(["paving", "concrete"])))
    window, u, v = plan.canvas.window(*plan.xy(s, t), plan.angle, a, b)
    cover = (np.abs(u) / a) ** 4 + (np.abs(v) / b) ** 4 < 1
    plan.canvas.put(window, cover, plan.canvas.texture(window, u, v, plan.canvas.look("pool")))


VACANT_LOTS = {
    "garden": _garden,
    "swept": _swept,
    "slab": _slab,
    "yard": _yard,
    "court": _court,
    "car_park": _car_park,
    "pool": _pool,
}
"""How to draw a vacant lot, by name."""
