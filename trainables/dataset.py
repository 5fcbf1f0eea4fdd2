"""Tiles on disk: the layout of record, its checks, and the types that keep test pixels out of tuning.

The layout of record is `<root>/{train,val,test}/{images,masks}/<id>.{jpg,png,tif}` with an optional
`<root>/dataset.json`. Headers of all splits are checked; only train and val are open: `decode` takes `OpenFiles`. A
`SealedFiles` (the test split) has one way to its pixels, `trainables.sealed`, which only the seal may import.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from trainables.command import did_you_mean
from trainables.errors import UserError
from trainables.raster import SUFFIXES, finite, read_header, read_pixels
from trainables.tiles import IGNORE, DatasetInfo, Tiles, TrainVal


@dataclass(frozen=True, slots=True)
class TileFile:
    """One tile's two files and what their headers say."""

    id: str
    image: Path
    mask: Path
    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The tiles of a split that tuning may decode."""

    split: Literal["train", "val"]
    tiles: tuple[TileFile, ...]


@dataclass(frozen=True, slots=True)
class SealedFiles:
    """The test tiles: known by name and header, with nothing in tuning that decodes them."""

    tiles: tuple[TileFile, ...]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A checked folder of tiles, nothing decoded yet.

    Attributes:
        root: The folder.
        info: What is known of it; `bands` are those that were chosen.
        dtype: Of the images.
        places: Which bands of the files these are, from 0.
        train: Tiles that tuning learns from.
        val: Tiles that tuning judges by.
        test: Tiles that stay sealed.
        notes: What the reader should know of how the folder was read, a sentence each.
    """

    root: Path
    info: DatasetInfo
    dtype: str
    places: tuple[int, ...]
    train: OpenFiles
    val: OpenFiles
    test: SealedFiles
    notes: tuple[str, ...] = ()


def read_dataset(root: Path, bands: Sequence[str] | None = None) -> Dataset:
    """Checks a folder of tiles by names and headers, decoding nothing.

    Args:
        root: The folder.
        bands: Which bands to take, in this order, by name or by number (from 1, as GDAL counts); all if None.

    Raises:
        UserError: The folder, a split, a mask or an image is missing; sizes, bands or dtypes differ; a file has no
            readable header; or `dataset.json` is not what `DatasetInfo` allows.
    """
    if not root.is_dir():
        raise UserError(
            f"{root} is no folder, but --data needs one with train/, val/ and test/: check the path{did_you_mean(root)}"
        )
    train, val, test = (_split_files(root, split) for split in ("train", "val", "test"))
    for split, files in (("train", train), ("val", val)):
        if not files:
            raise UserError(
                f"{root / split / 'images'} holds no tiles, but a study needs train and val tiles: "
                f"put images ({', '.join(SUFFIXES)}) there and their masks in {split}/masks, or make a folder of a "
                "published data set by python -m trainables.prepare"
            )
    headers = [_check_pair(*pair) for pair in itertools.chain(train, val, test)]
    first, (num_bands, dtype) = headers[0]
    for tile, image_type in headers:
        if image_type != (num_bands, dtype):
            raise UserError(
                f"{tile.image} has {image_type[0]} bands of {image_type[1]}, but {first.image} has {num_bands} of "
                f"{dtype}: all images must have the same bands and type"
            )
    tiles = [tile for tile, _ in headers]
    seen: dict[str, TileFile] = {}
    for tile in tiles:
        if tile.id in seen:
            raise UserError(f"{tile.image} and {seen[tile.id].image} share the id {tile.id}: rename one of them")
        seen[tile.id] = tile
    info = _complete(_read_info(root), num_bands, dtype, root)
    places = _places(bands, info.bands)
    return Dataset(
        root=root,
        info=info.model_copy(update={"bands": tuple(info.bands[place] for place in places)}),
        dtype=dtype,
        places=places,
        train=OpenFiles("train", tuple(tiles[: len(train)])),
        val=OpenFiles("val", tuple(tiles[len(train) : len(train) + len(val)])),
        test=SealedFiles(tuple(tiles[len(train) + len(val) :])),
    )


def decode_train_val(dataset: Dataset) -> TrainVal:
    """Decodes train and val tiles, once, in their own dtype.

    Raises:
        UserError: A file is damaged or truncated, or a mask holds a value that is no class.
    """
    return TrainVal(dataset.info, decode(dataset.train, dataset), decode(dataset.val, dataset))


def decode(files: OpenFiles, dataset: Dataset) -> Tiles:
    """Decodes the tiles of an open split of a data set.

    Raises:
        UserError: A file is damaged or truncated, or a mask holds a value that is no class.
        TypeError: `files` are not open to tuning.
    """
    if not isinstance(files, OpenFiles):
        raise TypeError(f"{type(files).__name__} cannot be decoded: only train and val tiles are open to tuning")
    return _decode_files(files.tiles, dataset)


def _decode_files(files: tuple[TileFile, ...], dataset: Dataset) -> Tiles:
    places = list(dataset.places)
    images = tuple(finite(read_pixels(tile.image)[places], tile.image) for tile in files)
    masks = tuple(_class_indices(read_pixels(tile.mask)[0], dataset.info, tile.mask) for tile in files)
    return Tiles(tuple(tile.id for tile in files), images, masks)


def _places(bands: Sequence[str] | None, known: tuple[str, ...]) -> tuple[int, ...]:
    """Where the chosen bands are among those of the files, from 0."""
    if bands is None:
        return tuple(range(len(known)))
    numbers = {str(number): place for place, number in enumerate(range(1, len(known) + 1))}
    by_name = numbers | {band.lower(): place for place, band in enumerate(known)}
    for band in bands:
        if band.lower() not in by_name:
            raise UserError(
                f"--bands names {band}, but the images have {', '.join(known)} (1 to {len(known)}): name some of these"
            )
    places = tuple(by_name[band.lower()] for band in bands)
    if twice := [band for band, place in zip(bands, places, strict=True) if places.count(place) > 1]:
        raise UserError(f"--bands names {' and '.join(twice)}, which are one band: name each once")
    return places


def _split_files(root: Path, split: str) -> list[tuple[str, Path, Path]]:
    """(id, image, mask) of each tile of a split, sorted by id; empty where there is no such folder."""
    images = _files_by_id(root / split / "images")
    masks = _files_by_id(root / split / "masks")
    for tile_id, image in images.items():
        if tile_id not in masks:
            raise UserError(f"{image} has no mask: add {root / split / 'masks' / tile_id}.png or remove the image")
    for tile_id, mask in masks.items():
        if tile_id not in images:
            raise UserError(f"{mask} has no image: add {root / split / 'images' / tile_id}.jpg or remove the mask")
    return [(tile_id, images[tile_id], masks[tile_id]) for tile_id in sorted(images)]


def _files_by_id(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    if not folder.is_dir():
        return files
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            raise UserError(f"{path} and {files[path.stem].name} share the id {path.stem}: keep one of them")
        files[path.stem] = path
    return files


def _check_pair(tile_id: str, image: Path, mask: Path) -> tuple[TileFile, tuple[int, str]]:
    """The tile and its image's (bands, dtype), from the two headers."""
    height, width, num_bands, dtype = read_header(image)
    mask_height, mask_width, mask_bands, mask_dtype = read_header(mask)
    if (height, width) != (mask_height, mask_width):
        raise UserError(
            f"{mask} is {mask_width}×{mask_height} px, but its image is {width}×{height} px: "
            "image and mask must have one size"
        )
    if mask_bands != 1 or not np.issubdtype(np.dtype(mask_dtype), np.integer):
        raise UserError(
            f"{mask} has {mask_bands} bands of {mask_dtype}, but a mask must be one band of integer class indices: "
            "convert it"
        )
    return TileFile(tile_id, image, mask, height, width), (num_bands, dtype)


def _class_indices(mask: NDArray[Any], info: DatasetInfo, path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 class indices with `IGNORE`, from a mask in the file's own values."""
    classes = np.full(mask.shape, IGNORE, np.uint8)
    num_classes = len(info.classes)
    is_0_255 = num_classes == 2 and info.ignore_index != 255
    values = set(np.unique(mask).tolist())
    if is_0_255 and {1, 255} <= values:
        raise UserError(
            f"{path} holds both 1 and 255, but foreground must be one of them: mend the mask, or, where 255 is void, "
            'write "ignore_index": 255 into dataset.json'
        )
    for value in sorted(values):
        if value == info.ignore_index:
            continue
        if 0 <= value < num_classes:
            classes[mask == value] = value
        elif is_0_255 and value == 255:
            classes[mask == value] = 1
        else:
            allowed = "0 and 1 (or 255)" if is_0_255 else f"0 to {num_classes - 1}"
            raise UserError(
                f"{path} holds the value {value}, but a mask of {num_classes} classes may hold {allowed}"
                f"{'' if info.ignore_index is None else f' and {info.ignore_index} (ignored)'}: "
                "mend the mask, or name classes and ignore_index in dataset.json"
            )
    return classes


def _read_info(root: Path) -> DatasetInfo:
    path = root / "dataset.json"
    if not path.exists():
        return DatasetInfo()
    try:
        return DatasetInfo.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no JSON ({error}): mend or remove it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where} is {first['input']!r}, but {first['msg']}: mend it") from error


def _complete(info: DatasetInfo, num_bands: int, dtype: str, root: Path) -> DatasetInfo:
    """Fills in what dataset.json left out, from the images' bands and type."""
    if info.bands and len(info.bands) != num_bands:
        raise UserError(
            f"{root / 'dataset.json'} names {len(info.bands)} bands, but the images have {num_bands}: "
            "name each band once"
        )
    if info.colors_rgb is not None and len(info.colors_rgb) != len(info.classes):
        raise UserError(
            f"{root / 'dataset.json'} has {len(info.colors_rgb)} colours for {len(info.classes)} classes: "
            "give one per class"
        )
    bands = info.bands or (
        ("red", "green", "blue") if num_bands == 3 else tuple(f"band{i + 1}" for i in range(num_bands))
    )
    is_integer = np.issubdtype(np.dtype(dtype), np.integer)
    scale = info.scale or (1.0 / float(np.iinfo(dtype).max) if is_integer else 1.0)
    return info.model_copy(update={"bands": bands, "scale": scale})
