"""Checks the crossed analysis against values by hand, scipy's t test and Monte Carlo moments, and its laws."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.crossed import Estimate, estimate, needed_levels
from analysis.stats.places import place_freedom, place_scores

SEEDS = st.integers(0, 2**32 - 1)


def crossed(scores, groups=None, *factors) -> Estimate:
    """The estimate of scores (M, T), whose models are seeds and whose tiles are places unless said otherwise."""
    scores = np.asarray(scores, dtype=float)
    num_models, num_tiles = scores.shape
    found = estimate(scores, factors or (np.arange(num_models),), np.arange(num_tiles) if groups is None else groups)
    assert found is not None
    return found


def test_two_factors_by_hand():
    # Means 1, 3, 5 of rows and 2, 4 of columns; residuals of 1, -1 and 0: mean squares 8 (2 df), 6 (1 df), 2 (2 df).
    found = crossed([[1, 1], [1, 5], [4, 6]])
    assert found.mean == 3
    squares = {"seed": 2 * ((1 - 3) ** 2 + 0 + 2**2) / 2, "place": 3 * (1 + 1) / 1}
    residuals = np.array([[1, -1], [-1, 1], [0, 0]])
    squares["rest"] = (residuals**2).sum() / 2
    assert squares == {"seed": 8, "place": 6, "rest": 2}
    assert found.variances == pytest.approx({(0,): (8 - 2) / 2, (1,): (6 - 2) / 3, (0, 1): 2})
    assert found.error == pytest.approx(np.sqrt((8 + 6 - 2) / 6))
    # Satterthwaite: 12^2 / (8^2 / 2 + 6^2 / 1 + 2^2 / 2); half of 1 / freedom is that of the two places
    by_satterthwaite = 12**2 / (8**2 / 2 + 6**2 + 2**2 / 2)
    assert found.freedom == pytest.approx(1 / (0.5 / by_satterthwaite + 0.5 / 1))
    t = scipy.stats.t(found.freedom)
    assert found.p == pytest.approx(2 * t.sf(3 / found.error))
    margin = t.ppf(0.975) * found.error
    assert found.interval() == pytest.approx((3 - margin, 3 + margin))
    assert found.interval(least=2, most=3.5) == (2, 3.5)


@pytest.mark.parametrize("factor", ["seeds", "places"])
def test_one_factor_that_varies_is_nearly_students_t(factor):
    """Where nothing else varies, the error and the degrees of freedom are those of a plain mean."""
    values = np.random.default_rng(0).normal(0.1, 0.05, 6)
    scores = np.broadcast_to(values[:, None] if factor == "seeds" else values[None], (6, 6))
    found, peer = crossed(scores), scipy.stats.ttest_1samp(values, 0)
    assert found.t == pytest.approx(peer.statistic)
    assert found.freedom == pytest.approx(5)
    assert found.interval() == pytest.approx(tuple(peer.confidence_interval(0.95)))


def test_three_factors_give_each_its_component():
    # Every component is far from zero with 24 levels each: their relative sd is about .3, one fifth of it for a mean of
    # 30 tables; 30 % are five of those.
    rng = np.random.default_rng(3)
    found = []
    subsets, seeds = np.repeat(np.arange(12), 12), np.tile(np.arange(12), 12)
    for _ in range(30):
        scores = rng.normal(0, 3, 12)[subsets][:, None] + rng.normal(0, 2, 12)[seeds][:, None]
        scores = scores + rng.normal(0, 1, 12) + rng.normal(0, 0.5, (144, 12))
        found.append(crossed(scores, np.arange(12), subsets, seeds))
    for effect, variance in (((0,), 9), ((1,), 4), ((2,), 1), ((0, 1, 2), 0.25)):
        assert np.mean([its.variances[effect] for its in found]) == pytest.approx(variance, rel=0.3)
    assert found[0].levels == {0: 12, 1: 12, 2: 12}


@settings(max_examples=50)
@given(SEEDS, st.integers(2, 5), st.integers(2, 6), st.floats(-3, 3), st.floats(0.1, 3))
def test_estimate_moves_and_scales_with_the_scores_and_ignores_order(seed, num_models, num_tiles, shift, scale):
    rng = np.random.default_rng(seed)
    scores, groups = rng.uniform(size=(num_models, num_tiles)), np.r_[0, 1, rng.integers(0, 4, num_tiles - 2)]
    one = crossed(scores, groups)
    models, tiles = rng.permutation(num_models), rng.permutation(num_tiles)
    other = crossed((scale * scores + shift)[models][:, tiles], groups[tiles])
    assert other.mean == pytest.approx(scale * one.mean + shift)
    assert (other.error, other.freedom) == pytest.approx((scale * one.error, one.freedom))
    assert one.freedom >= min(one.freedoms.values())
    assert all(part >= 0 for part in one.variances.values())
    low, high = one.interval()
    assert low < one.mean < high


def test_what_nothing_is_known_of_has_no_estimate():
    scores = np.random.default_rng(0).uniform(size=(3, 4))
    models, places = (np.arange(3),), np.arange(4)
    assert estimate(scores[:1], (np.arange(1),), places) is None
    assert estimate(scores, models, np.zeros(4, int)) is None
    assert estimate(np.full((3, 4), np.nan), models, places) is None
    with pytest.raises(ValueError, match="3 models share levels"):
        estimate(scores, (np.zeros(3, int),), places)


def test_missing_models_and_scores_count_in_the_mean_alone():
    scores = np.random.default_rng(0).uniform(size=(4, 5))
    holed = scores.copy()
    holed[3, 2] = np.nan
    found, whole = crossed(holed), crossed(scores[:, [0, 1, 3, 4]])  # a fourth of a column, a fifth of a row
    assert found.mean == pytest.approx(np.nanmean(holed))
    assert (found.error, found.freedom) == pytest.approx((whole.error, whole.freedom))
    without = np.vstack([scores[:3], np.full((1, 5), np.nan)])
    assert crossed(without) == crossed(scores[:3])


def test_seeds_that_one_subset_lacks_count_in_the_mean_alone():
    subsets, seeds = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 2])
    scores = np.random.default_rng(0).uniform(size=(5, 4))
    found = crossed(scores, np.arange(4), subsets, seeds)
    assert found.mean == pytest.approx(scores.mean())
    assert found.levels == {0: 2, 1: 2, 2: 4}


def test_what_differs_by_rounding_alone_is_zero():
    scores = np.full((3, 4), 0.1 + 0.2) - 0.3
    assert crossed(scores).p > 0.9
    assert crossed(np.full((3, 4), 0.1)).p < 1e-9


def test_place_scores_have_the_mean_over_tiles_and_are_means_for_places_of_one_size():
    scores = np.random.default_rng(0).uniform(size=(3, 6))
    alike = np.array([0, 1, 2, 0, 1, 2])
    assert place_scores(scores, alike) == pytest.approx((scores[:, :3] + scores[:, 3:]) / 2)
    assert place_freedom(alike) == pytest.approx(2)
    unlike = np.array([0, 0, 0, 1, 1, 2])
    assert place_scores(scores, unlike).mean(axis=1) == pytest.approx(scores.mean(axis=1))
    assert 1 < place_freedom(unlike) < 2


def test_error_of_unequal_places_is_right_where_places_vary_alike():
    # The variance of the mean is s^2 (25 + 4 + 1 + 1 + 1) / 12^2 = .222 s^2. The mean of 4000 estimates has a relative
    # sd of about .02 (2 degrees of freedom); 8 % are four of those.
    groups = np.repeat(np.arange(5), [5, 2, 2, 2, 1])
    places = np.random.default_rng(1).normal(0, 1, (4000, 5))
    by_place = place_scores(places[:, groups], groups)
    assert (by_place.var(axis=1, ddof=1) / 5).mean() == pytest.approx((25 + 4 + 4 + 4 + 1) / 12**2, rel=0.08)


def test_needed_levels_are_those_that_show_the_mean():
    # Of n seeds, the mean squares' shares of the variance are .0036 / n + .0009 / 6n, .0009 / 6 + .0009 / 6n and
    # .0009 / 6n. For n = 40 the variance is 2.4 / 10,000; Satterthwaite's 1 / freedom is .084, and .6 of it with .4 of
    # the places' 1 / 5 is .13, so 7.7 degrees of freedom: .05 is shown by an error of .05 / (2.32 + .89), n = 39 or 40.
    found = Estimate(
        mean=0.05, error=0.04, freedom=3.0, variances={(0,): 0.06**2, (1,): 0.03**2, (0, 1): 0.03**2},
        levels={0: 3, 1: 6}, freedoms={0: 2.0, 1: 5.0},
    )  # fmt: skip
    seeds = needed_levels(found, 0)
    assert 38 <= seeds <= 41
    assert needed_levels(found, 1) is None  # with three seeds no number of places is enough
    larger = Estimate(**{**vars(found), "mean": 2 * found.mean})
    assert needed_levels(larger, 0) < seeds
    assert needed_levels(Estimate(**{**vars(found), "mean": 1e-9}), 0) is None
    assert needed_levels(found, 5) is None


def test_needed_seeds_are_students_where_nothing_else_varies():
    """A lead of one sd between seeds: scipy's noncentral t says 10 seeds for 80 %, as tables of power do."""
    found = Estimate(
        mean=1.0, error=1.0, freedom=2.0, variances={(0,): 1.0, (1,): 0.0, (0, 1): 0.0},
        levels={0: 3, 1: 20}, freedoms={0: 2.0, 1: 19.0},
    )  # fmt: skip
    assert needed_levels(found, 0) in (10, 11)
