"""Says which arms need more seeds: those that the seeds so far do not tell from the leader.

The rule of `--seeds auto`: after which seeds it looks, what it spends on a look, and who stays in the running.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from analysis.stats.arrays import FloatArray, IntArray
from analysis.stats.crossed import LEVEL, estimate
from analysis.stats.ranks import below_leader

STEP = 2
"""Seeds that an undecided arm gets at a time."""


def needed_seeds(
    scores: FloatArray,
    factors: Sequence[IntArray],
    groups: IntArray,
    num_trained: Sequence[int],
    *,
    first: int,
    most: int,
) -> list[int]:
    """Returns how many seeds each arm needs, from `first` to `most`, as far as its models can say.

    After the first seeds and after each `STEP` of more, the arm with the highest mean is compared with all others that
    are still in the running (`stats.ranks.below_leader`). An arm that lies below it by more than chance is out, and
    gets no more seeds. Nor does the leader once it is alone. The level of 5 % is spent on these looks in equal parts,
    so that all of their errors together stay at 5 %, however they depend on each other (Bonferroni). A look uses the
    first seeds alone: its result stays the same when there are more.

    Args:
        scores: (A, M, T), NaN where an arm lacks a model, or a model a tile.
        factors: The levels of the models in each factor, (M,) each; the last is their seed, from 0.
        groups: (T,) the place of every tile; of one place alone, no arm can be out.
        num_trained: How many seeds of each arm are trained and scored.
        first: The seeds that every arm has, two or more.
        most: The most that an arm may get, more than that.

    Sources: Lan and DeMets, Discrete Sequential Boundaries for Clinical Trials, Biometrika 70(3), 1983 (error spent
    look by look); the odds are simulated in `tests/analysis/stats/test_sequential.py`.
    """
    counts = [*range(first, most, STEP), most]
    alpha = (1 - LEVEL) / (len(counts) - 1)
    needed, running = [counts[0]] * len(scores), list(range(len(scores)))
    for count, more in itertools.pairwise(counts):
        if any(num_trained[arm] < count for arm in running):
            break  # the look needs these models
        running = _undecided(scores[:, factors[-1] < count], running, factors, groups, alpha)
        for arm in running:
            needed[arm] = more
    return needed


def _undecided(
    scores: FloatArray, arms: list[int], factors: Sequence[IntArray], groups: IntArray, alpha: float
) -> list[int]:
    """The leader with those arms that are not below it; none where all are."""
    known = [arm for arm in arms if np.isfinite(scores[arm]).any()]
    if len(known) < 2:
        return []
    leader = max(known, key=lambda arm: float(np.nanmean(scores[arm])))
    others = [arm for arm in known if arm != leader]
    levels = [its[: scores.shape[1]] for its in factors]
    found = [estimate(scores[leader] - scores[arm], levels, groups) for arm in others]
    p_values = [1.0 if its is None or its.mean <= 0 else its.p for its in found]
    is_below = below_leader(p_values, alpha)
    undecided = [arm for arm, is_its in zip(others, is_below, strict=True) if not is_its]
    return [leader, *undecided] if undecided else []
