"""A demo scene from its seed: streets, blocks and fields first, then lot by lot a building or a look-alike.

Roof is what shows from above: eaves, ridges, chimneys and solar panels count, a roof's pixel under a tree's crown is
background, and so is everything that merely looks like a roof (car parks, courts, slabs, swept yards, lorries).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.datasets.demo.buildings import built_lot
from trainables.datasets.demo.kinds import KINDS, MIN_SIZE_PX, Kind
from trainables.datasets.demo.lots import VACANT_LOTS
from trainables.datasets.demo.plan import Plan, Rectangle, split
from trainables.datasets.demo.render import Canvas

ROOF_FRACTION = (0.08, 0.45)
"""A scene outside of these shares of roof is drawn again."""


def scene(seed: int | Sequence[int], *, size_px: int = 512) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws an aerial scene of 0.15 m per pixel and its exact roof mask.

    Args:
        seed: Non-negative number or numbers that decide the whole scene; the last one decides its kind, in turn.
        size_px: Side of the square tile in pixels, at least 128.

    Returns:
        Image (size_px, size_px, 3) uint8 RGB, and mask (size_px, size_px) uint8, 1 where visible roof covers at least
        half of the pixel, else 0. Roof takes 8 to 45 % of the tile.

    Raises:
        UserError: `size_px` or a number of `seed` is too small.
    """
    entropy = list(seed) if isinstance(seed, Sequence) else [seed]
    if size_px < MIN_SIZE_PX:
        raise UserError(f"size_px is {size_px}, but a scene needs {MIN_SIZE_PX} px or more: ask for larger tiles")
    if not entropy or min(entropy) < 0:
        raise UserError(f"seed is {seed}, but it must be one or more numbers from 0 up: choose such a seed")
    kind = KINDS[entropy[-1] % len(KINDS)]
    attempt = 0
    while True:
        canvas = Canvas(np.random.default_rng([*entropy, attempt]), size_px)
        _draw(canvas, kind)
        mask = canvas.mask()
        if ROOF_FRACTION[0] <= mask.mean() <= ROOF_FRACTION[1]:
            return canvas.photograph(), mask
        attempt += 1


def _draw(canvas: Canvas, kind: Kind) -> None:
    """Draws a scene: ground, streets and blocks; then lot by lot a building or a look-alike; trees last."""
    plan, rng = Plan(canvas, kind), canvas.rng
    reach = 0.75 * canvas.side_m
    offset_s, offset_t = rng.uniform(-8, 8, 2)
    plan.ground((0, 0, reach, reach), kind.road)
    blocks, streets = split(rng, (offset_s, offset_t, reach, reach), kind.block_m, kind.street_m)
    blocks.sort(key=lambda block: math.hypot(block[0], block[1]))
    lots: list[tuple[Rectangle, Rectangle]] = []
    fields: list[Rectangle] = []
    for index, block in enumerate(blocks):
        s, t, half_s, half_t = block
        plan.ground(block, kind.verge, soft_m=0.0 if kind.road == "asphalt" else 1.5)
        inner = (s, t, half_s - 1.6, half_t - 1.6)
        if kind.name == "rural" and index > 0:
            plan.ground(inner, str(rng.choice(["ploughed", "crop", "stubble", "meadow"])), soft_m=0.8)
            fields.append(block)
            continue
        plan.ground(inner, str(rng.choice(kind.ground)), soft_m=0.0 if kind.road == "asphalt" else 1.0)
        lots += [(lot, block) for lot in split(rng, inner, kind.lot_m, 0.6)[0]]
    if kind.road == "asphalt":
        for street in streets:
            _street(plan, street)
    _path(plan)
    for field in fields:
        _hedge(plan, field)
    target = rng.uniform(*kind.roof_fraction)
    for index in rng.permutation(len(lots)):
        lot, block = lots[index]
        if canvas.roof_fraction() < target and rng.random() >= kind.vacancy:
            built_lot(plan, lot, block)
        else:
            VACANT_LOTS[str(rng.choice(kind.vacant))](plan, lot)
    for _ in range(rng.poisson(kind.trees * (2 * reach) ** 2 / 1000)):
        s, t = rng.uniform(-reach, reach, 2)
        on_road = any(abs(s - way[0]) < way[2] + 1 and abs(t - way[1]) < way[3] + 1 for way in streets)
        if not on_road:
            plan.tree(s, t, rng.uniform(1.1, 3.4 if kind.name != "informal" else 2.5))


def _street(plan: Plan, street: Rectangle) -> None:
    """Markings, wear and parked cars of a street that `_draw` has paved."""
    s, t, half_s, half_t = street
    along_s, rng = half_s >= half_t, plan.rng
    half, width = max(half_s, half_t), 2 * min(half_s, half_t)
    for at in np.arange(-half + 3, half - 3, 4.5):
        plan.line((s + at, t, 1.2, 0.07) if along_s else (s, t + at, 0.07, 1.2), 215)
    if rng.random() < 0.5:
        for side in (-1, 1):
            d = side * (width / 2 - 0.35)
            plan.line((s, t + d, half, 0.06) if along_s else (s + d, t, 0.06, half), 205)
    parked = rng.uniform(0.1, 0.5)
    for at in np.arange(-half + 4, half - 4, 6.2):
        for side in (-1, 1):
            if rng.random() < parked:
                d, at_car = side * (width / 2 - 1.2), at + rng.uniform(-0.5, 0.5)
                plan.car(*((s + at_car, t + d) if along_s else (s + d, t + at_car)), 0.0 if along_s else math.pi / 2)
            elif rng.random() < 0.08 * plan.kind.trees:
                d = side * (width / 2 + 1.2)
                plan.tree(*((s + at, t + d) if along_s else (s + d, t + at)), rng.uniform(1.3, 2.6))


def _path(plan: Plan) -> None:
    """A trodden way that winds across whatever the ground is; streets and roofs come later or lie above."""
    if plan.kind.road == "asphalt":
        return
    canvas, rng = plan.canvas, plan.rng
    x, y = rng.uniform(-20, 20, 2)
    window, u, v = canvas.window(x, y, rng.uniform(0, math.pi), canvas.side_m, canvas.side_m)
    winding = 3 * np.sin(u / rng.uniform(8, 14) + rng.uniform(0, 6)) + 1.2 * np.sin(u / rng.uniform(3, 5))
    off = np.abs(v - winding) - 0.2 * canvas.mottle[window]
    cover = 0.8 * (1.5 - off / rng.uniform(0.5, 0.9)).clip(0, 1)
    canvas.put(window, cover, canvas.texture(window, u, v, canvas.look("soil")))


def _hedge(plan: Plan, block: Rectangle) -> None:
    """Bushes and trees along one or two sides of a field."""
    s, t, half_s, half_t = block
    for ds, dt, half, along_s in ((0, half_t, half_s, True), (0, -half_t, half_s, True), (half_s, 0, half_t, False)):
        if plan.rng.random() < 0.45:
            at = -half
            while at < half:
                radius = plan.rng.uniform(0.7, 2.4)
                plan.tree(s + (at if along_s else ds), t + (dt if along_s else at), radius)
                at += radius * plan.rng.uniform(1.2, 3.4)
