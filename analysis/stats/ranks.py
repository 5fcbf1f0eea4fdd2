"""Orders arms: how probable it is that one beats another, which rank each has, and whether there is a winner at all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.arrays import FloatArray
from analysis.stats.contrasts import holm
from analysis.stats.crossed import LEVEL

_ALPHA = 1 - LEVEL
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


def order_agreement(first: FloatArray, second: FloatArray) -> float | None:
    """Returns how far two orders of the same arms agree: Kendall's tau-b, 1 for the same, -1 for the opposite order.

    Args:
        first: (A,) finite scores of two arms or more.
        second: (A,) their scores elsewhere.

    Returns:
        None where all arms are equal in one of them.

    Source: Kendall, The Treatment of Ties in Ranking Problems, Biometrika 33(3), 1945.
    """
    from scipy.stats import kendalltau  # here: scipy.stats takes a second to import

    tau = float(kendalltau(np.round(first, _DECIMALS), np.round(second, _DECIMALS)).statistic)
    return None if math.isnan(tau) else tau


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
        replicates: (B, A) finite, mean score of every arm in each replicate (`stats.bootstrap.bootstrap_means`).
        level: Of the interval, in (0, 1).
    """
    rounded = np.round(replicates, _DECIMALS)
    mine, others = rounded[:, :, None], rounded[:, None, :]  # equal ones share the mean of their places
    by_replicate = (others > mine).sum(axis=2) + ((others == mine).sum(axis=2) + 1) / 2
    is_best = rounded == rounded.max(axis=1, keepdims=True)
    best = (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0)
    low = np.quantile(by_replicate, (1 - level) / 2, axis=0, method="lower")
    high = np.quantile(by_replicate, (1 + level) / 2, axis=0, method="higher")
    return [
        Rank(mean=float(mean), interval=(float(low[arm]), float(high[arm])), best=float(best[arm]))
        for arm, mean in enumerate(by_replicate.mean(axis=0))
    ]


def below_leader(p_values: Sequence[float], alpha: float = _ALPHA) -> tuple[bool, ...]:
    """Returns which arms lie below the leader by more than chance; where all do, the leader is the clear winner.

    The leader is not fixed beforehand but the arm with the highest mean, which favours it. Two rules hold all the same:

    - All others are below it where each differs from it at the level of 5 % by itself. With all arms equal, one must
      beat all others at once for that: no correction for their number is needed, but the two-sided p-value is, since
      any arm may lead.
    - Otherwise those are below it that differ one-sidedly by Holm's correction for all of them, but for the nearest.
      This says which arms can be ruled out as the best: the truly best one is among these in less than 5 % of studies.
      Where several arms are equally good, some of them may be ruled out more often than that.

    In simulated studies of two equal arms, which is the worst case, one was called the winner in 0 to 5 %, and of three
    equal arms in at most 1.4 %. The best of three, four or ten equal arms was ruled out in at most 4.8 %.

    Args:
        p_values: Of each other arm, two-sided and in [0, 1]; 1 where it is not below the leader, or nothing is known.
        alpha: The level, 5 % unless it is asked several times.

    Sources: Gutmann and Maymin, Is the Selected Population the Best?, Annals of Statistics 15(1), 1987, and Hung and
    Fithian, Rank Verification for Exponential Families, Annals of Statistics 47(2), 2019 (the first rule); Hsu,
    Constrained Simultaneous Confidence Intervals for Multiple Comparisons with the Best, Annals of Statistics 12(3),
    1984 (the second, with Holm in place of Dunnett, since each difference has an error of its own); the simulation is
    ours (`tests/analysis/stats/test_comparison_odds.py`).
    """
    if all(p <= alpha for p in p_values):
        return (True,) * len(p_values)
    ruled_out = [p <= alpha for p in holm([p / 2 for p in p_values])]
    if all(ruled_out):  # which makes no clear winner
        ruled_out[p_values.index(max(p_values))] = False
    return tuple(ruled_out)
