"""What a study takes, by hand: from paces that are given, without timing anything."""

import pytest

from studies.search.forecast import REPORT_SECONDS, START_SECONDS
from studies.search.plans import Finals, Grid, Search, num_models
from studies.simulate.price import price
from studies.simulate.probe import Pace
from studies.spec import StudySpec
from trainables.config import Recipe

EPOCHS = 6
PACES = {
    "unet": Pace(step_seconds=[1.0, 2.0, 6.0], judging_seconds=4.0, newest_gb=3.0, best_gb=1.0),
    "unet_resnet34": Pace(step_seconds=[2.0, 4.0, 12.0], judging_seconds=8.0, newest_gb=5.0, best_gb=2.0),
}
EPOCH_SECONDS = {"unet": (14.0, 24.0, 64.0), "unet_resnet34": (28.0, 48.0, 128.0)}
"""Of 10 steps."""


@pytest.fixture
def make(make_session, tmp_path):
    """The inputs of a study of both architectures, whose test tiles stay sealed."""

    def make(**changes):
        recipe = Recipe(epochs=EPOCHS, draws_per_epoch=40, batch_size=4, small=True, val_center_px=64)
        settings = {"architectures": tuple(PACES), "tiles": (4,), "seeds": 2, "test": False, "trials": 8}
        settings |= {"grace_epochs": 2, "reduction_factor": 2}
        return make_session(tmp_path, StudySpec(**settings | {"recipe": recipe} | changes)).inputs

    return make


def test_epochs_take_steps_and_judging():
    assert {name: pace.epoch_seconds(10) for name, pace in PACES.items()} == EPOCH_SECONDS


def test_final_models_train_to_their_last_epoch_and_are_scored(make):
    """Phase 1: two models of each; a val tile has four times the pixels of its centre, on which an epoch is judged."""
    inputs = make(phase="phase1_comparison")
    found = price(inputs, Finals.of_phase(inputs.spec, {}, 4), PACES, num_slots=2)
    trained = [2 * EPOCHS * (one + other) / 2 for one, other in zip(*EPOCH_SECONDS.values(), strict=True)]
    scored = 2 * 4 * (4.0 + 8.0) / 2
    assert found.seconds == pytest.approx([2 * START_SECONDS + its + scored + REPORT_SECONDS for its in trained])
    assert found.kept_gb == 2 * (1.0 + 2.0)
    assert found.running_gb == found.kept_gb + 2 * (3 * 5.0 + 2.0)


def test_tiles_of_test_are_predicted_by_symmetries_and_ensembles_too(make):
    inputs = make(phase="phase1_comparison", test=True, seeds=2)
    averaged = make(phase="phase1_comparison", test=True, seeds=2, tta=True, ensembles=True)
    plain, more = (price(its, Finals.of_phase(its.spec, {}, 4), PACES, num_slots=1) for its in (inputs, averaged))
    # The demo's one test tile has as many pixels as each of its two val tiles, so it takes half of what these take
    assert more.seconds[1] - plain.seconds[1] == pytest.approx((8 + 1) * 2 * (4 / 2) * (4.0 + 8.0))


def test_searches_take_what_the_ladder_leaves_of_them(make):
    inputs = make(seeds=0)
    found = price(inputs, Search(inputs.spec), PACES, num_slots=1)
    around = START_SECONDS + REPORT_SECONDS + START_SECONDS + 4 * (4.0 + 8.0)  # with that of the selected models
    for seconds, one, other in zip(found.seconds, *EPOCH_SECONDS.values(), strict=True):
        # Of each arm, one trial runs its course at least, and all of them to the first rung
        assert EPOCHS + 7 * 2 <= (seconds - around) / (one + other) < 8 * EPOCHS
    assert found.kept_gb == 1.0 + 2.0


def test_more_slots_take_less_time(make):
    inputs = make()
    first, second = (price(inputs, Search(inputs.spec), PACES, num_slots=slots).seconds[1] for slots in (1, 4))
    assert first > 2 * second


def test_a_grid_trains_every_value_to_its_end(make):
    inputs = make(vary="bce_weight", seeds=1)
    plan = Grid(inputs.spec)
    found = price(inputs, plan, PACES, num_slots=1)
    trials = {arm.architecture: plan.allowance(arm) + 1 for arm in plan.arms}  # and the final model
    trained = sum(trials[name] * EPOCHS * span[1] for name, span in EPOCH_SECONDS.items())
    scored = 2 * 4 * (4.0 + 8.0)  # the selected models and the final ones
    assert found.seconds[1] == pytest.approx(2 * START_SECONDS + trained + scored + REPORT_SECONDS)
    assert found.running_gb == found.kept_gb + 3 * 5.0 + 2.0 + sum(
        (count - 1) * PACES[name].best_gb for name, count in trials.items()
    )


def test_models_are_counted_at_most(make):
    spec = make(seeds=2, with_recipe=True).spec
    assert num_models(spec, Search(spec), spec.arms()[0]) == 4
    inputs = make(phase="phase3_data_budget", tiles=(2, 4), subsets=3)
    plan = Finals.of_phase(inputs.spec, {}, 4)
    assert {arm.tiles: num_models(inputs.spec, plan, arm) for arm in plan.arms} == {2: 6, 4: 2}
