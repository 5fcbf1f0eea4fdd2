"""The folder of demo tiles: images, masks, `dataset.json` and the contact sheet, whole or not at all."""

import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.datasets.demo.kinds import KINDS
from trainables.datasets.demo.layout import MIN_SIZE_PX, scene
from trainables.datasets.demo.render import METRES_PER_PIXEL

JPEG_QUALITY = 92

_GENERATOR = 1
"""Raise it with every change of the pictures, so that older folders are not taken for the same tiles."""
_RECORD = "demo.json"


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
