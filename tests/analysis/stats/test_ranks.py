"""Checks improvement probabilities against scipy, ranks by hand and by law, and what lies below the leader."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.stats import bootstrap as stats
from analysis.stats import ranks

COARSE = st.integers(0, 4).map(lambda number: number / 4)  # many ties


@given(arrays(float, (3, 4), elements=COARSE), arrays(float, (5, 4), elements=COARSE))
def test_improvement_is_the_mann_whitney_statistic_of_each_tile(a, b):
    found = ranks.probability_of_improvement(a, b)
    peers = [scipy.stats.mannwhitneyu(a[:, tile], b[:, tile]).statistic / 15 for tile in range(4)]
    assert found == pytest.approx(np.mean(peers))
    assert found + ranks.probability_of_improvement(b, a) == pytest.approx(1)


def test_improvement_by_hand_with_missing_models_and_tiles():
    a = np.array([[0.9, 0.5, np.nan], [0.1, np.nan, np.nan]])
    b = np.array([[0.5, 0.5, 0.5]])
    assert ranks.probability_of_improvement(a, b) == (1 / 2 + 1 / 2) / 2
    assert ranks.probability_of_improvement(a[:, 2:], b[:, 2:]) is None


def test_ranks_by_hand():
    replicates = np.array([[0.9, 0.5, 0.5], [0.9, 0.9, 0.1], [0.2, 0.8, 0.1], [0.7, 0.6, 0.5]])
    first, second, third = ranks.ranks(replicates)
    assert (first.mean, second.mean, third.mean) == (
        (1 + 1.5 + 2 + 1) / 4,
        (2.5 + 1.5 + 1 + 2) / 4,
        (2.5 + 3 + 3 + 3) / 4,
    )
    assert (first.best, second.best, third.best) == (2.5 / 4, 1.5 / 4, 0)
    assert (first.interval, second.interval, third.interval) == ((1, 2), (1, 2.5), (2.5, 3))


@given(arrays(float, st.tuples(st.integers(1, 20), st.integers(1, 6)), elements=COARSE))
def test_ranks_add_up(replicates):
    num_arms = replicates.shape[1]
    found = ranks.ranks(replicates)
    assert sum(rank.mean for rank in found) == pytest.approx(num_arms * (num_arms + 1) / 2)
    assert sum(rank.best for rank in found) == pytest.approx(1)
    assert all(1 <= rank.interval[0] <= rank.interval[1] <= num_arms for rank in found)


def test_equal_arms_share_rank_and_first_place():
    scores = np.random.default_rng(0).uniform(size=(1, 3, 7)).repeat(3, axis=0)
    replicates = stats.bootstrap_means(scores, [np.arange(3)], np.arange(7))
    assert [(rank.mean, rank.interval) for rank in ranks.ranks(replicates)] == [(2, (2, 2))] * 3
    assert [rank.best for rank in ranks.ranks(replicates)] == pytest.approx([1 / 3] * 3)


def test_what_differs_by_rounding_is_a_tie():
    first, second = ranks.ranks(np.array([[0.1 + 0.2, 0.3]]))
    assert first == second == ranks.Rank(mean=1.5, interval=(1.5, 1.5), best=0.5)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ((0.04, 0.05, 0.001), (True, True, True)),  # each by itself: the leader is the clear winner
        ((0.001, 0.03, 0.2), (True, True, False)),  # one is left open, so Holm decides: .0005 × 3, .015 × 2, .1
        ((0.001, 0.06, 0.2), (True, False, False)),  # .03 × 2
        ((0.04, 0.06, 0.001), (True, False, True)),  # .04, .04, .0015: the nearest stays, or it would be a winner
        ((0.052, 0.06), (False, False)),
        ((0.09,), (False,)),
        ((1.0,), (False,)),
        ((), ()),  # alone there is nothing to lie below
    ],
)
def test_below_leader_is_what_differs_each_by_itself_or_else_by_holm(p_values, expected):
    assert ranks.below_leader(p_values) == expected
