"""What a selection scores on folds that had no say in it, worked out by hand and in simulated studies."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.stats.nested import nested_mean

NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "folds", "expected"),
    [
        # Without its own best tile the first is second; without the others it is first
        ([[0.9, 0.3, 0.4], [0.2, 0.5, 0.6]], [0, 1, 2], (0.2 + 0.3 + 0.4) / 3),
        # Always the first one: a clear best promises nothing too much
        ([[0.9, 0.8, 0.7], [0.2, 0.1, 0.0]], [0, 1, 2], 0.8),
        # Fold 0 has two tiles, which count by themselves, as in the mean that selects
        ([[0.8, 0.6, 0.5, 0.1], [0.0, 0.2, 0.4, 0.9]], [0, 0, 1, 2], (0.0 + 0.2 + 0.5 + 0.1) / 4),
        # Of equals the first; a tile without a score on any is left out, and a candidate that lacks one
        ([[0.4, 0.4, NAN, 0.4], [0.4, 0.4, NAN, 0.4], [0.9, 0.9, NAN, NAN]], [0, 1, 1, 2], 0.4),
    ],
)
def test_each_fold_is_scored_by_what_the_others_select(scores, folds, expected):
    assert nested_mean(np.array(scores), np.array(folds)) == pytest.approx(expected)


@pytest.mark.parametrize(("num_candidates", "folds"), [(4, [0, 0, 1, 1]), (4, [0, 0, 0, 0]), (0, [0, 1, 2, 3])])
def test_few_folds_say_nothing(num_candidates, folds):
    assert math.isnan(nested_mean(np.zeros((num_candidates, 4)), np.array(folds)))


@given(arrays(np.float64, (6, 10), elements=st.floats(0, 1)), st.integers(3, 10))
def test_selection_never_promises_too_little(scores, num_folds):
    assert nested_mean(scores, np.arange(10) % num_folds) <= scores.mean(axis=1).max() + 1e-12


@pytest.mark.parametrize("num_folds", [5, 12])
def test_among_equals_it_is_unbiased_where_the_best_mean_is_not(num_folds):
    """20 candidates of worth 0.5 on 12 tiles that are easy or hard for all; noise of 0.1. Odds below 1 in 10,000."""
    rng = np.random.default_rng(20261130)
    folds, nested, naive = np.arange(12) % num_folds, [], []
    for _ in range(2000):
        scores = 0.5 + 0.1 * rng.normal(size=12) + 0.1 * rng.normal(size=(20, 12))
        nested.append(nested_mean(scores, folds))
        naive.append(scores.mean(axis=1).max())
    error = np.std(nested) / math.sqrt(len(nested))
    assert abs(np.mean(nested) - 0.5) < 4 * error < 0.01
    assert np.mean(naive) - 0.5 == pytest.approx(0.1 / math.sqrt(12) * 1.867, abs=0.005)  # the largest of 20 normals
