"""The types of the arrays that scores travel in, and how they are divided."""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]


def ratio(part: FloatArray, whole: npt.NDArray[Any]) -> FloatArray:
    """Returns part / whole, NaN where the whole is 0; all of one shape."""
    quotient: FloatArray = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return quotient


def complete_part(table: FloatArray) -> FloatArray:
    """Returns a table of any number of axes without missing (NaN) cells.

    The level (row, column, ...) with the largest share of missing ones is left out, again and again, until the rest is
    complete: simple, and not always the largest complete part.
    """
    while table.size and (is_missing := ~np.isfinite(table)).any():
        shares = [
            is_missing.mean(axis=tuple(other for other in range(table.ndim) if other != axis))
            for axis in range(table.ndim)
        ]
        worst = max(range(table.ndim), key=lambda axis: float(shares[axis].max()))  # the first of equal ones
        table = np.delete(table, int(shares[worst].argmax()), axis=worst)
    return table
