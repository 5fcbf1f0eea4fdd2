"""Says what trying one more configuration would bring: the best so far as observed, and the best of n as expected."""

import numpy as np
import numpy.typing as npt

from analysis.stats.arrays import FloatArray


def best_so_far(values: npt.ArrayLike) -> FloatArray:
    """Returns the highest value up to and including each place.

    Args:
        values: (n,) in the order in which they came, NaN where a trial has none.

    Returns:
        (n,) non-decreasing; NaN only before the first value.
    """
    return np.fmax.accumulate(np.asarray(values, dtype=np.float64))


def expected_best(values: npt.ArrayLike, num_trials: int | None = None) -> FloatArray:
    """Returns the expected best of 1, 2, ... trials drawn with replacement from those that were run.

    It holds only for random search without early stopping: there the trials are independent draws, whose order means
    nothing. A sampler that learns, or trials that were stopped early, have no such curve: show `best_so_far`. Near its
    right end it lies below the truth, since it knows nothing better than the best trial.

    Args:
        values: (n,) finite, one per trial, n >= 1; diverged trials count with their worst value.
        num_trials: Length of the curve, between 1 and n; n where it is None.

    Returns:
        (num_trials,) non-decreasing: the mean of the values first, and never above the largest.

    Raises:
        ValueError: A value is not finite, or `num_trials` is out of bounds.

    Source: Dodge et al., Show Your Work: Improved Reporting of Experimental Results, EMNLP 2019, section 3; its bias:
    Dodge et al., Expected Validation Performance and Estimation of a Random Variable's Maximum, Findings of EMNLP 2021.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if ordered.size == 0 or not np.isfinite(ordered).all():
        raise ValueError(f"values are {ordered.tolist()}, but must be at least one and finite: give failed trials 0")
    length = ordered.size if num_trials is None else num_trials
    if not 1 <= length <= ordered.size:
        raise ValueError(
            f"num_trials is {num_trials}, but must be between 1 and the {ordered.size} trials that were run"
        )
    # The equation, summed by parts so that rounding can neither lower the curve nor lift it above the best:
    # E[max of n] = v_(N) - sum over i < N of (v_(i+1) - v_(i)) (i / N)^n.
    gaps, share_below = np.diff(ordered), np.arange(1, ordered.size) / ordered.size
    curve, all_below = np.empty(length), np.ones(ordered.size - 1)
    for place in range(length):
        all_below *= share_below
        curve[place] = ordered[-1] - gaps @ all_below
    return curve
