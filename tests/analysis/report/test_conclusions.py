"""Checks the three sentences of the answer: they say what the statistics allow, and no more."""

import pytest

from analysis.report.conclude.conclusions import conclusions, deciding_study
from analysis.report.conclude.leader import close_to_leader
from analysis.report.study_notes import study_notes
from analysis.tables.comparison import compare
from analysis.tables.tile_scores import read_tile_scores
from tests.analysis.made_up import GROUPS, TEST_TILES, MadeUp

THREE = ("unet", "unet_resnet34", "deeplabv3plus_resnet34")
LOW, MIDDLE, HIGH = [0.3] * 4, [0.5] * 4, [0.6] * 4
UNSURE_BY_TILE = [0.65, 0.55, 0.65, 0.45]  # mean 0.575; one place below MIDDLE


def said(*studies: MadeUp) -> tuple[str, ...]:
    """Which architecture to trust, how few tiles are enough, and what it cost."""
    return conclusions([study.logs() for study in studies])


def study_of(scores: dict[str, list[float]], *, models: int = 2, split: str = "test", **config) -> MadeUp:
    """A study whose arms have as many models, all with the same scores."""
    study = MadeUp(*dict.fromkeys(arm.rpartition("-")[0] for arm in scores), **config)
    for arm, iou in scores.items():
        study.models(arm, models, **{split: iou})
    return study


def clear(**config) -> MadeUp:
    return study_of({"unet-24": LOW, "unet_resnet34-24": HIGH}, **config)


EIGHT = {tile: tile for tile in (f"e{number}" for number in range(8))}
PLACES = {"test_tiles": list(EIGHT), "groups": EIGHT}
"""As many test tiles as places."""


def test_clear_winner_is_to_be_trusted():
    study = study_of({"unet-24": [0.3] * 8, "sam_conv-24": [0.6] * 8}, models=3, **PLACES)
    assert said(study)[0] == (
        "Trust sam_conv: with 24 tiles it has test IoU 0.600 (95 % interval 0.600 … 0.600), 0.300 (0.300 … 0.300) "
        "ahead of unet, the next best of 2 architectures (8 test tiles, 3 models each)."
    )


def test_clear_winner_is_told_with_its_lead_over_the_next_best_and_the_places():
    study = study_of({"unet-24": LOW, "unet_resnet34-24": HIGH, "deeplabv3plus_resnet34-24": [0.1] * 4})
    first = said(study)[0]
    assert first.startswith("Trust unet_resnet34: with 24 tiles ")
    words = "0.300 (0.300 … 0.300) ahead of unet, the next best of 3 architectures (4 test tiles in 3 places, 2 models"
    assert words in first


def test_leader_that_nothing_comes_close_to_is_no_clear_winner_with_few_seeds():
    """The same lead of about .05 with a spread of .01 between seeds: sure with eight of them, not with two."""
    for models, words in (
        (2, "Take unet_resnet34, but it is no clear winner"),
        (8, "Trust unet_resnet34: with 24 tiles"),
    ):
        study = MadeUp("unet", "unet_resnet34")
        for seed in range(models):
            study.model("unet-24", seed, test=[0.3] * 4)
            study.model("unet_resnet34-24", seed, test=[0.35 + 0.01 * (-1) ** seed] * 4)
        first = said(study)[0]
        assert words in first, models
        if models == 2:
            assert ", and unet, 0.050 (" in first
            assert ") behind, may be as good (" in first
            assert "To tell them apart in 80 % of studies takes about 3 seeds, by" in first


def test_small_variant_a_winner_on_val_and_a_smoke_run_are_not_to_be_trusted():
    first = said(clear(profile="smoke"))[0]
    assert first.startswith("This is a smoke run")
    assert "trust" not in first.lower()
    study = clear()
    study.arms["unet_resnet34-24"]["is_stand_in"] = True
    first = said(study)[0]
    assert "(1 small or random-encoder variant among them)" in first
    assert first.startswith("unet_resnet34 is clearly ahead: with 24 tiles it has test IoU 0.600 ")
    study.arms["unet-24"]["is_stand_in"] = True
    assert "(2 small or random-encoder variants among them)" in said(study)[0]
    on_val = study_of({"unet-24": [0.3, 0.3], "unet_resnet34-24": [0.6, 0.6]}, split="val")
    assert said(on_val)[0].startswith("unet_resnet34 is clearly ahead: with 24 tiles it has val IoU 0.600")


def test_no_clear_winner_is_said_plainly_with_those_that_come_close():
    scores = {"unet-24": MIDDLE, "unet_resnet34-24": UNSURE_BY_TILE, "deeplabv3plus_resnet34-24": [0.1] * 4}
    logs = study_of(scores, models=8).logs()
    first, _, third = conclusions([logs])
    said_first = (
        "Take unet_resnet34, but it is no clear winner among 3 architectures: with 24 tiles it has test IoU 0.575 "
    )
    assert first.startswith(f"{said_first}(95 % interval ")
    assert "), and unet, 0.075 (−0." in first
    assert ") behind, may be as good (4 test tiles in 3 places, 8 models each). To tell them apart" in first
    assert "takes about 15 places, by" in first  # the seeds do not differ: more of them would not do
    assert close_to_leader(logs) == ["unet_resnet34-24", "unet-24"]
    assert third == (
        "All of this took 1.6 core-hours (24 trials, 48 epochs). One model of unet_resnet34 takes 2.0 min to train; "
        "unet, which may be as good, takes no less."
    )


def test_cheapest_that_comes_close_is_named_with_its_price():
    study = MadeUp(*THREE)
    study.models("unet-24", 8, test=MIDDLE, epochs=1)
    study.models("unet_resnet34-24", 8, test=UNSURE_BY_TILE, epochs=3)
    study.models("deeplabv3plus_resnet34-24", 8, test=[0.1] * 4, epochs=1, seconds=0.6)
    assert said(study)[2].endswith(
        "One model of unet_resnet34 takes 3.0 min to train; unet, the cheapest that may be as good, takes 1.0 min."
    )


def test_equals_do_not_differ_however_many_seeds_and_places_there_are():
    study = study_of({"unet-24": [0.5] * 8, "sam_conv-24": [0.5] * 8}, models=8, **PLACES)
    first = said(study)[0]
    assert "and sam_conv, 0.000 (0.000 … 0.000) behind, may be as good (8 test tiles" in first
    assert "tell them apart" not in first


@pytest.mark.parametrize("reason", ["a small variant", "no better than the trivial predictor"])
def test_cheapest_is_never_one_that_is_worth_nothing(reason):
    study = MadeUp("unet", "unet_resnet34")
    study.models("unet-24", 2, val=[0.4, 0.5], epochs=1)
    study.models("unet_resnet34-24", 2, val=[0.5, 0.5], epochs=3)
    assert "unet, the cheapest that may be as good, takes" in said(study)[2]
    if reason == "a small variant":
        study.arms["unet-24"]["is_stand_in"] = True
    else:
        study.config["trivial"]["iou"] = 0.45
    assert said(study)[2].endswith("One model of unet_resnet34 takes 3.0 min to train.")


def test_single_architecture_has_nothing_to_be_compared_with():
    assert said(study_of({"unet-24": LOW}))[0] == (
        "Only unet has final models with 24 tiles: test IoU 0.300 (95 % interval 0.300 … 0.300), and nothing to "
        "compare it with."
    )


@pytest.mark.parametrize(
    ("config", "models", "why"),
    [
        ({}, 1, "it has a single model"),
        ({"groups": dict.fromkeys(TEST_TILES, "north")}, 2, "all scored tiles are from one place"),
    ],
)
def test_certainty_is_unknown_where_nothing_was_varied(config, models, why):
    first = said(clear(models=models, **config))[0]
    assert first.startswith(f"unet_resnet34 leads 2 architectures with 24 tiles, test IoU 0.600 (n = {models}")
    assert first.endswith(f": {why}.")


def test_architectures_that_cannot_be_compared_are_left_out_by_name_or_leave_certainty_unknown():
    study = MadeUp("unet", "unet_resnet34")
    study.model("unet-24", 0, test=LOW)
    study.models("unet_resnet34-24", 2, test=HIGH)
    assert said(study)[0].endswith(": no other architecture has two scored models.")
    study = MadeUp("unet", "unet_resnet34")
    study.models("unet-24", 2, test=LOW)
    study.models("unet_resnet34-24", 2, test_iou=0.9)
    assert said(study)[0].endswith(": its scores by tile are not in the logs.")
    assert close_to_leader(study.logs()) == ["unet_resnet34-24"]
    study = clear()
    study.arms |= MadeUp("sam_conv").arms
    study.config["arms"] = list(study.arms.values())
    study.model("sam_conv-24", 0, test=MIDDLE)
    first = said(study)[0]
    assert first.startswith("Trust unet_resnet34: with 24 tiles")
    assert "(4 test tiles in 3 places, 1 to 2 models each); sam_conv could not be compared." in first


def test_tuning_alone_does_not_say_which_architecture_to_trust():
    study = MadeUp("unet", "sam_conv", phase="phase2_tuning")
    for arm, iou in (("unet-24", 0.5), ("sam_conv-24", 0.6)):
        study.trial(arm, 0, [iou])
        study.select(arm, 0, iou - 0.01)
    first = said(study)[0]
    assert "the highest val IoU is 0.590 (sam_conv)" in first
    assert first.endswith("does not say which architecture to trust.")


def test_nothing_is_said_before_anything_was_scored():
    which, how_few, cost = said(MadeUp("unet"))
    assert which == "There is no result yet: no model has been scored."
    assert how_few.endswith("not known: all models were trained with 24.")
    assert cost == "All of this took 0 core-hours (0 trials, 0 epochs)."
    study = MadeUp("unet", phase="phase2_tuning")
    study.trial("unet-24", 0, [0.4])
    study.select("unet-24", 0, None)
    assert said(study)[0] == which


def test_budgets_are_told_with_the_best_of_the_architectures_that_have_all_of_them():
    scores = {"unet-5": LOW, "sam_conv-5": [0.1] * 4, "sam_unet-5": [0.9] * 4, "unet-12": MIDDLE, "sam_conv-12": HIGH}
    study = study_of(scores, phase="phase3_data_budget", tiles=(5, 12))
    assert said(study)[1] == (
        "Every labelled tile pays: the best test IoU is 0.600 (0.600 … 0.600) with 12 tiles (sam_conv), 0.300 (0.300 … "
        "0.300) less with 5 (unet)."
    )
    study = study_of({"unet-5": LOW, "sam_conv-12": HIGH}, models=1, phase="phase3_data_budget", tiles=(5, 12))
    assert said(study)[1] == (
        "How many labelled tiles are needed cannot be said for sure: the best test IoU is 0.600 (n = 1) with 12 tiles "
        "(sam_conv), 0.300 (n = 1) with 5 (unet); no architecture has all of these numbers."
    )
    studies = [study_of({f"unet-{tiles}": LOW}, tiles=(tiles,), name=f"of{tiles}").logs() for tiles in (5, 12, 24)]
    assert "is not known: of 5, 12 and 24 tiles, no study" in conclusions(studies)[1]


def test_budgets_tell_how_much_comes_from_the_draw_of_tiles_and_from_seeds():
    study = MadeUp("unet", phase="phase3_data_budget", tiles=(5, 24))
    study.models("unet-24", 2, test=HIGH)
    for subset, seed, iou in ((0, 0, 0.4), (0, 1, 0.5), (1, 0, 0.6), (1, 1, 0.7)):
        study.model("unet-5", seed, subset=subset, test=[iou] * 4)
    assert "which tiles they are moves IoU by about 0.141 and the seed by 0.071" in said(study)[1]
    assert "5 labelled tiles may be enough" in said(study)[1]
    assert ", 0.050 (−0.932 … 1.000) less with 5 (unet)" in said(study)[1]  # 0.6 minus the mean over both subsets


def test_cost_is_the_sum_of_all_studies_by_unit_and_unknown_where_it_is_not_logged():
    on_gpu = clear(name="a", slots={"count": 1, "cpus": 4, "gpus": 1.0})
    third = said(clear(name="b"), clear(name="c"), on_gpu)[2]
    assert third.startswith("All of this took 0.53 core-hours and 0.13 GPU-hours (12 trials, 24 epochs). ")
    study = MadeUp("unet", slots={"count": 1, "cpus": 600, "gpus": 0})
    study.model("unet-24", test=LOW, epochs=123, seconds=None)
    third = said(study)[2]
    assert third.startswith("All of this took 1,230 core-hours (1 trial, 123 epochs). ")
    assert third.endswith("One model of unet takes an unknown time to train.")


def test_study_that_decides_is_tested_before_sealed_and_tuned_before_untuned():
    def study(phase: str, name: str, split: str = "test", spec=None):
        iou = [0.5] * (4 if split == "test" else 2)
        return study_of({"unet-24": iou}, split=split, phase=phase, name=name, spec=spec).logs()

    first, third = study("phase1_comparison", "one"), study("phase3_data_budget", "three")
    varied, tuned = study("phase2_tuning", "varied", spec={"vary": "lr"}), study("phase2_tuning", "tuned")
    unconfirmed, sealed = MadeUp("unet", phase="phase2_tuning").logs(), study("phase2_tuning", "sealed", "val")
    for studies, name in (
        ([third, first, varied, tuned], "tuned"),
        ([third, varied, first], "one"),
        ([third, varied], "varied"),
        ([unconfirmed, sealed, third], "three"),
        ([unconfirmed, sealed], "sealed"),
    ):
        assert deciding_study(studies).study["study"] == name
    joined = clear(phase="phase2_tuning", name="joined", groups=GROUPS)
    assert "(joined: 4 test tiles in 3 places, 2 models each)" in said(clear(), joined)[0]


def test_nothing_is_recommended_that_is_no_better_than_one_class_everywhere():
    """Which scores 0.4: as many pixels of roof as predicted in each tile."""
    tiles = {"classes": ["background", "roof"], "class_pixels": {"train": [6, 4], "val": [6, 4]}}
    study = study_of({"unet-5": LOW, "unet-24": LOW, "sam_conv-24": [0.1] * 4}, tiles=(5, 24), **tiles)
    for row in (row for row in study.rows if "model/test_iou" in row):
        row["model/test_tile_confusion"] = [[30, 30, 20, 20]] * 4
    first, second, _ = said(study)
    assert first.startswith("unet is clearly ahead: ")
    assert "cannot be said, as none beats predicting roof everywhere: the best test IoU is 0.300" in second


@pytest.mark.parametrize(
    ("few", "models", "words"),
    [
        ([0.2, 0.2, 0.5, 0.5], 2, "Every labelled tile pays: "),  # although the arms' own intervals overlap
        ([0.3, 0.3, 0.5, 0.65], 2, "5 labelled tiles may be enough: "),
        ([0.3, 0.3, 0.6, 0.599], 2, "5 labelled tiles are enough: "),
        ([0.4, 0.4, 0.7, 0.7], 2, " 0.100 (0.100 … 0.100) more with 5 (unet)"),
        ([0.2, 0.2, 0.5, 0.5], 1, "cannot be said for sure: "),
    ],
)
def test_fewer_tiles_are_enough_where_nothing_clear_is_lost_on_the_same_tiles_and_seeds(few, models, words):
    scores = {"unet-24": [0.3, 0.3, 0.6, 0.6], "unet-5": few}
    assert words in said(study_of(scores, models=models, phase="phase3_data_budget", tiles=(5, 24)))[1]


def test_all_tiles_stand_beside_every_subset_of_fewer():
    study = MadeUp("unet", phase="phase3_data_budget", tiles=(5, 24))
    for seed in (0, 1):
        study.model("unet-24", seed, test=HIGH)
        for subset, iou in enumerate((0.3, 0.5)):
            study.model("unet-5", seed, subset=subset, test=[iou] * 4)
    gain = read_tile_scores(study.logs(), "test").gain("unet-24", "unet-5")
    assert gain.mean == pytest.approx(0.2)  # of .3 and .1: each subset with each seed
    assert gain.levels == {0: 2, 1: 2, 2: 3}
    assert "0.200 (" in said(study)[1]


def test_arms_with_more_seeds_are_compared_on_those_that_both_have():
    study = study_of({"unet-24": LOW, "sam_conv-24": HIGH}, spec={"seeds": 2, "max_seeds": 4})
    study.model("sam_conv-24", 2, test=[0.1] * 4)
    logs = study.logs()
    assert compare(logs, ("sam_conv-24", "unet-24")).behind["unet-24"].mean == pytest.approx(0.3)
    (note,) = [text for text in study_notes(logs) if "seeds" in text and "told" in text]
    assert "kept 2 seeds, others got up to 4: sam_conv-24 (3). " in note
