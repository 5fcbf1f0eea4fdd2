"""What is odd about the pixels of decoded tiles, for the reader: no data, bands without variation, values far off."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.bands import value_ranges
from trainables.data.facts import TileFacts, overall_extremes
from trainables.data.tiles import Tiles, TrainVal

_USUAL_NODATA = (-9999.0, -99999.0, -32768.0, -32767.0, 65535.0)
_HUGE = 1e30
"""Floats beyond are fill values (3.4e38, 9.97e36, 1e30) and no measurement."""
_FEW_PIXELS = 10


def pixel_notes(tiles: TrainVal, train: Sequence[TileFacts], val: Sequence[TileFacts]) -> tuple[str, ...]:
    """A sentence on each thing that the reader should know, and may have to mend.

    These are pixels without data, values that look like no data but have no tag, bands that do not vary, and values far
    off all others.

    Args:
        tiles: Train and val tiles. Nothing but the bands and the type of 8-bit ones is looked at.
        train: The facts of the train tiles, of which some has data.
        val: Those of the val tiles.
    """
    if tiles.train.images[0].dtype == np.uint8:  # training keeps all of these, none of which usually means no data
        return (*_nodata_notes((*train, *val)), *_flat_notes(tiles, *overall_extremes(train)))
    low, high = value_ranges(tiles.train)
    return (
        *_nodata_notes((*train, *val)),
        *_untagged_notes(tiles, (*train, *val)),
        *_flat_notes(tiles, low, high),
        *_far_notes(tiles, train, low, high),
    )


def _nodata_notes(tiles: Sequence[TileFacts]) -> Iterator[str]:
    """Notes on how much has no data, and on tiles that have none at all."""
    lacking = sum(tile.num_missing > 0 for tile in tiles)
    if lacking:
        share = sum(tile.num_missing for tile in tiles) / sum(tile.num_pixels for tile in tiles)
        yield (
            f"{lacking} of {len(tiles)} train and val tiles have pixels without data by the "
            f"files' nodata tag, mask or opacity, {share:.1%} of all pixels: these count nowhere"
        )
    if everywhere := [tile.id for tile in tiles if not tile.has_data]:
        yield f"{', '.join(everywhere)} hold no data at all: remove them"


def _untagged_notes(tiles: TrainVal, facts: Sequence[TileFacts]) -> Iterator[str]:
    """Notes on bands whose least or greatest value usually means no data, and is far off all others in many pixels."""
    suspects = _suspects(facts, len(tiles.info.bands))
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


def _flat_notes(tiles: TrainVal, low: NDArray[np.float64], high: NDArray[np.float64]) -> Iterator[str]:
    """Notes on bands that do not vary: their least value (C,) is their greatest one."""
    for name, least, greatest in zip(tiles.info.bands, low, high, strict=True):
        if least == greatest:
            yield f"{name} is {least:g} all over the train tiles: it is 0 for the model, which learns from the others"


def _far_notes(
    tiles: TrainVal, facts: Sequence[TileFacts], low: NDArray[np.float64], high: NDArray[np.float64]
) -> Iterator[str]:
    """Notes on bands with values outside of `value_ranges`, which are (C,) each."""
    far: list[list[float]] = [[] for _ in tiles.info.bands]
    with_data = (tile for tile in facts if tile.has_data)
    for pixels, tile in zip(_data(tiles.train), with_data, strict=True):
        least, greatest = tile.extremes
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


def _suspects(tiles: Sequence[TileFacts], num_bands: int) -> list[set[float]]:
    """Per band, the extremes of single tiles that usually mean no data."""
    found: list[set[float]] = [set() for _ in range(num_bands)]
    for tile in tiles:
        for values in tile.extremes:
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
