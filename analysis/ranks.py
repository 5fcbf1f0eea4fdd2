"""Orders arms: how probable it is that one beats another, which rank each has, and whether there is a winner at all."""

from dataclasses import dataclass

import numpy as np
import scipy.stats

from analysis.stats import LEVEL, FloatArray, has_interval, interval

WINNER_PROBABILITY = 0.95
_DECIMALS = 12  # of scores around 1: what differs less is equal but for rounding


def probability_of_improvement(a: FloatArray, b: FloatArray) -> float | None:
    """Returns how probably a model of `a` beats one of `b` on the same tile, averaged over tiles; a tie counts half.

    Args:
        a: (M, T) scores; NaN where there is none.
        b: (N, T) scores on the same tiles; its models need not be paired with those of `a`.

    Returns:
        In [0, 1]; None where no tile has a score of both.

    Source: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021 (with
    tiles as tasks): the Mann-Whitney U statistic of each tile over its number of pairs.
    """
    first, second = np.asarray(a, dtype=np.float64)[:, None], np.asarray(b, dtype=np.float64)[None]
    num_pairs = (np.isfinite(first) & np.isfinite(second)).sum(axis=(0, 1))
    num_won = (first > second).sum(axis=(0, 1)) + 0.5 * (first == second).sum(axis=(0, 1))
    tiles = num_pairs > 0
    return float((num_won[tiles] / num_pairs[tiles]).mean()) if tiles.any() else None


@dataclass(frozen=True, kw_only=True)
class Rank:
    """Where an arm stands among all: 1 is the best, and equal arms share the mean of their places.

    Attributes:
        mean: Over the bootstrap replicates.
        interval: Percentile interval, rounded outwards to ranks that occurred.
        best: The probability of being the best, in [0, 1]; arms that are best together share it.
    """

    mean: float
    interval: tuple[float, float]
    best: float


def ranks(replicates: FloatArray, level: float = LEVEL) -> list[Rank]:
    """Returns the rank of every arm with its uncertainty; the highest score is the best.

    Args:
        replicates: (B, A) finite, mean score of every arm in each replicate (`stats.bootstrap_means`).
        level: Of the interval, in (0, 1).
    """
    rounded = np.round(replicates, _DECIMALS)
    by_replicate = scipy.stats.rankdata(-rounded, method="average", axis=1)
    is_best = rounded == rounded.max(axis=1, keepdims=True)
    best = (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0)
    low = np.quantile(by_replicate, (1 - level) / 2, axis=0, method="lower")
    high = np.quantile(by_replicate, (1 + level) / 2, axis=0, method="higher")
    return [
        Rank(mean=float(mean), interval=(float(low[arm]), float(high[arm])), best=float(best[arm]))
        for arm, mean in enumerate(by_replicate.mean(axis=0))
    ]


def clear_winner(replicates: FloatArray, *, num_models: int, num_groups: int) -> int | None:
    """Returns the place of the arm that wins clearly, or None, which is to be said plainly.

    An arm wins clearly when it is the best with a probability of at least 95 % (against all others at once, so there
    is nothing left to correct for their number) and the 95 % interval of its difference to every other arm lies above
    zero (so no single rival is left open). With one model per arm or one tile group nobody wins: what was not varied
    could turn the order round. With fewer than `stats.MIN_GROUPS` groups a winner still is one by a margin that is
    drawn too narrow, and the text beside it has to say so.

    Args:
        replicates: (B, A) finite, paired over arms (`stats.bootstrap_means`).
        num_models: Of the arm with the fewest.
        num_groups: Tile groups.
    """
    num_arms = replicates.shape[1]
    if num_arms < 2 or not has_interval(num_models, num_groups):
        return None
    best = [rank.best for rank in ranks(replicates)]
    leader = int(np.argmax(best))
    others = [arm for arm in range(num_arms) if arm != leader]
    is_above_all = all(interval(replicates[:, leader] - replicates[:, arm])[0] > 0 for arm in others)
    return leader if best[leader] >= WINNER_PROBABILITY and is_above_all else None
