"""Checks improvement probabilities against scipy, ranks by hand and by law, and when there is a clear winner."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import ranks, stats

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
    assert ranks.clear_winner(replicates, num_models=3, num_groups=7) is None


def test_what_differs_by_rounding_is_a_tie():
    first, second = ranks.ranks(np.array([[0.1 + 0.2, 0.3]]))
    assert first == second == ranks.Rank(mean=1.5, interval=(1.5, 1.5), best=0.5)


def _replicates(*lead_shares):
    """(1000, 1 + n) replicates where arm 0 is above arm i in the given share of them."""
    places = np.arange(1000) / 1000
    rivals = [np.where(places < share, -0.1, 0.1) for share in lead_shares]
    return np.stack([np.zeros(1000), *rivals], axis=1)


@pytest.mark.parametrize(
    ("lead_shares", "winner"),
    [
        ((1.0, 1.0), 0),
        ((0.98,), 0),
        ((0.96,), None),  # the best with 96 %, but the interval of the difference reaches below zero
        ((0.5,), None),
        ((0.0,), 1),
        ((), None),  # alone there is nothing to win
    ],
)
def test_clear_winner(lead_shares, winner):
    assert ranks.clear_winner(_replicates(*lead_shares), num_models=5, num_groups=12) == winner


def test_clear_winner_has_to_beat_all_others_together():
    rng = np.random.default_rng(1)
    replicates = np.concatenate([np.zeros((5000, 1)), rng.normal(-2.2, 1, (5000, 6))], axis=1)
    assert all(ranks.clear_winner(replicates[:, [0, arm]], num_models=5, num_groups=12) == 0 for arm in range(1, 7))
    assert ranks.clear_winner(replicates, num_models=5, num_groups=12) is None


@pytest.mark.parametrize(("num_models", "num_groups"), [(1, 12), (5, 1)])
def test_nobody_wins_where_nothing_was_varied(num_models, num_groups):
    assert ranks.clear_winner(_replicates(1.0), num_models=num_models, num_groups=num_groups) is None
