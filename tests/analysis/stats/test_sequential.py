"""Which arms get more seeds, and by simulation how often a rule that looks several times rules out the best one."""

import numpy as np
import pytest

from analysis.stats.sequential import needed_seeds
from tests.analysis.stats.simulated import SPREADS, studies

COUNTS = (3, 5, 7, 9, 10)


def needed(scores, *, trained: int = 10) -> list[int]:
    """As if `trained` seeds of every arm were there, each a model."""
    num_arms, num_models, num_tiles = scores.shape
    seeds = np.arange(num_models)
    return needed_seeds(
        scores, (np.zeros_like(seeds), seeds), np.arange(num_tiles), [trained] * num_arms, first=3, most=10
    )


def simulate(means: list[float], num_studies: int):
    """(N, A) how many seeds each arm got in studies over all kinds of spread, with 12 val tiles."""
    rng = np.random.default_rng(0)
    made = [studies(rng, num_studies, means, COUNTS[-1], 12, spread) for spread in SPREADS.values()]
    return np.array([needed(scores) for some in made for scores in some])


def test_equal_arms_are_told_apart_in_few_studies_however_often_they_are_looked_at():
    # 4 looks at 5 % each would tell them apart in up to 20 % (seen with a twentieth in all: 1.8 %). Of 800 studies with
    # a rate of 5 %, more than 7 % have odds of 1 in 200.
    assert (simulate([0.6, 0.6], 200) < COUNTS[-1]).any(axis=1).mean() <= 0.07


def test_best_arm_stays_and_what_is_far_behind_gets_few_seeds():
    found = simulate([0.7, 0.6, 0.4], 100)
    assert (found[:, 0] < found.max(axis=1)).mean() <= 0.05
    assert found[:, 2].mean() < found[:, 1].mean() - 1 < found[:, 0].mean()
    assert found.mean() < 0.8 * COUNTS[-1]


@pytest.mark.parametrize("trained", COUNTS)
def test_looks_use_the_first_seeds_alone_so_that_more_models_change_nothing(trained):
    rng = np.random.default_rng(1)
    for scores in studies(rng, 20, [0.7, 0.6, 0.5], COUNTS[-1], 6, SPREADS["both"]):
        whole = needed(scores)
        first = needed(np.where(np.arange(10)[:, None] < trained, scores, np.nan), trained=trained)
        after = COUNTS[min(COUNTS.index(trained) + 1, len(COUNTS) - 1)]
        assert first == [min(count, after) for count in whole]


def test_arms_without_a_model_and_tiles_of_one_place_decide_nothing():
    scores = studies(np.random.default_rng(2), 1, [0.9, 0.5], 3, 6, SPREADS["tiles"])[0]
    seeds = np.arange(3)
    args = (np.zeros_like(seeds), seeds), np.zeros(6, dtype=np.int64), [3, 3]
    assert needed_seeds(scores, *args, first=3, most=4) == [
        4,
        4,
    ]  # the caller asks only where there are two places or more
    scores[1] = np.nan
    assert needed_seeds(scores, *args, first=3, most=4) == [3, 3]


def test_best_of_equal_arms_is_seldom_out():
    # Of 400 with a rate of 5 %, more than 9.5 % have odds of 1 in 10,000.
    found = simulate([0.6, 0.6, 0.6, 0.6], 100)
    assert (found[:, 0] < found.max(axis=1)).mean() <= 0.095
