"""The scale of pixels of wide whole numbers, which only the pixels tell: from stored values to the model's floats."""

from dataclasses import replace

import numpy as np

from trainables.data.bands import value_ranges
from trainables.data.tiles import Tiles, TrainVal, is_rgb

SCALED_BY_TYPE = ("uint8", "int8", "uint16")
"""Whole numbers whose type says what their full scale is; that of wider ones says nothing of the values in it."""


def fill_scale(tiles: TrainVal) -> TrainVal:
    """The same with a scale where it has none, and with a note on it; RGB of 8-bit values becomes 8-bit."""
    if tiles.info.scale is not None:
        return tiles
    dtype = tiles.train.images[0].dtype
    if is_rgb(tiles.info.bands) and _is_8_bit(tiles):
        note = f"the pixels are {dtype}, but all are 0 to 255: they are taken as 8-bit RGB"
        scale = 1 / 255
        tiles = replace(tiles, train=_in_8_bits(tiles.train), val=_in_8_bits(tiles.val))
    else:
        greatest = float(np.abs(value_ranges(tiles.train)).max()) or 1.0
        note = (
            f"the pixels are {dtype}, which says nothing of their range: they are divided by {greatest:g}, the "
            'greatest value of the train tiles (write "scale" into dataset.json for another factor)'
        )
        scale = 1 / greatest
    return replace(tiles, info=tiles.info.model_copy(update={"scale": scale}), notes=(*tiles.notes, note))


def _is_8_bit(tiles: TrainVal) -> bool:
    return all(image.min() >= 0 and image.max() <= 255 for image in (*tiles.train.images, *tiles.val.images))


def _in_8_bits(tiles: Tiles) -> Tiles:
    return replace(tiles, images=tuple(image.astype(np.uint8) for image in tiles.images))
