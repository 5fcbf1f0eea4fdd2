"""Checks planned contrasts: values by hand, sign flips against scipy, Holm against closed testing, and laws."""

from itertools import chain, combinations, product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats import contrasts
from analysis.stats.crossed import estimate

SEEDS = st.integers(0, 2**32 - 1)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def test_contrast_by_hand():
    # The tiles differ by .1, .2, .3 and .0 on average over two models. Of the 16 patterns of signs, those with
    # |sum| >= .6 are +++ and ---, with either sign at the zero.
    b = np.array([[0.5, 0.5, 0.5, 0.5], [0.6, 0.6, 0.6, 0.6]])
    a = b + np.array([[0.1, 0.3, 0.3, 0.1], [0.1, 0.1, 0.3, -0.1]])
    found = contrasts.contrast(a, b, [np.arange(2)], np.array([0, 0, 1, 1]))
    assert found.difference == pytest.approx(0.15)
    assert found.effect == pytest.approx(0.15 / np.sqrt((0.05**2 * 2 + 0.15**2 * 2) / 3))
    assert (found.p_flip, found.smallest_p) == (4 / 16, 2 / 16)
    assert found.p_flip_by_group == 2 / 4  # .3 and .3
    assert (found.num_models, found.num_tiles, found.num_groups) == (2, 4, 2)
    assert found.interval[0] < 0.15 < found.interval[1]


def test_contrast_uses_only_what_both_have():
    missing = np.nan
    a = np.array([[0.7, 0.8, missing], [0.9, 0.9, 0.9], [0.6, 0.7, missing]])
    b = np.array([[0.5, 0.5, 0.5], [missing] * 3, [0.5, 0.5, 0.5]])
    found = contrasts.contrast(a, b, [np.arange(3)], np.arange(3))
    assert found.difference == pytest.approx((0.2 + 0.3 + 0.1 + 0.2) / 4)
    assert (found.num_models, found.num_tiles, found.num_groups) == (2, 2, 2)
    peer = estimate((a - b)[[0, 2]][:, :2], [np.arange(2)], np.arange(2))
    assert (found.interval, found.p) == (peer.interval(), peer.p)


def test_contrast_with_one_model_has_no_interval_and_without_pairs_is_none():
    a, b = np.array([[0.7, 0.8]]), np.array([[0.5, 0.5]])
    found = contrasts.contrast(a, b, [np.arange(1)], np.arange(2))
    assert (found.interval, found.p) == (None, None)
    assert found.difference == pytest.approx(0.25)
    assert contrasts.contrast(a, np.full((1, 2), np.nan), [np.arange(1)], np.arange(2)) is None


@pytest.mark.parametrize("difference", [0.0, 0.1])
def test_effect_is_none_without_spread(difference):
    b = np.random.default_rng(0).uniform(size=(2, 5))
    found = contrasts.contrast(b + difference, b, [np.arange(2)], np.arange(5))
    assert found.effect is None
    assert found.p_flip == (found.smallest_p if difference else 1)
    assert (found.p < 0.001) == bool(difference)


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 4), st.integers(1, 7), st.floats(-2, 2))
def test_contrast_is_antisymmetric_and_blind_to_a_common_shift(seed, num_models, num_tiles, shift):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(size=(2, num_models, num_tiles))
    design = {"model_factors": [np.arange(num_models)], "tile_groups": np.arange(num_tiles) // 2}
    there, back = contrasts.contrast(a, b, **design), contrasts.contrast(b, a, **design)
    moved = contrasts.contrast(a + shift, b + shift, **design)
    assert back.difference == pytest.approx(-there.difference)
    assert moved.difference == pytest.approx(there.difference)
    assert back.p_flip == there.p_flip == moved.p_flip >= there.smallest_p
    assert back.p_flip_by_group == there.p_flip_by_group >= contrasts.smallest_p(there.num_groups)
    if num_tiles > 1:
        assert back.effect == pytest.approx(-there.effect)
    if there.interval is None:
        assert num_models == 1 or num_tiles <= 2
        assert back.interval is None
    else:
        assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
        assert back.p == pytest.approx(there.p)


@settings(max_examples=20)
@given(st.lists(st.floats(-1, 1, allow_subnormal=False).map(lambda x: round(x, 3)), min_size=2, max_size=8))
def test_sign_flips_agree_with_scipy(differences):
    values = np.array(differences)
    peer = scipy.stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert contrasts.sign_flip_p(values) == pytest.approx(peer.pvalue)
    assert contrasts.sign_flip_p(np.append(values, 0.0)) == pytest.approx(contrasts.sign_flip_p(values))


def test_sign_flips_of_many_tiles_are_drawn_about_right():
    # All 2**18 patterns against 2**16 drawn ones: an sd of sqrt(p (1 - p) / 2**16), of which five are allowed.
    differences = np.random.default_rng(4).normal(0.3, 1, 18)
    signs = np.array(list(product((-1, 1), repeat=18)), dtype=np.int8)
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean()
    drawn = contrasts.sign_flip_p(differences)
    assert 0.05 < exact < 0.95
    assert abs(drawn - exact) < 5 * np.sqrt(exact * (1 - exact) / 2**16)
    assert drawn == contrasts.sign_flip_p(differences)
    assert drawn != contrasts.sign_flip_p(differences, seed=1)


@pytest.mark.parametrize("num_tiles", [1, 2, 6, 16, 60])
def test_the_smallest_p_is_reached_where_all_tiles_agree(num_tiles):
    assert contrasts.sign_flip_p(np.linspace(0.1, 0.2, num_tiles)) == contrasts.smallest_p(num_tiles)


def test_smallest_p_by_hand():
    assert [contrasts.smallest_p(num) for num in (1, 2, 6)] == [1, 1 / 2, 1 / 32]
    assert contrasts.smallest_p(16) == 2 * contrasts.smallest_p(17) == 2 / 2**16
    assert contrasts.smallest_p(1000) == contrasts.smallest_p(17)


def test_sign_flips_keep_their_level():
    # Under a symmetric null, p <= .05 comes with exactly 12 of the 256 patterns of 8 tiles: Binomial(1000, 4.7 %) lies
    # outside 20..85 with odds of 1 in 400,000.
    rng = np.random.default_rng(8)
    p_values = [contrasts.sign_flip_p(rng.standard_t(3, 8)) for _ in range(1000)]
    assert 20 <= sum(p <= 0.05 for p in p_values) <= 85


def test_holm_by_hand():
    # Ordered .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and the last may not be below the one before.
    assert contrasts.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert contrasts.holm([0.9, 0.6]) == (1, 1)
    assert contrasts.holm([]) == ()


@given(P_VALUES)
def test_holm_is_closed_testing_with_bonferroni(p_values):
    places = range(len(p_values))
    families = list(chain.from_iterable(combinations(places, size) for size in range(1, len(p_values) + 1)))
    closed = [
        max(min(1, len(family) * min(p_values[other] for other in family)) for family in families if place in family)
        for place in places
    ]
    assert contrasts.holm(p_values) == pytest.approx(closed)


@given(P_VALUES)
def test_holm_keeps_the_order_and_lies_between_the_raw_p_and_bonferroni(p_values):
    adjusted = contrasts.holm(p_values)
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert min(adjusted) <= len(p_values) * min(p_values)


@pytest.mark.parametrize("p_values", [[0.5, np.nan], [-0.1], [1.1]])
def test_holm_refuses_what_is_no_p_value(p_values):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        contrasts.holm(p_values)
