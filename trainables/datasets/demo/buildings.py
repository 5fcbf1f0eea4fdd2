"""Lots with a building: its wings and roof, what stands on it, and the yard, drive and tree around it."""

import math

import numpy as np

from trainables.datasets.demo import solids
from trainables.datasets.demo.plan import Plan, Rectangle
from trainables.datasets.demo.solids import Wing


def built_lot(plan: Plan, lot: Rectangle, block: Rectangle) -> None:
    """A building and what belongs to it: a yard, a drive, things on its roof, a tree that may overhang it."""
    rng, kind, canvas = plan.rng, plan.kind, plan.canvas
    s, t, half_s, half_t = lot
    if kind.name in ("suburb", "rural"):
        if rng.random() < 0.7:
            plan.ground(lot, str(rng.choice(["grass", "grass", "soil", "gravel"])), soft_m=0.3)
        if rng.random() < 0.6:
            plan.frame(lot, 0.1, rng.uniform(0.6, 1.6), str(rng.choice(["thatch", "concrete", "grass"])))
    half_u, half_v = (min(half * rng.uniform(*kind.fill), kind.largest_m / 2) for half in (half_s, half_t))
    s += rng.uniform(-0.8, 0.8) * max(0.0, half_s - half_u)
    t += rng.uniform(-0.8, 0.8) * max(0.0, half_t - half_v)
    if kind.name == "suburb":
        _drive(plan, s + rng.uniform(-0.6, 0.6) * half_u, t, lot, block)
    form = str(rng.choice(kind.forms))
    if min(half_u, half_v) > 8 and form == "hip":
        form = "flat" if kind.name == "town" else "gable"  # nobody builds a pyramid over a hall
    wings = [Wing(0, 0, half_u, half_v, form)]
    if min(half_u, half_v) > 3.4 and rng.random() < 0.55:
        wings = _with_arms(rng, half_u, half_v, form)
    surface = plan.roofs[rng.integers(3)] if rng.random() < 0.85 else str(rng.choice(kind.roofs))
    if form == "flat" and surface in ("tile", "slate", "thatch"):
        surface = "concrete"
    if form != "flat" and surface in ("gravel", "concrete", "bitumen"):
        surface = "slate"
    angle = plan.angle + rng.normal(0, kind.wobble)
    x, y = plan.xy(s, t)
    low = kind.name == "informal"
    shallow = low or form == "shed" or min(half_u, half_v) > 7
    pitch = rng.uniform(0.12, 0.4) if shallow else rng.uniform(0.35, 0.8)
    eave_m = rng.uniform(2.0, 3.0) if low else rng.uniform(2.8, 5.5) if form != "flat" else rng.uniform(3.5, 10)
    solids.building(canvas, x, y, angle, wings, pitch=pitch, eave_m=eave_m, look=canvas.look(surface))
    _furnish(plan, x, y, angle, half_u, half_v, form)
    if rng.random() < 0.12 * kind.trees:
        side = rng.choice([-1.0, 1.0])
        plan.tree(s + side * (half_u + rng.uniform(0, 1.5)), t + rng.uniform(-1, 1) * half_v, rng.uniform(1.4, 3.2))


def _drive(plan: Plan, s: float, t: float, lot: Rectangle, block: Rectangle) -> None:
    """A paved way from a house at (s, t) to the street, where its lot touches one, and perhaps a car on it."""
    towards = 1 if block[1] < lot[1] else -1
    kerb = block[1] + towards * block[3]
    if abs(lot[1] + towards * lot[3] - kerb) < 2:
        length = abs(kerb - t)
        plan.ground((s, (t + kerb) / 2, 1.6, length / 2), str(plan.rng.choice(["concrete", "asphalt", "paving"])))
        if plan.rng.random() < 0.6:
            plan.car(s, kerb - towards * 3.2, math.pi / 2)


def _with_arms(rng: np.random.Generator, half_u: float, half_v: float, form: str) -> list[Wing]:
    """An L, a T or a courtyard-like angle of two wings inside of the same bounding rectangle."""
    bar_v = half_v * rng.uniform(0.5, 0.65)
    arm_u = half_u * rng.uniform(0.32, 0.5)
    side_u, side_v = rng.choice([-1.0, 1.0], 2)
    shift = (half_u - arm_u) * (side_u if rng.random() < 0.7 else 0.2 * side_u)
    lift = rng.uniform(0.5, 3) if form == "flat" and rng.random() < 0.5 else 0.0
    bar = Wing(0, side_v * (half_v - bar_v), half_u, bar_v, form, lift)
    return [bar, Wing(shift, 0, arm_u, half_v, form)]


def _furnish(plan: Plan, x: float, y: float, angle: float, half_u: float, half_v: float, form: str) -> None:
    """Chimneys, tanks, air conditioners and solar panels; they stand on the roof and count as roof."""
    rng, canvas = plan.rng, plan.canvas
    c, n = math.cos(angle), math.sin(angle)

    def place(half_a: float, half_b: float, top_m: float, surface: str, round_m: float = 0.0) -> None:
        u, v = rng.uniform(-0.7, 0.7, 2) * (max(0.0, half_u - half_a), max(0.0, half_v - half_b))
        at = (x + c * u - n * v, y + n * u + c * v)
        window, _, _ = canvas.window(*at, angle, half_a, half_b)
        if canvas.roof[window].size and canvas.roof[window].all():
            solids.box(canvas, *at, angle, half_a, half_b, top_m, canvas.look(surface), on_roof=True, round_m=round_m)

    if plan.kind.name == "informal":
        for _ in range(rng.poisson(0.8)):
            place(rng.uniform(0.2, 1.1), rng.uniform(0.15, 0.5), 0.15, str(rng.choice(["metal", "thatch", "painted"])))
        if rng.random() < 0.12:
            place(0.6, 0.6, 1.0, "asphalt", 0.6)
    elif form == "flat":
        for _ in range(rng.poisson(0.012 * 4 * half_u * half_v)):
            half_a, half_b = rng.uniform(0.4, 1.3, 2)
            place(half_a, half_b, rng.uniform(0.5, 1.4), str(rng.choice(["metal", "concrete"])))
        if rng.random() < 0.4:
            place(2.2, 1.6, 2.4, str(rng.choice(["bitumen", "concrete"])))
    else:
        if rng.random() < 0.6:
            place(0.45, 0.35, 0.9, str(rng.choice(["tile", "concrete"])))
        if rng.random() < 0.2:
            place(rng.uniform(1.2, 2.6), 0.9, 0.12, "metal_sheet")
