"""Writes a plan's tiles as a folder in the layout of record, whole files only, and goes on where it was killed.

`prepared.json` comes first and says what the folder will be, so that a second run knows it; `dataset.json` comes last.
"""

import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from trainables.common.errors import UserError
from trainables.common.progress_bar import Track, no_track
from trainables.common.whole_files import write_whole
from trainables.data.dataset import read_dataset
from trainables.data.formats.raster import read_image
from trainables.data.pictures import class_color, class_map, to_rgb
from trainables.data.tiles import IGNORE, DatasetInfo
from trainables.datasets.overview import Cell, draw_sheet
from trainables.datasets.sources.classes import check_classes
from trainables.datasets.sources.files import is_clutter, plain_name
from trainables.datasets.sources.plan import SPLITS, Plan, SourceTile

MAX_SHOWN = 24
"""Tiles per split in the overview."""

_CELL_PX, _PER_ROW = 220, 3
_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


def write_tiles(name: str, plan: Plan, dst: Path, *, track: Track = no_track) -> dict[str, NDArray[np.int64]]:
    """Checks every tile that is not there yet, then writes them, the overview and `dataset.json`.

    Args:
        name: The data set's name in the table of adapters.
        plan: What is to be written.
        dst: Folder to make or to finish.
        track: Is given the tile ids of a step and its name, and yields the ids; for a progress bar.

    Returns:
        Split to its (K + 1,) counts of pixels: one per class, then those that are ignored.

    Raises:
        UserError: `dst` holds something else or cannot be written, a source is damaged, an image or a mask is not
            what `SourceTile` says, or a split has one class alone; nothing is written then.
    """
    tiles = {tile.id: tile for tile in sorted(plan.tiles, key=lambda tile: (SPLITS.index(tile.split), tile.id))}
    info = _complete(plan)
    _check_ids(plan)
    prepared = _describe(name, plan, info)
    _check_dst(dst, prepared, tiles.values())
    to_make = [id_ for id_, tile in tiles.items() if not all(path.is_file() for path in _files(dst, tile))]
    masks: dict[str, bytes] = {}  # as PNG: small enough for thousands
    there = {id_: _files(dst, tile)[1] for id_, tile in tiles.items() if id_ not in to_make}
    pixels = {id_: _count(_read_mask(path, info), info) for id_, path in there.items()} if to_make else {}
    first: tuple[str, tuple[int, str]] | None = None
    for id_ in track(to_make, "checking"):
        mask, kind = _check_tile(tiles[id_], info)
        if first is not None and kind != first[1]:
            raise UserError(
                f"{id_} has {kind[0]} bands of {kind[1]}, but {first[0]} has {first[1][0]} of {first[1][1]}: "
                "all images must have the same bands and type"
            )
        first = first or (id_, kind)
        masks[id_] = _encode(".png", _stored(mask, info))
        pixels[id_] = _count(mask, info)
    if to_make:
        check_classes(tiles, pixels, info)
    counts = {split: np.zeros(len(info.classes) + 1, np.int64) for split in SPLITS}
    try:
        write_whole(dst / "prepared.json", _as_json(prepared))
        for id_ in track(to_make, "writing"):
            image_path, mask_path = _files(dst, tiles[id_])
            if not image_path.is_file():
                write_whole(image_path, _image_bytes(tiles[id_]))
            write_whole(mask_path, masks[id_])
        for id_ in track(list(tiles), "counting"):
            counts[tiles[id_].split] += _count(_read_mask(_files(dst, tiles[id_])[1], info), info)
        write_whole(dst / "overview.png", _encode(".png", np.asarray(_overview(dst, tiles, info))))
        write_whole(dst / "dataset.json", _as_json(prepared["dataset.json"]))
    except OSError as error:
        raise UserError(
            f"--dst {dst} cannot be written ({error.strerror}): name a folder on a disk with room"
        ) from error
    read_dataset(dst)  # what a study does first
    return {split: count for split, count in counts.items() if any(tile.split == split for tile in tiles.values())}


def _complete(plan: Plan) -> DatasetInfo:
    """The plan's `info` with the groups of its tiles."""
    groups = {tile.id: tile.group for tile in plan.tiles if tile.group is not None}
    return plan.info.model_copy(update={"groups": dict(sorted(groups.items()))})


def _check_ids(plan: Plan) -> None:
    seen: set[str] = set()
    for tile in plan.tiles:
        if not re.fullmatch(r"\w[\w.+-]*", tile.id):
            raise UserError(f"{tile.id!r} cannot be a file's name: use letters, digits and . _ + - for tile ids")
        if tile.id.lower() in seen:  # some disks tell no a from A
            raise UserError(f"{tile.id} is the id of two tiles: rename one of them")
        seen.add(tile.id.lower())
    for split in ("train", "val"):
        if not any(tile.split == split for tile in plan.tiles):
            raise UserError(f"the source has no {split} tiles, but a study needs train and val tiles: check --src")


def _describe(name: str, plan: Plan, info: DatasetInfo) -> dict[str, Any]:
    """What `prepared.json` says: two plans with one description make the same folder."""
    tiles = {tile.id: [tile.split, tile.suffix] for tile in sorted(plan.tiles, key=lambda tile: tile.id)}
    said = {key: value for key, value in info.model_dump(mode="json").items() if value not in (None, [], {})}
    return {"data_set": name, "dataset.json": said, "tiles": tiles}


def _check_dst(dst: Path, prepared: Mapping[str, Any], tiles: Iterable[SourceTile]) -> None:
    path = dst / "prepared.json"
    if not path.is_file():
        if dst.exists() and not (dst.is_dir() and all(is_clutter(found) for found in dst.iterdir())):
            raise UserError(
                f"--dst {dst} exists and was not made by this command (no prepared.json): name another folder"
            )
        return
    try:
        before = json.loads(path.read_bytes())
        _, source, _ = before["data_set"], before["dataset.json"].get("source"), before["tiles"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not as this command writes it: name another --dst") from error
    if before["data_set"] != prepared["data_set"]:
        raise UserError(f"--dst {dst} holds {before['data_set']}, not {prepared['data_set']}: name another --dst")
    if before != prepared:
        raise UserError(
            f"--dst {dst} was made from other tiles or with other flags ({source}): give the same ones or name "
            "another --dst"
        )
    own = {str(file) for tile in tiles for file in _files(dst, tile)}
    folders = [dst / split / kind for split in SPLITS for kind in ("images", "masks")]
    there = [file for folder in folders for file in folder.glob("*") if not is_clutter(file)]
    if others := [file for file in there if str(file.with_name(plain_name(file.name))) not in own]:
        raise UserError(f"{min(others)} is no tile of this command's: move it away or name another --dst")


def _files(dst: Path, tile: SourceTile) -> tuple[Path, Path]:
    """Where a tile's image and mask go."""
    return dst / tile.split / "images" / f"{tile.id}{tile.suffix}", dst / tile.split / "masks" / f"{tile.id}.png"


def _check_tile(tile: SourceTile, info: DatasetInfo) -> tuple[NDArray[np.uint8], tuple[int, str]]:
    """The mask, and (bands, dtype) of the image, which is decoded whole to see that it is not damaged."""
    image, mask = tile.load_image(), tile.load_mask()
    num_bands, dtype = image.shape[2], str(image.dtype)
    if image.shape[:2] != mask.shape:
        sizes = "×".join(map(str, mask.shape[::-1])), "×".join(map(str, image.shape[1::-1]))
        raise UserError(
            f"the mask of {tile.id} is {sizes[0]} px, but its image is {sizes[1]} px: they must be one size"
        )
    if dtype not in _TYPES:
        raise UserError(f"the image of {tile.id} is of {dtype}, but may be of {', '.join(_TYPES)}: convert it")
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        raise UserError(f"{tile.id} holds NaN or infinite pixels, but every pixel must be a number: fill them")
    if info.bands and len(info.bands) != num_bands:
        raise UserError(f"{tile.id} has {num_bands} bands, but {len(info.bands)} are named: name each band once")
    assert tile.suffix == ".tif" or (num_bands, dtype) == (3, "uint8"), "only a TIFF holds every type"
    strange = mask[(mask >= len(info.classes)) & (mask != IGNORE)]
    assert not strange.size, f"the adapter gives the class {strange[0]}"
    return mask, (num_bands, dtype)


def _stored(mask: NDArray[np.uint8], info: DatasetInfo) -> NDArray[np.uint8]:
    """Class indices as they are stored: two classes as 0 and 255, which one can see, unless 255 is ignored."""
    is_0_255 = len(info.classes) == 2 and info.ignore_index is None
    assert not is_0_255 or (mask < 2).all(), "ignored pixels need an ignore_index"
    return mask * np.uint8(255) if is_0_255 else mask


def _read_mask(path: Path, info: DatasetInfo) -> NDArray[np.uint8]:
    """The inverse of `_stored`, from the file."""
    mask = _read_own(path)[..., 0]
    return (mask != 0).astype(np.uint8) if len(info.classes) == 2 and info.ignore_index is None else mask


def _read_own(path: Path) -> NDArray[Any]:
    try:
        return read_image(path)
    except UserError as error:
        raise UserError(f"{path} is damaged: remove it and run again") from error


def _count(mask: NDArray[np.uint8], info: DatasetInfo) -> NDArray[np.int64]:
    counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)
    return np.append(counts[: len(info.classes)], counts[IGNORE])


def _image_bytes(tile: SourceTile) -> bytes:
    if tile.copy_of is None:
        return _encode(tile.suffix, tile.load_image())
    try:
        return tile.copy_of.read_bytes()
    except OSError as error:
        raise UserError(f"{tile.copy_of} cannot be read ({error.strerror}): put it back") from error


def _encode(suffix: str, pixels: NDArray[Any]) -> bytes:
    """(H, W) or (H, W, C) pixels as the bytes of a PNG or TIFF; the same pixels give the same bytes."""
    if suffix == ".png":
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        return content.getvalue()
    assert suffix == ".tif", f"{suffix} would lose something: such files are copied"
    height, width, count = pixels.shape
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype.name}
        if count == 4:  # else GDAL calls the last of four 8-bit bands opacity
            profile["photometric"] = "minisblack"
        with memory.open(compress="deflate", **profile) as file:
            file.write(pixels.transpose(2, 0, 1))
        encoded: bytes = memory.read()
        return encoded


def _as_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _overview(dst: Path, tiles: Mapping[str, SourceTile], info: DatasetInfo) -> Image.Image:
    """Image and mask beside each other, of all tiles or of `MAX_SHOWN` per split that lie evenly among them."""
    cells = []
    for split in SPLITS:
        members = [tile for tile in tiles.values() if tile.split == split]
        num_shown = min(MAX_SHOWN, len(members))
        for i in range(num_shown):
            tile = members[i * len(members) // num_shown]
            image_path, mask_path = _files(dst, tile)
            mask = _read_mask(mask_path, info)
            shares = _count(mask, info) / mask.size
            most = sorted(zip(shares, (*info.classes, "ignored"), strict=True), key=lambda pair: -pair[0])
            cells.append(
                Cell(
                    title=tile.id if len(tile.id) <= 34 else f"…{tile.id[-33:]}",
                    split=split if num_shown == len(members) else f"{split}, {i + 1} of {len(members)}",
                    note=", ".join(f"{name} {share:.0%}" for share, name in most[:2] if share > 0),
                    remark=tile.group or "",
                    picture=_picture(_read_own(image_path), mask, info),
                )
            )
    legend = {name: class_color(info, index) for index, name in enumerate(info.classes)} | {"ignored": (255, 255, 255)}
    return draw_sheet(cells, per_row=_PER_ROW, legend=legend)


def _picture(image: NDArray[Any], mask: NDArray[np.uint8], info: DatasetInfo) -> Image.Image:
    """Image and class colours in two squares, none of them stretched."""
    picture = Image.new("RGB", (2 * _CELL_PX, _CELL_PX), (225, 225, 225))
    scale = _CELL_PX / max(mask.shape)
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    rgb = Image.fromarray(to_rgb(image, info)).resize(size, Image.Resampling.BOX)
    colors = Image.fromarray(class_map(mask, info)).resize(size, Image.Resampling.NEAREST)
    picture.paste(rgb, (0, 0))
    picture.paste(colors, (_CELL_PX, 0))
    return picture
