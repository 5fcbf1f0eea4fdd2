"""The time left of a whole study: what comes after the trials is counted, too."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from studies.search.coordinator import Coordinator
from studies.search.forecast import REPORT_SECONDS, START_SECONDS, Forecast, Sizes
from studies.search.plans import Finals
from studies.spec import StudySpec
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import coordinate, take
from trainables.config import Recipe
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal

SIZES = Sizes(train=10_000, val=40_000, judged=20_000, test=80_000)
RECIPE = Recipe(epochs=4, draws_per_epoch=10, batch_size=2, window_px=100, val_center_px=96)
"""An epoch costs as much as to predict 3 · 10 · 100² + 20,000 = 320,000 pixels."""


def spec(**changes: Any) -> StudySpec:
    settings = {"architectures": ("unet",), "tiles": (24,), "trials": 2, "grace_epochs": 2, "seeds": 3} | changes
    return StudySpec(recipe=RECIPE, **settings)


def forecast(study: Coordinator, num_slots: int = 1) -> Forecast:
    known = Forecast(study.spec, SIZES, num_slots)
    known.follow(study)
    return known


def train(study: Coordinator, seconds: float = 8.0) -> None:
    study.report(take(study).key, epoch_report(1, 0.5, seconds=seconds))


def test_stages_follow_from_the_spec():
    assert Forecast(spec(), SIZES, 1).stages == (
        *("search", "final models", "validation", "scoring on val", "scoring on test", "report"),
    )
    assert Forecast(spec(seeds=0), SIZES, 1).stages == ("search", "validation", "report")
    labels = Forecast(spec(tiles=None, labels=(24,)), SIZES, 1)
    assert labels.stages == ("search", "final models", "scoring on test", "report")
    own = spec(phase="phase1_comparison", test=False, wandb="disabled")
    assert Forecast(own, SIZES, 1).stages == ("final models", "scoring on val")


def test_after_a_search_come_validation_final_models_their_scoring_and_the_report():
    study = coordinate(spec())
    one, two = forecast(study), forecast(study, num_slots=2)
    assert {one.seconds(stage) for stage in one.stages[:-1]} == {None}  # until an epoch is done
    train(study)
    # Per pixel 8 s / 320,000. Validation 1 s; three models of 4 epochs: 96 s; scored on 40,000 and 80,000 pixels each,
    # by workers that validation started
    assert one.seconds("search") == pytest.approx(8 * (3 + 4))
    assert one.seconds("validation") == pytest.approx(1 + START_SECONDS)
    assert one.seconds("final models") == pytest.approx(96 + START_SECONDS)
    assert one.seconds("scoring on val") == pytest.approx(3)
    assert one.seconds("scoring on test") == pytest.approx(6)
    averaged = coordinate(spec(ensembles=True, tta=True))
    train(averaged)
    assert forecast(averaged).seconds("scoring on test") == pytest.approx((1 + 1 + 8) * 6)  # alone, together, turned
    assert one.seconds("report") == REPORT_SECONDS
    assert two.seconds("final models") == pytest.approx(96 / 2 + START_SECONDS)


def test_each_further_test_set_is_a_stage_of_its_own_size():
    study, sizes = coordinate(spec()), replace(SIZES, further={"test-b": 40_000})
    known = Forecast(study.spec, sizes, 1)
    assert known.stages[-3:] == ("scoring on test", "scoring on test-b", "report")
    known.follow(study)
    train(study)
    assert [known.seconds(stage) for stage in known.stages[-3:-1]] == pytest.approx([6, 3])


def test_final_models_go_by_the_pace_of_the_search_until_they_have_their_own():
    search = coordinate(spec())
    for trial in (take(search), take(search)):
        search.report(trial.key, epoch_report(4, 0.5, ended="epochs", seconds=4 * 8.0))
    plan = Finals.confirming(search.spec, {search.arms[0]: search.trials[search.arms[0], 0].config}, 24)
    final = coordinate(search.spec, plan)
    known = forecast(search)
    known.follow(final)
    assert known.seconds("final models") == pytest.approx(3 * 4 * 8 + START_SECONDS)
    train(final, seconds=2.0)
    assert known.seconds("final models") == pytest.approx((3 + 2 * 4) * 2)
    assert known.seconds("scoring on test") == pytest.approx(3 * 80_000 * 2 / 320_000)


def test_networks_of_folds_take_turns_and_a_final_model_is_one_network():
    study = coordinate(spec(tiles=None, labels=(7,)))
    train(study, seconds=10.0)
    known = Forecast(study.spec, replace(SIZES, networks={7: 5}), 1)  # of the 7 folds that are wanted
    known.follow(study)
    assert known.seconds("search") == pytest.approx(10 * (3 + 4))
    assert known.seconds("final models") == pytest.approx(3 * 4 * 10 / 5 + START_SECONDS)


def test_final_models_of_arms_that_are_still_searched_count_too():
    """Of two arms one is searched: its models have a plan; those of the other one are the spec's."""
    search = coordinate(spec(tiles=(5, 24), trials=1))
    few = take(search)
    search.report(few.key, epoch_report(4, 0.5, ended="epochs", seconds=4 * 8.0))
    final = coordinate(search.spec, Finals.confirming(search.spec, {few.arm: few.config}, 24))
    known = forecast(search)
    known.follow(final)
    assert known.seconds("final models") == pytest.approx(2 * 3 * 4 * 8 + START_SECONDS)
    assert known.seconds("scoring on test") == pytest.approx(2 * 3 * 80_000 * 8 / 320_000)


def test_final_models_of_a_phase_without_a_search_are_its_allowance():
    own = spec(phase="phase1_comparison")
    study = coordinate(own, Finals.of_phase(own, {}, 24))
    train(study)
    assert forecast(study).seconds("scoring on val") == pytest.approx(3 + START_SECONDS)


def test_open_epochs_count_at_each_arm_s_pace():
    study = coordinate(spec(architectures=("unet", "deeplabv3plus_resnet34")))
    fast, slow = take(study), take(study)
    study.report(fast.key, epoch_report(1, 0.5, seconds=10.0))
    study.report(slow.key, epoch_report(1, 0.5, seconds=30.0))
    # Nothing has ended: full courses of 4. Each arm has 3 epochs running and 4 to come: 7 · 10 + 7 · 30 over 2 slots
    assert forecast(study, num_slots=2).seconds("search") == pytest.approx(140.0)
    study.report(fast.key, epoch_report(2, 0.5, best_epoch=1, ended="early stopping", seconds=10.0))
    # Ended trials took 2 epochs: fast has 2 to come, slow 1 running and 2 to come
    assert forecast(study).seconds("search") == pytest.approx(2 * 10 + 3 * 30)


def test_sizes_are_of_tiles_windows_and_headers():
    masks = tuple(np.zeros((200, 300), np.uint8) for _ in range(2))
    tiles = Tiles(("a", "b"), tuple(mask[..., None] for mask in masks), masks)
    both = TrainVal(DatasetInfo(), tiles, tiles)
    sealed_px = {"test": [(10, 20), (30, 40)], "test-b": [(5, 6)]}
    assert Sizes.of(spec(), both, sealed_px) == Sizes(60_000, 120_000, 2 * 96 * 96, 1400, {"test-b": 30})
    places = replace(both, info=DatasetInfo(groups={"a": "one", "b": "two"}))
    assert Sizes.of(spec(tiles=None, labels=(2,)), places, {}).networks == {2: 2}
    assert Sizes.of(spec(test=False), both, {"test": [(10, 20)]}).test == 0
