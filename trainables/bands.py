"""What the values of each band are like over tiles: range, mean and standard deviation, of pixels that are data."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.tiles import Tiles

_MAX_SAMPLED = 2**22
"""Pixels of a band that percentiles are taken from at most: 32 MiB of them."""
_TAIL_PERCENT = 0.1


def value_ranges(tiles: Tiles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest value per band, in stored units, each (C,) float64, without those that are far off and rare.

    A dead or hot pixel must not decide how far brightness moves all others. Far off is what lies farther outside of the
    inner 99.8 % of the pixels than these are wide, and thus at most 0.2 % of the pixels; a band of which more than that
    is one value (a rare object on a plain ground) keeps all its values. 0 and 0 where no pixel is data.
    """
    num_bands = tiles.images[0].shape[2]
    step = max(1, math.ceil(math.sqrt(sum(mask.size for mask in tiles.masks) / _MAX_SAMPLED)))
    lower, upper = np.full(num_bands, -np.inf), np.full(num_bands, np.inf)
    for band in range(num_bands):
        sampled = np.concatenate([_data(tiles, i, step, band) for i in range(len(tiles))])
        if not sampled.size:
            continue
        # "higher" and "lower": one odd value never is the percentile, however few pixels there are
        low = float(np.percentile(sampled, _TAIL_PERCENT, method="higher"))
        high = float(np.percentile(sampled, 100 - _TAIL_PERCENT, method="lower"))
        if high > low:
            lower[band], upper[band] = low - (high - low), high + (high - low)
    least, greatest = np.full(num_bands, np.inf), np.full(num_bands, -np.inf)
    for index in range(len(tiles)):
        for band in range(num_bands):
            values = _data(tiles, index, 1, band)
            if not values.size:
                continue
            if values.min() < lower[band] or values.max() > upper[band]:
                values = values[(values >= lower[band]) & (values <= upper[band])]
            if values.size:
                least[band] = min(least[band], float(values.min()))
                greatest[band] = max(greatest[band], float(values.max()))
    is_known = np.isfinite(least)
    return np.where(is_known, least, 0.0), np.where(is_known, greatest, 0.0)


def band_statistics(tiles: Tiles, scale: float) -> tuple[list[float], list[float]]:
    """Mean and std per band of the scaled pixels, from every fourth pixel of every fourth row.

    The std of a band without variation is 0, and `Segmenter` shows 0 for such a band. Values other than 8-bit ones are
    kept within `value_ranges`.
    """
    mean, std = _moments(tiles, 4)
    if (std == 0).any():  # perhaps it varies in between
        mean, std = _moments(tiles, 1)
    return (mean * scale).tolist(), (std * scale).tolist()


def _moments(tiles: Tiles, step: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and std per band in stored units, tile by tile: memory for all pixels at once is not needed."""
    limits = None if tiles.images[0].dtype == np.uint8 else value_ranges(tiles)
    num_bands = tiles.images[0].shape[2]

    def pixels(index: int) -> NDArray[np.float64]:
        values = _data(tiles, index, step).astype(np.float64)
        return values if limits is None else np.clip(values, *limits)

    count = sum(len(_data(tiles, index, step)) for index in range(len(tiles)))
    if not count:
        return np.zeros(num_bands), np.zeros(num_bands)
    # The sum so far is the first row of the next: the additions of one sum over all rows, in their order
    total = np.zeros((1, num_bands))
    for index in range(len(tiles)):
        total = np.concatenate([total, pixels(index)]).sum(axis=0, keepdims=True)
    mean = total[0] / count
    squares = np.zeros((1, num_bands))
    for index in range(len(tiles)):
        squares = np.concatenate([squares, (pixels(index) - mean) ** 2]).sum(axis=0, keepdims=True)
    std = np.sqrt(squares[0] / count)
    # Floats that are equal but for rounding do not vary either
    return mean, np.where(std > 1e-6 * np.abs(mean), std, 0.0)


def _data(tiles: Tiles, index: int, step: int, band: int | slice = slice(None)) -> NDArray[Any]:
    """(n,) or (n, C) pixels of one tile that are data, from every `step`-th pixel of every `step`-th row."""
    values, missing = tiles.images[index][::step, ::step, band], tiles.missing(index)
    if missing is not None:
        return values[~missing[::step, ::step]]
    return values.reshape(-1, *values.shape[2:])
