"""Sums up the scores of some models: their mean, median, interquartile mean and standard deviation."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is typical of some values: `iqm` is the interquartile mean, `sd` is None for a single value."""

    n: int
    mean: float
    median: float
    iqm: float
    sd: float | None


def summarise(values: npt.ArrayLike) -> Summary:
    """Returns the count, mean, median, interquartile mean and sample standard deviation (n - 1) of some values.

    The interquartile mean leaves out the floor(n / 4) smallest and as many largest values and averages the rest, so it
    is the mean for n < 4.

    Args:
        values: (n,) finite, n >= 1.

    Raises:
        ValueError: There is no value, or one is not finite.

    Source: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021
    (`scipy.stats.trim_mean(values, 0.25)`).
    """
    sorted_values = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if sorted_values.size == 0 or not np.isfinite(sorted_values).all():
        raise ValueError(f"values are {sorted_values.tolist()}, but must be at least one and finite: drop failed ones")
    num_cut = sorted_values.size // 4
    return Summary(
        n=sorted_values.size,
        mean=float(sorted_values.mean()),
        median=float(np.median(sorted_values)),
        iqm=float(sorted_values[num_cut : sorted_values.size - num_cut].mean()),
        sd=float(sorted_values.std(ddof=1)) if sorted_values.size > 1 else None,
    )
