"""The folder of demo tiles: images, masks, `dataset.json` and the contact sheet, whole or not at all."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from trainables.common.errors import UserError
from trainables.datasets.demo.kinds import KINDS, MIN_SIZE_PX

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
    from trainables.datasets.demo.files import write_files  # here: it draws, which a folder that is whole does not need

    part = root.parent / f".{root.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        try:
            write_files(
                part, seed, size_px, {tile: (split, *_paths(part, split, tile)) for tile, split in files.items()}
            )
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
