"""Checks variance components on tables worked out by hand, against scipy's ANOVA, and on simulated data."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from analysis.stats.variance import crossed_variance, nested_variance

MISSING = np.nan


def test_crossed_variance_by_hand():
    # Row means 1.5 and 4.5, column means 2 and 4, residuals of +-.5: a residual mean square of 1.
    found = crossed_variance(np.array([[1.0, 2.0], [3.0, 6.0]]))
    assert found.residual == pytest.approx(1)
    assert found.subset == pytest.approx(4.5 - 1 / 2)
    assert found.seed == pytest.approx(2 - 1 / 2)
    assert (found.num_subsets, found.num_seeds) == (2, 2)


def test_crossed_variance_is_never_negative():
    found = crossed_variance(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert (found.subset, found.seed) == (0, 0)
    assert found.residual == pytest.approx(1)


def test_crossed_variance_leaves_out_the_fewest_incomplete_rows_or_columns():
    table = np.random.default_rng(0).uniform(size=(4, 3))
    with_gap = np.insert(table, 2, [0.1, MISSING, 0.3], axis=0)
    assert crossed_variance(with_gap) == crossed_variance(table)
    late_seed = np.column_stack([table, [MISSING, MISSING, MISSING, 0.5]])
    assert crossed_variance(late_seed) == crossed_variance(table)


@pytest.mark.parametrize(
    "table", [[[0.1, 0.2]], [[0.1], [0.2]], [[0.1, MISSING], [0.2, 0.3]], [[MISSING, MISSING]], np.empty((0, 3))]
)
def test_crossed_variance_needs_two_complete_rows_and_columns(table):
    assert crossed_variance(np.array(table)) is None


@given(st.integers(0, 2**32 - 1), st.floats(-2, 2), st.floats(0.1, 3))
def test_crossed_variance_ignores_shifts_and_order_and_scales_by_squares(seed, shift, scale):
    rng = np.random.default_rng(seed)
    table = rng.uniform(size=(4, 3))
    found = crossed_variance(table)
    other = crossed_variance(scale * rng.permutation(table) + shift)
    expected = [scale**2 * part for part in (found.subset, found.seed, found.residual)]
    assert [other.subset, other.seed, other.residual] == pytest.approx(expected)
    turned = crossed_variance(table.T)
    assert (turned.subset, turned.seed) == pytest.approx((found.seed, found.subset))


def test_crossed_variance_is_unbiased():
    # The components are far from zero, so that nothing is truncated. One table of 8 x 8 gives a component with a
    # relative sd of about .6 (7 degrees of freedom): 15 % are five sds of the mean of 400.
    rng = np.random.default_rng(1)
    tables = rng.normal(0, 3, (400, 8, 1)) + rng.normal(0, 2, (400, 1, 8)) + rng.normal(0, 0.5, (400, 8, 8))
    found = [crossed_variance(table) for table in tables]
    assert np.mean([parts.subset for parts in found]) == pytest.approx(9, rel=0.15)
    assert np.mean([parts.seed for parts in found]) == pytest.approx(4, rel=0.15)
    assert np.mean([parts.residual for parts in found]) == pytest.approx(0.25, rel=0.05)


def test_nested_variance_of_unequal_groups_by_hand():
    # Mean 3; within 2 on one degree of freedom; between 2 x 1 + 1 x 4 = 6 on one; typical size 3 - 5 / 3 = 4 / 3.
    found = nested_variance([np.array([1.0, 3.0]), np.array([5.0, MISSING]), np.array([MISSING])])
    assert found.within == pytest.approx(2)
    assert found.within_sd == pytest.approx(np.sqrt(2))
    assert found.between == pytest.approx((6 - 2) / (4 / 3))
    assert (found.num_groups, found.num_scores) == (2, 3)


@given(st.integers(0, 2**32 - 1))
def test_nested_variance_agrees_with_scipy(seed):
    groups = np.random.default_rng(seed).normal(size=(4, 5)) + np.arange(4)[:, None]
    found = nested_variance(list(groups))
    ratio = scipy.stats.f_oneway(*groups).statistic  # mean square between over within
    assert found.within == pytest.approx(groups.var(axis=1, ddof=1).mean())
    assert found.between == pytest.approx(max(0, (ratio - 1) * found.within / 5))


def test_nested_variance_of_seeds_alone_is_their_variance():
    found = nested_variance([np.array([0.7, 0.8, 0.75])])
    assert found.within == pytest.approx(np.var([0.7, 0.8, 0.75], ddof=1))
    assert found.between is None


@pytest.mark.parametrize("groups", [[], [[0.5]], [[0.5], [0.6]], [[MISSING]]])
def test_nested_variance_needs_two_scores_in_a_group(groups):
    assert nested_variance([np.array(group) for group in groups]) is None
