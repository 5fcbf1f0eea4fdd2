"""Tiles from disk to memory: the pixels and classes of train and val, and what there is to say of them."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from trainables.common.errors import UserError
from trainables.data.dataset import Dataset, OpenFiles, TileFile
from trainables.data.formats.mask import StoredMask, stored_mask
from trainables.data.formats.raster import no_warnings, read_pixels
from trainables.data.masks import MaskRule, class_notes, learn_rule, mask_notes
from trainables.data.pixel_notes import pixel_notes
from trainables.data.scale import fill_scale
from trainables.data.tiles import IGNORE, Tiles, TrainVal

_T = TypeVar("_T")


def decode_train_val(dataset: Dataset) -> TrainVal:
    """Decodes train and val tiles, once, in their own dtype.

    The masks are read first: what their values mean is learnt from all of them together.

    Raises:
        UserError: A file is damaged or truncated; a mask holds a value that is no class, or masks contradict each
            other; or there is nothing to learn or to judge by.
    """
    masks = {files.split: list(_stored_masks(files.tiles, dataset)) for files in (dataset.train, dataset.val)}
    both = [*masks["train"], *masks["val"]]
    rule = learn_rule(both, dataset.info)
    train, val = (decode(files, masks[files.split], dataset, rule) for files in (dataset.train, dataset.val))
    _check_data(train)
    tiles = TrainVal(dataset.info, train, val)
    tiles = fill_scale(replace(tiles, notes=(*mask_notes(both, rule), *pixel_notes(tiles))))
    return replace(tiles, notes=(*tiles.notes, *class_notes(tiles.train, tiles.val, tiles.info)))


def decode(files: OpenFiles, masks: Sequence[StoredMask], dataset: Dataset, rule: MaskRule) -> Tiles:
    """Decodes the images of an open split, whose masks were read before.

    Raises:
        UserError: An image is damaged or truncated.
        TypeError: `files` are not open to tuning.
    """
    if not isinstance(files, OpenFiles):
        raise TypeError(f"{type(files).__name__} cannot be decoded: only train and val tiles are open to tuning")
    return decode_files(files.tiles, dataset, rule, masks)


def decode_files(
    files: Sequence[TileFile], dataset: Dataset, rule: MaskRule, masks: Sequence[StoredMask] | None = None
) -> Tiles:
    """The tiles of any files: for `decode`, and for the seal.

    Args:
        files: Of the tiles.
        dataset: Which they are of.
        rule: What the values of its masks mean.
        masks: Those of the files, in their order, where they were read before.

    Raises:
        UserError: A file is damaged or truncated, or a mask holds a value that is no class.
    """
    read = list(on_all_cores(lambda tile: read_pixels(tile.image).image(dataset.num_bands, dataset.places), files))
    classes = tuple(rule.classes(mask) for mask in masks or _stored_masks(files, dataset))
    for mask, (_, missing) in zip(classes, read, strict=True):
        if missing is not None:
            mask[missing] = IGNORE
    nodata = tuple(missing for _, missing in read)
    some = any(missing is not None for missing in nodata)
    return Tiles(tuple(tile.id for tile in files), tuple(image for image, _ in read), classes, nodata if some else ())


def mask_rule(dataset: Dataset) -> MaskRule:
    """What mask values mean in this data set, learnt from its train and val masks.

    Raises:
        UserError: A mask is damaged or truncated, holds a value that is no class, or contradicts another one.
    """
    return learn_rule(_stored_masks(dataset.train.tiles + dataset.val.tiles, dataset), dataset.info)


def _stored_masks(files: Sequence[TileFile], dataset: Dataset) -> Iterator[StoredMask]:
    return on_all_cores(lambda tile: stored_mask(read_pixels(tile.mask), dataset.info), files)


def on_all_cores(read: Callable[[TileFile], _T], files: Iterable[TileFile]) -> Iterator[_T]:
    """What `read` gives of each file, in their order; the decoders let go of the interpreter's lock."""
    with no_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:  # all of them: what a thread sets, others undo
        yield from pool.map(read, files)


def _check_data(train: Tiles) -> None:
    """Refuses train tiles of which none holds any data."""
    if train.nodata and all(missing is not None and missing.all() for missing in train.nodata):
        raise UserError(
            "no pixel of the train tiles has data: all are transparent, masked or of the files' nodata value: mend the "
            "opacity (alpha), the mask or the nodata tag of the images"
        )
