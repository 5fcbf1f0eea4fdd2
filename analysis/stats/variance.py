"""Splits the variance of scores into where it comes from: tile subset and seed (crossed), or arm and seed (nested)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.arrays import FloatArray, complete_part
from analysis.stats.crossed import components, mean_squares


@dataclass(frozen=True, kw_only=True)
class CrossedVariance:
    """Variance components of tile subset x seed; negative estimates are set to zero.

    Attributes:
        subset: Between tile subsets, in squared units of the score.
        seed: Between seeds.
        residual: What neither explains, their interaction included.
        num_subsets: Of the complete part that was used.
        num_seeds: Of the same.
    """

    subset: float
    seed: float
    residual: float
    num_subsets: int
    num_seeds: int


def crossed_variance(table: FloatArray) -> CrossedVariance | None:
    """Returns the components of a two-way crossed random effects model with one score per cell (`stats.crossed`).

    Where cells are missing, it is of the complete part (`stats.arrays.complete_part`).

    Args:
        table: (S, K) mean scores of S tile subsets and K seeds; NaN where there is none. All subsets stem from one pool
            of tiles and overlap, so `subset` is about draws from this pool, and is too small for tiles never seen.

    Returns:
        None with fewer than two complete rows or columns.
    """
    complete = complete_part(np.asarray(table, dtype=np.float64))
    num_subsets, num_seeds = complete.shape
    if min(num_subsets, num_seeds) < 2:
        return None
    found = components(mean_squares(complete, 2), complete.shape)
    return CrossedVariance(
        subset=float(found[0,]),
        seed=float(found[1,]),
        residual=float(found[0, 1]),
        num_subsets=num_subsets,
        num_seeds=num_seeds,
    )


@dataclass(frozen=True, kw_only=True)
class NestedVariance:
    """Variance components of groups with replicates in each, e.g. configurations with seeds.

    Attributes:
        between: Of the groups' true means, in squared units of the score, zero where the estimate is negative; None for
            a single group.
        within: Pooled over the groups.
        within_sd: Its square root, in units of the score.
        num_groups: Groups with a score.
        num_scores: Scores in all of them.
    """

    between: float | None
    within: float
    within_sd: float
    num_groups: int
    num_scores: int


def nested_variance(groups: Sequence[FloatArray]) -> NestedVariance | None:
    """Returns the components of a one-way random effects model, which may be unbalanced, by mean squares.

    With one group it is the plain sample variance over its seeds.

    Args:
        groups: Each (n_i,), the scores of a group (an arm, a configuration) over its seeds; NaN is left out.

    Returns:
        None where no group has two scores, since nothing then tells what happens within.

    Source: Searle, Casella and McCulloch, Variance Components, Wiley 1992, chapter 3 (one-way, ANOVA estimators).
    """
    values = [array[np.isfinite(array)] for array in map(np.asarray, groups)]
    values = [array for array in values if array.size]
    sizes = np.array([array.size for array in values], dtype=np.float64)
    num_scores, num_groups = int(sizes.sum()), len(values)
    if num_scores <= num_groups:
        return None
    within = sum(float(((array - array.mean()) ** 2).sum()) for array in values) / (num_scores - num_groups)
    return NestedVariance(
        between=_between(values, sizes, within) if num_groups > 1 else None,
        within=within,
        within_sd=math.sqrt(within),
        num_groups=num_groups,
        num_scores=num_scores,
    )


def _between(values: Sequence[FloatArray], sizes: FloatArray, within: float) -> float:
    means = np.array([array.mean() for array in values])
    deviations = means - np.average(means, weights=sizes)
    mean_square = float((sizes * deviations**2).sum()) / (len(values) - 1)
    typical_size = float(sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(values) - 1)
    return max(0.0, (mean_square - within) / typical_size)
