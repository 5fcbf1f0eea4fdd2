"""Checks the observed and the expected best of n trials: by hand, by enumeration and by simulation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.stats.best_of_n import best_so_far, expected_best

SCORES = st.floats(0, 1, allow_subnormal=False)


def test_best_so_far_ignores_trials_without_a_value():
    missing = np.nan
    assert best_so_far([missing, 0.3, missing, 0.2, 0.5, 0.4]) == pytest.approx(
        [missing, 0.3, 0.3, 0.3, 0.5, 0.5], nan_ok=True
    )
    assert best_so_far([]).shape == (0,)


def test_expected_best_by_hand():
    # Of two draws from {0, .5, 1}, 1 of 9 pairs has 0 as its best, 3 have .5, 5 have 1.
    assert expected_best([1.0, 0.0, 0.5], 2) == pytest.approx([0.5, (3 * 0.5 + 5) / 9])
    assert expected_best([0.7]) == pytest.approx([0.7])


@given(st.lists(SCORES, min_size=1, max_size=4))
def test_expected_best_is_the_mean_over_all_samples(values):
    brute = [np.mean([max(draws) for draws in product(values, repeat=n + 1)]) for n in range(len(values))]
    assert expected_best(values) == pytest.approx(brute)


@given(st.lists(SCORES, min_size=1, max_size=60))
def test_expected_best_rises_from_the_mean_to_below_the_best(values):
    curve = expected_best(values)
    assert curve[0] == pytest.approx(np.mean(values))
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] <= max(values)


def test_expected_best_agrees_with_simulation():
    # 20,000 samples of 10: the mean of their maxima has a standard error s; five of them are allowed (1 in 2 million).
    rng = np.random.default_rng(6)
    values = rng.beta(5, 2, 30)
    maxima = rng.choice(values, (20_000, 10)).max(axis=1)
    assert expected_best(values, 10)[-1] == pytest.approx(maxima.mean(), abs=5 * maxima.std() / np.sqrt(20_000))


@pytest.mark.parametrize("values", [[], [0.5, np.nan]])
def test_expected_best_refuses_missing_values(values):
    with pytest.raises(ValueError, match="at least one and finite"):
        expected_best(values)


@pytest.mark.parametrize("num_trials", [0, 3])
def test_expected_best_refuses_to_extrapolate(num_trials):
    with pytest.raises(ValueError, match="must be between 1 and the 2 trials"):
        expected_best([0.1, 0.2], num_trials)
