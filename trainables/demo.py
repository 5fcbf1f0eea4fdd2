"""Built-in demo tiles for a study without data: where things lie in a scene, and the folder of tiles.

Roof is what shows from above: eaves, ridges, chimneys and solar panels count, a roof's pixel under a tree's crown is
background, and so is everything that merely looks like a roof (car parks, courts, slabs, swept yards, lorries).
"""

import json
import math
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.demo_scenes import METRES_PER_PIXEL, Canvas, Wing, linear
from trainables.errors import UserError

MIN_SIZE_PX = 128
JPEG_QUALITY = 92
ROOF_FRACTION = (0.08, 0.45)
"""A scene outside of these shares of roof is drawn again."""

_GENERATOR = 1
"""Raise it with every change of the pictures, so that older folders are not taken for the same tiles."""
_RECORD = "demo.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of scene.

    Attributes:
        block_m, street_m, lot_m: Shortest side of a block, width of its streets, shortest side of a lot.
        road, verge, ground: Surfaces of the streets, the strip beside them, and the blocks.
        roof_fraction: Range of the share of roof that building stops at.
        roofs: Surfaces that roofs may have; a scene uses few of them.
        forms: Forms that roofs may have.
        largest_m: Longest side of a building's main wing.
        fill: Range of the share of a lot's side that a building takes.
        vacant: What lots without a building become.
        vacancy: Chance that a lot stays without a building.
        wobble: Deviation of a building's direction from its street's, in radians.
        trees: Mean number of free-standing trees per 1000 m².
    """

    name: str
    block_m: float
    street_m: float
    lot_m: float
    road: str
    verge: str
    ground: tuple[str, ...]
    roof_fraction: tuple[float, float]
    roofs: tuple[str, ...]
    forms: tuple[str, ...]
    largest_m: float
    fill: tuple[float, float]
    vacant: tuple[str, ...]
    vacancy: float
    wobble: float
    trees: float


KINDS = (
    Kind(
        name="informal", block_m=22, street_m=3.2, lot_m=5.5, road="soil", verge="soil",
        ground=("soil", "soil", "paving"),
        roof_fraction=(0.3, 0.42), roofs=("metal", "metal", "painted", "tile", "concrete", "thatch"),
        forms=("shed", "gable", "shed", "flat"), largest_m=13, fill=(0.8, 0.98),
        vacant=("swept", "garden", "slab", "swept", "yard"), vacancy=0.13, wobble=0.09, trees=1.6,
    ),
    Kind(
        name="suburb", block_m=34, street_m=7, lot_m=12.5, road="asphalt", verge="concrete",
        ground=("grass", "grass", "soil"),
        roof_fraction=(0.2, 0.32), roofs=("tile", "slate", "tile", "painted", "metal"),
        forms=("gable", "hip", "hip", "gable"), largest_m=16, fill=(0.6, 0.86),
        vacant=("garden", "pool", "court", "slab", "swept"), vacancy=0.12, wobble=0.03, trees=4.5,
    ),
    Kind(
        name="town", block_m=36, street_m=9, lot_m=15, road="asphalt", verge="paving",
        ground=("concrete", "asphalt", "paving"),
        roof_fraction=(0.28, 0.42), roofs=("bitumen", "gravel", "concrete", "metal", "tile"),
        forms=("flat", "flat", "flat", "hip", "gable"), largest_m=32, fill=(0.72, 0.95),
        vacant=("car_park", "court", "yard", "garden", "car_park"), vacancy=0.22, wobble=0.0, trees=2.5,
    ),
    Kind(
        name="rural", block_m=40, street_m=4, lot_m=13, road="soil", verge="grass",
        ground=("grass", "soil", "gravel"),
        roof_fraction=(0.13, 0.22), roofs=("metal", "tile", "slate", "painted", "thatch"),
        forms=("gable", "gable", "hip", "shed"), largest_m=30, fill=(0.7, 0.94),
        vacant=("yard", "swept", "garden", "slab"), vacancy=0.2, wobble=0.04, trees=2.2,
    ),
)  # fmt: skip
"""The scene kinds, in turn: scene i is of kind i modulo their number."""

Rectangle = tuple[float, float, float, float]
"""Middle (s, t) and half sides along the streets' two directions, metres."""


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


def write_demo_tiles(
    root: Path, *, seed: int = 42, size_px: int = 512, num_train: int = 24, num_val: int = 6, num_test: int = 6
) -> Path:
    """Writes demo tiles in the layout of record, with `dataset.json` and `overview.png`, whole or not at all.

    Tile i is `scene([seed, i])`, counted through train, val and test, whatever the numbers of tiles are. A folder that
    already holds the tiles of these very arguments is left as it is.

    Args:
        root: The folder to make; its parents are made too.
        seed: Non-negative number that decides all tiles.
        size_px: Side of the square tiles in pixels, at least 128.
        num_train: Number of train tiles, at least 1.
        num_val: Number of val tiles, at least 1.
        num_test: Number of test tiles, at least 0.

    Returns:
        `root`, with `{train,val,test}/{images,masks}/<id>.{jpg,png}`; masks are 0 and 255.

    Raises:
        UserError: `root` exists and holds something else, cannot be written, or an argument is too small.
    """
    least = {"seed": (seed, 0), "size_px": (size_px, MIN_SIZE_PX), "num_train": (num_train, 1)}
    for name, (value, minimum) in {**least, "num_val": (num_val, 1), "num_test": (num_test, 0)}.items():
        if value < minimum:
            raise UserError(f"{name} is {value}, but must be {minimum} or more: raise it")
    splits = ["train"] * num_train + ["val"] * num_val + ["test"] * num_test
    files = {_tile_id(i): split for i, split in enumerate(splits)}
    made_by = {"generator": _GENERATOR, "seed": seed, "size_px": size_px, "splits": files}
    if _is_finished(root, made_by):
        return root
    if root.exists() or root.is_symlink():
        raise UserError(f"{root} exists and is not a whole set of these demo tiles: remove it or name another folder")
    part = root.parent / f".{root.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        try:
            _write_tiles(part, seed, size_px, files)
            (part / _RECORD).write_text(json.dumps(made_by, indent=1) + "\n", encoding="utf-8")
            part.rename(root)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        if _is_finished(root, made_by):  # someone else finished the same folder meanwhile
            return root
        raise UserError(f"{root} cannot be written ({error.strerror}): name a folder on a disk with room") from error
    return root


def _tile_id(index: int) -> str:
    return f"{KINDS[index % len(KINDS)].name}_{index:03d}"


def _is_finished(root: Path, made_by: dict[str, Any]) -> bool:
    """Whether `root` was written for the very same arguments and none of its tiles has gone."""
    try:
        if json.loads((root / _RECORD).read_text(encoding="utf-8")) != made_by:
            return False
    except (OSError, ValueError):
        return False
    return all(path.is_file() for tile, split in made_by["splits"].items() for path in _paths(root, split, tile))


def _paths(root: Path, split: str, tile_id: str) -> tuple[Path, Path]:
    return root / split / "images" / f"{tile_id}.jpg", root / split / "masks" / f"{tile_id}.png"


def _write_tiles(root: Path, seed: int, size_px: int, files: dict[str, str]) -> None:
    for split in ("train", "val", "test"):
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True)
    cells = []
    for index, (tile_id, split) in enumerate(files.items()):
        image, mask = scene([seed, index], size_px=size_px)
        image_path, mask_path = _paths(root, split, tile_id)
        _write_image(image_path, image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        _write_image(mask_path, mask * 255)
        cells.append(_cell(image, mask, f"{split} {tile_id}"))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % min(6, len(cells)))
    rows = [np.hstack(cells[at : at + 6]) for at in range(0, len(cells), 6)]
    _write_image(root / "overview.png", np.vstack(rows)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    info = {
        "classes": ["background", "roof"],
        "bands": ["red", "green", "blue"],
        "metres_per_pixel": METRES_PER_PIXEL,
        "groups": {tile_id: tile_id.rpartition("_")[0] for tile_id in files},
    }
    (root / "dataset.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")


def _write_image(path: Path, pixels: NDArray[np.uint8], options: Sequence[int] = ()) -> None:
    encoded, data = cv2.imencode(path.suffix, np.ascontiguousarray(pixels), list(options))
    assert encoded, "OpenCV encodes 8-bit images of these sizes"
    path.write_bytes(data.tobytes())


def _cell(image: NDArray[np.uint8], mask: NDArray[np.uint8], label: str, side_px: int = 150) -> NDArray[np.uint8]:
    """A labelled cell of the contact sheet, (side + 18, 2 * side + 6, 3): a tile, and its roofs outlined."""
    small = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA)
    # Fewer levels make the PNG half as large, and nobody sees them at this size.
    small = (small & 0xF8) | 0x04
    large_mask = cv2.resize(mask, (4 * side_px, 4 * side_px), interpolation=cv2.INTER_NEAREST)
    outlined = cv2.resize(small, (4 * side_px, 4 * side_px), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large_mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(outlined, contours, -1, (255, 230, 0), 4)
    outlined = cv2.resize(outlined, (side_px, side_px), interpolation=cv2.INTER_AREA) & 0xF8
    cell = np.full((side_px + 18, 2 * side_px + 6, 3), 255, np.uint8)
    cell[16 : 16 + side_px, 2:-4] = np.hstack([small, outlined])
    cv2.putText(cell, label, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (40, 40, 40), 1, cv2.LINE_AA)
    return cell


class _Plan:
    """One scene's streets and lots: turns (s, t) along the streets into the canvas's (x, y), and draws there."""

    def __init__(self, canvas: Canvas, kind: Kind) -> None:
        self.canvas, self.kind, self.rng = canvas, kind, canvas.rng
        self.angle = self.rng.uniform(0, math.pi)
        self.roofs = [str(name) for name in self.rng.choice(kind.roofs, 3)]
        self.leaf = linear([(70, 92, 50), (84, 100, 56), (62, 82, 52), (104, 104, 60)][self.rng.integers(4)])

    def xy(self, s: float, t: float) -> tuple[float, float]:
        c, n = math.cos(self.angle), math.sin(self.angle)
        return c * s - n * t, n * s + c * t

    def ground(self, rectangle: Rectangle, surface: str, *, soft_m: float = 0.0) -> None:
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
                self.canvas.box(*self.xy(s + ds, t + dt), self.angle, a, b, top_m, look)

    def tree(self, s: float, t: float, radius_m: float) -> None:
        tint = self.rng.normal(1, 0.16) * (1 + self.rng.normal(0, 0.07, 3))
        self.canvas.tree(*self.xy(s, t), radius_m, np.asarray(self.leaf * tint.clip(0.5, 1.5), np.float32))

    def car(self, s: float, t: float, turn: float = 0.0) -> None:
        self.canvas.car(*self.xy(s, t), self.angle + turn + self.rng.normal(0, 0.03))


def _split(
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
    halves = [_split(rng, part, shortest_m, gap_m) for part in whole[:2]]
    return halves[0][0] + halves[1][0], [whole[2], *halves[0][1], *halves[1][1]]


def _draw(canvas: Canvas, kind: Kind) -> None:
    """Draws a scene: ground, streets and blocks; then lot by lot a building or a look-alike; trees last."""
    plan, rng = _Plan(canvas, kind), canvas.rng
    reach = 0.75 * canvas.side_m
    offset_s, offset_t = rng.uniform(-8, 8, 2)
    plan.ground((0, 0, reach, reach), kind.road)
    blocks, streets = _split(rng, (offset_s, offset_t, reach, reach), kind.block_m, kind.street_m)
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
        lots += [(lot, block) for lot in _split(rng, inner, kind.lot_m, 0.6)[0]]
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
            _built(plan, lot, block)
        else:
            _VACANT[str(rng.choice(kind.vacant))](plan, lot)
    for _ in range(rng.poisson(kind.trees * (2 * reach) ** 2 / 1000)):
        s, t = rng.uniform(-reach, reach, 2)
        on_road = any(abs(s - way[0]) < way[2] + 1 and abs(t - way[1]) < way[3] + 1 for way in streets)
        if not on_road:
            plan.tree(s, t, rng.uniform(1.1, 3.4 if kind.name != "informal" else 2.5))


def _street(plan: _Plan, street: Rectangle) -> None:
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


def _path(plan: _Plan) -> None:
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


def _hedge(plan: _Plan, block: Rectangle) -> None:
    """Bushes and trees along one or two sides of a field."""
    s, t, half_s, half_t = block
    for ds, dt, half, along_s in ((0, half_t, half_s, True), (0, -half_t, half_s, True), (half_s, 0, half_t, False)):
        if plan.rng.random() < 0.45:
            at = -half
            while at < half:
                radius = plan.rng.uniform(0.7, 2.4)
                plan.tree(s + (at if along_s else ds), t + (dt if along_s else at), radius)
                at += radius * plan.rng.uniform(1.2, 3.4)


def _built(plan: _Plan, lot: Rectangle, block: Rectangle) -> None:
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
    canvas.building(x, y, angle, wings, pitch=pitch, eave_m=eave_m, look=canvas.look(surface))
    _furnish(plan, x, y, angle, half_u, half_v, form)
    if rng.random() < 0.12 * kind.trees:
        side = rng.choice([-1.0, 1.0])
        plan.tree(s + side * (half_u + rng.uniform(0, 1.5)), t + rng.uniform(-1, 1) * half_v, rng.uniform(1.4, 3.2))


def _drive(plan: _Plan, s: float, t: float, lot: Rectangle, block: Rectangle) -> None:
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


def _furnish(plan: _Plan, x: float, y: float, angle: float, half_u: float, half_v: float, form: str) -> None:
    """Chimneys, tanks, air conditioners and solar panels; they stand on the roof and count as roof."""
    rng, canvas = plan.rng, plan.canvas
    c, n = math.cos(angle), math.sin(angle)

    def place(half_a: float, half_b: float, top_m: float, surface: str, round_m: float = 0.0) -> None:
        u, v = rng.uniform(-0.7, 0.7, 2) * (max(0.0, half_u - half_a), max(0.0, half_v - half_b))
        at = (x + c * u - n * v, y + n * u + c * v)
        window, _, _ = canvas.window(*at, angle, half_a, half_b)
        if canvas.roof[window].size and canvas.roof[window].all():
            canvas.box(*at, angle, half_a, half_b, top_m, canvas.look(surface), on_roof=True, round_m=round_m)

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


def _garden(plan: _Plan, lot: Rectangle) -> None:
    plan.ground(lot, str(plan.rng.choice(["grass", "crop", "soil"])), soft_m=0.5)
    s, t, half_s, half_t = lot
    for _ in range(plan.rng.poisson(0.012 * 4 * half_s * half_t)):
        plan.tree(
            s + plan.rng.uniform(-1, 1) * half_s, t + plan.rng.uniform(-1, 1) * half_t, plan.rng.uniform(0.8, 2.8)
        )


def _swept(plan: _Plan, lot: Rectangle) -> None:
    """A swept or paved square with a low outline, in the colours of clay roofs."""
    s, t, half_s, half_t = lot
    square = (s, t, 0.8 * half_s, 0.8 * half_t)
    plan.ground(square, str(plan.rng.choice(["soil", "paving", "tile", "concrete"])), soft_m=0.2)
    if plan.rng.random() < 0.7:
        plan.frame(square, 0.12, plan.rng.uniform(0.15, 0.7), "concrete")


def _slab(plan: _Plan, lot: Rectangle) -> None:
    """The floor and first courses of a house that has no roof yet."""
    s, t, half_s, half_t = lot
    half_s, half_t = min(0.8 * half_s, plan.kind.largest_m / 2), min(0.8 * half_t, 6.0)
    plan.ground((s, t, half_s, half_t), "concrete")
    top_m = plan.rng.uniform(0.3, 1.6)
    plan.frame((s, t, half_s, half_t), 0.14, top_m, "concrete")
    for part in _split(plan.rng, (s, t, half_s, half_t), 3.0, 0.2)[1]:
        plan.canvas.box(*plan.xy(*part[:2]), plan.angle, *part[2:], top_m, plan.canvas.look("concrete"))


def _yard(plan: _Plan, lot: Rectangle) -> None:
    """Concrete or gravel with containers, pallets and lorries."""
    s, t, half_s, half_t = lot
    plan.ground(lot, str(plan.rng.choice(["concrete", "gravel", "bitumen"])), soft_m=0.2)
    for _ in range(plan.rng.poisson(0.012 * 4 * half_s * half_t)):
        ds, dt = plan.rng.uniform(-0.7, 0.7, 2) * (half_s, half_t)
        half_u, half_v = ((3.0, 1.2), (1.0, 0.8), (0.6, 0.6))[plan.rng.integers(3)]
        turn = plan.rng.choice([0.0, math.pi / 2]) + plan.rng.normal(0, 0.05)
        look = plan.canvas.look("metal_sheet" if half_u > 2 else "thatch")
        plan.canvas.box(*plan.xy(s + ds, t + dt), plan.angle + turn, half_u, half_v, 2.4 if half_u > 2 else 0.8, look)


def _court(plan: _Plan, lot: Rectangle) -> None:
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


def _car_park(plan: _Plan, lot: Rectangle) -> None:
    s, t, half_s, half_t = lot
    plan.ground(lot, str(plan.rng.choice(["asphalt", "asphalt", "concrete", "paving"])))
    used = plan.rng.uniform(0.25, 0.85)
    rows = np.arange(-half_t + 2.8, half_t - 2.4, 8.0 if plan.rng.random() < 0.5 else 5.6)
    for row in rows:
        for stall in np.arange(-half_s + 1.6, half_s - 1.4, 2.6):
            plan.line((s + stall - 1.3, t + row, 0.06, 2.4), 215)
            if plan.rng.random() < used:
                plan.car(s + stall, t + row + plan.rng.uniform(-0.3, 0.3), math.pi / 2)


def _pool(plan: _Plan, lot: Rectangle) -> None:
    _garden(plan, lot)
    s, t, half_s, half_t = lot
    a, b = min(4.5, 0.5 * half_s), min(2.4, 0.4 * half_t)
    plan.ground((s, t, a + 1.3, b + 1.3), str(plan.rng.choice(["paving", "concrete"])))
    window, u, v = plan.canvas.window(*plan.xy(s, t), plan.angle, a, b)
    cover = (np.abs(u) / a) ** 4 + (np.abs(v) / b) ** 4 < 1
    plan.canvas.put(window, cover, plan.canvas.texture(window, u, v, plan.canvas.look("pool")))


_VACANT = {
    "garden": _garden,
    "swept": _swept,
    "slab": _slab,
    "yard": _yard,
    "court": _court,
    "car_park": _car_park,
    "pool": _pool,
}
