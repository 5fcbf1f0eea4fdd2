"""What is odd about the pixels of decoded tiles, for the reader: no data, bands without variation, values far off."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.bands import extremes, value_ranges
from trainables.data.tiles import Tiles, TrainVal

_USUAL_NODATA = (-9999.0, -99999.0, -32768.0, -32767.0, 65535.0)
_HUGE = 1e30
"""Floats beyond are fill values (3.4e38, 9.97e36, 1e30) and no measurement."""
_FEW_PIXELS = 10


def pixel_notes(tiles: TrainVal) -> tuple[str, ...]:
    """A sentence on each thing that the reader should know, and may have to mend.

    These are pixels without data, values that look like no data but have no tag, bands that do not vary, and values far
    off all others.
    """
    return (*_nodata_notes(tiles), *_untagged_notes(tiles), *_range_notes(tiles))


def _nodata_notes(tiles: TrainVal) -> Iterator[str]:
    """Notes on how much has no data, and on tiles that have none at all."""
    everywhere, lacking, num_missing, num_pixels = [], 0, 0, 0
    for part in (tiles.train, tiles.val):
        num_pixels += sum(mask.size for mask in part.masks)
        for tile_id, missing in zip(part.ids, part.nodata, strict=False):
            if missing is not None:
                lacking += 1
                num_missing += int(missing.sum())
                everywhere += [tile_id] if missing.all() else []
    if lacking:
        yield (
            f"{lacking} of {len(tiles.train) + len(tiles.val)} train and val tiles have pixels without data by the "
            f"files' nodata tag, mask or opacity, {num_missing / num_pixels:.1%} of all pixels: these count nowhere"
        )
    if everywhere:
        yield f"{', '.join(everywhere)} hold no data at all: remove them"


def _untagged_notes(tiles: TrainVal) -> Iterator[str]:
    """Notes on bands whose least or greatest value usually means no data, and is far off all others in many pixels."""
    suspects = _suspects(tiles)
    for band, name in enumerate(tiles.info.bands):
        for value in sorted(suspects[band]):
            count, num_tiles, low, high = 0, 0, np.inf, -np.inf
            for values in (pixels[:, band] for pixels in _data(tiles.train, tiles.val)):
                others = values[values != values.dtype.type(value)]
                count += values.size - others.size
                num_tiles += others.size < values.size
                if others.size:
                    low, high = min(low, float(others.min())), max(high, float(others.max()))
            gap = max(low - value, value - high)
            if count > _FEW_PIXELS and high >= low and gap > high - low:
                yield (
                    f"{name} is {value:g} in {count} pixels of {num_tiles} train and val tiles and {low:g} to {high:g} "
                    f"in all others: if {value:g} means no data, tag it in the files (rio edit-info --nodata "
                    f"{value:g} FILE), or it is trained on as a measurement"
                )


def _range_notes(tiles: TrainVal) -> Iterator[str]:
    """Notes on bands that do not vary, and on those with values that `value_ranges` leaves out."""
    low, high = value_ranges(tiles.train)
    for name, least, greatest in zip(tiles.info.bands, low, high, strict=True):
        if least == greatest:
            yield f"{name} is {least:g} all over the train tiles: it is 0 for the model, which learns from the others"
    if tiles.train.images[0].dtype == np.uint8:  # training keeps all of these
        return
    far: list[list[float]] = [[] for _ in tiles.info.bands]
    for pixels in _data(tiles.train):
        least, greatest = extremes(pixels)
        for band in np.flatnonzero((least < low) | (greatest > high)):
            values = pixels[:, band]
            far[band] += values[(values < low[band]) | (values > high[band])].tolist()
    for name, found, first, last in zip(tiles.info.bands, far, low, high, strict=True):
        if found:
            extent = f"{min(found):g}" if min(found) == max(found) else f"{min(found):g} to {max(found):g}"
            yield (
                f"{name} is {first:g} to {last:g} in the train tiles but for {len(found)} "
                f"pixel{'s' * (len(found) > 1)} far off ({extent}): training takes the nearest value within"
            )


def _suspects(tiles: TrainVal) -> list[set[float]]:
    """Per band, the extremes of single tiles that usually mean no data."""
    found: list[set[float]] = [set() for _ in tiles.info.bands]
    if tiles.train.images[0].dtype == np.uint8:
        return found
    for pixels in _data(tiles.train, tiles.val):
        for values in extremes(pixels):
            for band, value in enumerate(values.tolist()):
                if value in _USUAL_NODATA or abs(value) >= _HUGE:
                    found[band].add(value)
    return found


def _data(*parts: Tiles) -> Iterator[NDArray[Any]]:
    """(n, C) pixels that are data, of each tile that has any."""
    for part in parts:
        for index, image in enumerate(part.images):
            missing = part.missing(index)
            pixels = image.reshape(-1, image.shape[2]) if missing is None else image[~missing]
            if len(pixels):
                yield pixels
