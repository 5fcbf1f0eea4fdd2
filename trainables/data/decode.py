"""Tiles from disk to memory: the pixels and classes of train and val, and what there is to say of them."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.data.dataset import Dataset, OpenFiles, TileFile
from trainables.data.duplicates import Thumbnails
from trainables.data.facts import TileFacts, tile_facts
from trainables.data.formats.mask import StoredMask, stored_mask
from trainables.data.formats.raster import no_warnings, read_pixels
from trainables.data.masks import MaskRule, class_notes, mask_notes
from trainables.data.pixel_notes import pixel_notes
from trainables.data.scale import fill_scale
from trainables.data.tiles import IGNORE, Tiles, TilesDigest, TrainVal

_T = TypeVar("_T")

_Pixels: TypeAlias = tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.bool_] | None]
"""The image (H, W, C), the classes (H, W) and where there is no data (H, W), if anywhere, of a tile."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Train and val tiles, and what else is known once they were decoded.

    Attributes:
        tiles: The tiles.
        digest: `TrainVal.digest()` of them.
        rule: What the values of their masks mean.
        thumbnails: Of their images, by split.
    """

    tiles: TrainVal
    digest: str
    rule: MaskRule
    thumbnails: Mapping[str, Thumbnails]


def decode_train_val(dataset: Dataset) -> TrainVal:
    """The tiles of `decode_open`, and its errors."""
    return decode_open(dataset).tiles


def decode_open(dataset: Dataset, *, keep: bool = True) -> Decoded:
    """Decodes train and val tiles, once, in their own dtype, and learns what the values of their masks mean.

    Args:
        dataset: The checked folder.
        keep: Whether to keep their pixels. If not, 8-bit images, and masks of which every pixel counts or none, are
            arrays of the right shape and dtype that take no memory, and nothing says where data is missing: digest,
            notes and errors are the same. Tiles of other types are kept all the same, since their notes take several
            looks at all of them.

    Raises:
        UserError: A file is damaged or truncated; a mask holds a value that is no class, or masks contradict each
            other; or there is nothing to learn or to judge by.
    """
    keep = keep or dataset.dtype != "uint8"
    rule, masks, digest = MaskRule(dataset.info), list[StoredMask](), TilesDigest()
    tiles: dict[str, Tiles] = {}
    facts: dict[str, list[TileFacts]] = {}
    for files in (dataset.train, dataset.val):
        kept, seen = [], []
        for tile, (image, mask, missing) in zip(files.tiles, decode(files, masks, dataset, rule), strict=True):
            digest.add(tile.id, image, mask, missing)
            seen.append(tile_facts(tile.id, image, mask, missing))
            kept.append((image, mask, missing) if keep else _hollow(image, mask, seen[-1]))
        digest.end_split()
        tiles[files.split], facts[files.split] = _tiles(files.tiles, kept), seen
    train, val = facts["train"], facts["val"]
    _check_data(train)
    found = TrainVal(dataset.info, tiles["train"], tiles["val"])
    scaled = fill_scale(replace(found, notes=(*mask_notes(masks, rule), *pixel_notes(found, train, val))))
    return Decoded(
        tiles=replace(scaled, notes=(*scaled.notes, *class_notes(train, val, scaled.info))),
        digest=digest.hex() if scaled.train is found.train else scaled.digest(),  # else they are 8-bit only now
        rule=rule,
        thumbnails={split: np.stack([tile.thumbnail for tile in its]) for split, its in facts.items()},
    )


def decode(files: OpenFiles, masks: list[StoredMask], dataset: Dataset, rule: MaskRule) -> Iterator[_Pixels]:
    """Decodes an open split tile by tile, in order; a few more than there are cores are in memory at a time.

    Args:
        files: Of the split.
        masks: A list to which what each mask file says is added, but for its pixels.
        dataset: Which it is of.
        rule: Learns from each mask before its classes are told.

    Raises:
        UserError: A file is damaged or truncated; a mask holds a value that is no class, or contradicts another one.
        TypeError: `files` are not open to tuning.
    """
    if not isinstance(files, OpenFiles):
        raise TypeError(f"{type(files).__name__} cannot be decoded: only train and val tiles are open to tuning")

    def classes(mask: StoredMask) -> NDArray[np.uint8]:
        masks.append(replace(mask, pixels=np.empty((0, 0), np.uint8)))
        rule.learn(masks[-1])
        return rule.classes(mask)

    return _decoded(files.tiles, dataset, classes)


def decode_files(files: Sequence[TileFile], dataset: Dataset, rule: MaskRule) -> Tiles:
    """The tiles of any files, for the seal.

    Args:
        files: Of the tiles.
        dataset: Which they are of.
        rule: What the values of its masks mean.

    Raises:
        UserError: A file is damaged or truncated, or a mask holds a value that is no class.
    """
    return _tiles(files, list(_decoded(files, dataset, rule.classes)))


def _decoded(
    files: Sequence[TileFile], dataset: Dataset, classes: Callable[[StoredMask], NDArray[np.uint8]]
) -> Iterator[_Pixels]:
    def read(tile: TileFile) -> tuple[StoredMask, NDArray[Any], NDArray[np.bool_] | None]:
        mask = stored_mask(read_pixels(tile.mask), dataset.info)
        return mask, *read_pixels(tile.image).image(dataset.num_bands, dataset.places)

    for stored, image, missing in on_all_cores(read, files):
        mask = classes(stored)
        if missing is not None:
            mask[missing] = IGNORE
        yield image, mask, missing


def _tiles(files: Sequence[TileFile], pixels: Sequence[_Pixels]) -> Tiles:
    nodata = tuple(missing for _, _, missing in pixels)
    return Tiles(
        ids=tuple(tile.id for tile in files),
        images=tuple(image for image, _, _ in pixels),
        masks=tuple(mask for _, mask, _ in pixels),
        nodata=nodata if any(missing is not None for missing in nodata) else (),
    )


def _hollow(image: NDArray[Any], mask: NDArray[np.uint8], facts: TileFacts) -> _Pixels:
    """The same without pixels, but for a mask of which only some count: centre windows are checked for these."""
    hollow = np.broadcast_to(image.dtype.type(0), image.shape)
    if IGNORE in facts.classes and not facts.is_void:
        return hollow, mask, None
    return hollow, np.broadcast_to(np.uint8(facts.classes[0]), mask.shape), None


def on_all_cores(read: Callable[[TileFile], _T], files: Iterable[TileFile]) -> Iterator[_T]:
    """What `read` gives of each file, in their order; the decoders let go of the interpreter's lock.

    As many files as there are cores are read ahead.
    """
    num_cores = os.cpu_count() or 1
    ahead = deque[Future[_T]]()
    with no_warnings(), ThreadPoolExecutor(num_cores) as pool:  # all of them: what a thread sets, others undo
        for file in files:
            ahead.append(pool.submit(read, file))
            if len(ahead) > num_cores:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _check_data(train: Sequence[TileFacts]) -> None:
    """Refuses train tiles of which none holds any data."""
    if not any(tile.has_data for tile in train):
        raise UserError(
            "no pixel of the train tiles has data: all are transparent, masked or of the files' nodata value: mend the "
            "opacity (alpha), the mask or the nodata tag of the images"
        )
