"""What the values of each band are like over tiles: range, mean and standard deviation, of pixels that are data."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.tiles import Tiles

_MAX_SAMPLED = 2**20
"""Pixels that percentiles are taken from at most."""
_TAIL_PERCENT = 0.1
_ROW = 256


def value_ranges(tiles: Tiles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest value per band, in stored units, each (C,) float64, without those that are far off and rare.

    A dead or hot pixel must not decide how far brightness moves all others. Far off is what lies farther outside of the
    inner 99.8 % of the pixels than these are wide, and thus at most 0.2 % of the pixels; a band of which more than that
    is one value (a rare object on a plain ground) keeps all its values. 0 and 0 where no pixel is data.
    """
    num_bands = tiles.images[0].shape[2]
    step = max(1, math.ceil(math.sqrt(sum(mask.size for mask in tiles.masks) / _MAX_SAMPLED)))
    sampled = np.concatenate([_data(tiles, index, step) for index in range(len(tiles))])
    lower, upper = np.full(num_bands, -np.inf), np.full(num_bands, np.inf)
    if len(sampled):
        # "higher" and "lower": one odd value never is the percentile, however few pixels there are
        low = np.percentile(sampled, _TAIL_PERCENT, axis=0, method="higher").astype(np.float64)
        high = np.percentile(sampled, 100 - _TAIL_PERCENT, axis=0, method="lower").astype(np.float64)
        lower = np.where(high > low, low - (high - low), -np.inf)
        upper = np.where(high > low, high + (high - low), np.inf)
    least, greatest = np.full(num_bands, np.inf), np.full(num_bands, -np.inf)
    for index in range(len(tiles)):
        values = _data(tiles, index, 1)
        if not values.size:
            continue
        low, high = extremes(values)
        for band in np.flatnonzero((low < lower) | (high > upper)):
            within = values[:, band][(values[:, band] >= lower[band]) & (values[:, band] <= upper[band])]
            low[band], high[band] = (within.min(), within.max()) if within.size else (np.inf, -np.inf)
        least, greatest = np.minimum(least, low), np.maximum(greatest, high)
    is_known = np.isfinite(least)
    return np.where(is_known, least, 0.0), np.where(is_known, greatest, 0.0)


def extremes(pixels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest value per band of (n, C) pixels, n > 0, each (C,) float64."""
    num_rows, num_bands = len(pixels) // _ROW, pixels.shape[1]
    # NumPy compares long rows several times as fast as short ones
    rows, left = pixels[: num_rows * _ROW].reshape(num_rows, _ROW * num_bands), pixels[num_rows * _ROW :]
    parts = [part for part in (rows, left) if len(part)]
    low = np.concatenate([part.min(axis=0).reshape(-1, num_bands) for part in parts]).min(axis=0)
    high = np.concatenate([part.max(axis=0).reshape(-1, num_bands) for part in parts]).max(axis=0)
    return low.astype(np.float64), high.astype(np.float64)


def band_statistics(tiles: Tiles, scale: float) -> tuple[list[float], list[float]]:
    """Mean and std per band of the scaled pixels, from every fourth pixel of every fourth row.

    The std of a band without variation is 0, and `Segmenter` shows 0 for such a band. Values other than 8-bit ones are
    kept within `value_ranges`.
    """
    mean, std = _moments(tiles, 4)
    is_flat = std == 0
    if is_flat.any():  # perhaps it varies in between
        mean, std = (np.where(is_flat, *its) for its in zip(_moments(tiles, 1), (mean, std), strict=True))
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


def _data(tiles: Tiles, index: int, step: int) -> NDArray[Any]:
    """(n, C) pixels of one tile that are data, from every `step`-th pixel of every `step`-th row."""
    values, missing = tiles.images[index][::step, ::step], tiles.missing(index)
    return values.reshape(-1, values.shape[2]) if missing is None else values[~missing[::step, ::step]]
