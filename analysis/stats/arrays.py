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
