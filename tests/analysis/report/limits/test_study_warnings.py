"""Checks what a reader is told of a study's limits, at the top of its report and below its tables."""

from typing import Any

import pytest

from analysis.report.limits.study_warnings import study_warnings
from analysis.report.study_notes import study_notes
from tests.analysis.made_up import TEST_TILES, MadeUp

FLAT = [0.5] * 4


def whole(*architectures: str, **config: Any) -> MadeUp:
    """A study of phase 1 that has nothing to be warned of, on eight places."""
    groups = {tile: tile for tile in (f"e{number}" for number in range(8))}
    study = MadeUp(*(architectures or ("unet",)), **{"test_tiles": list(groups), "groups": groups} | config)
    for arm in study.arms:
        study.models(arm, 2, val=[0.5, 0.5], test=[0.5] * 8)
    return study


def test_incomplete_study_says_so_first_and_a_sound_one_nothing():
    assert study_warnings(whole().logs()) == []
    study = whole()
    study.trial("unet-24", 7, [0.2], stage="final", is_ended=False)
    study.trial("unet-24", 8, [0.2], "interrupted", stage="final")
    note = "The study's run has not ended: it is still running or was killed, and this is what it logged."
    assert study_warnings(study.logs(is_ended=False)) == [
        f"INCOMPLETE: 2 trials had not ended when this was logged. {note}",
    ]


def test_study_that_has_just_begun_or_found_nothing_is_incomplete():
    assert study_warnings(MadeUp("unet").logs()) == [
        "INCOMPLETE: No trial has started.",
        "This study has no test score.",
    ]
    study = MadeUp("unet", phase="phase2_tuning")
    study.trial("unet-24", 0, [], "failed")
    study.trial("unet-24", 1, [], "out of memory")
    assert study_warnings(study.logs()) == [
        "INCOMPLETE: No trial was selected and no final model was scored.",
        "2 of 2 trials gave no result: 1 failed, 1 out of memory (unet-24 2). They count against the trials allowed.",
        "This study has no test score.",
    ]


def test_arms_without_a_final_model_or_with_fewer_than_planned_are_named():
    study = whole(phase="phase2_tuning")
    other = MadeUp("sam_conv", "sam_unet").arms
    study.arms |= other
    study.config["arms"] = list(study.arms.values())
    study.trial("sam_conv-24", 0, [0.4])
    study.select("sam_conv-24", 0, 0.4)
    study.trial("sam_unet-24", 0, [], "failed")  # has nothing to be confirmed
    assert study_warnings(study.logs())[0] == "INCOMPLETE: No final model yet: sam_conv-24."
    spec = {"seeds": 2, "subsets": 3}
    study = whole(phase="phase3_data_budget", tiles=(5, 24), spec=spec)
    assert study_warnings(study.logs()) == ["Fewer final models than planned: unet-5 2 of 6."]
    assert study_warnings(whole(spec={"seeds": 3}).logs()) == ["Fewer final models than planned: unet-24 2 of 3."]


def test_reopened_test_tiles_smoke_runs_small_variants_and_missing_weights_are_named():
    study = whole()
    study.open("unet-24")
    study.open("unet-24", "reopened", why="a bug in\nthe metric.")
    study.open("unet-24", "reopened", why="a bug in the  metric.", attempt="other")
    study.open("sam_conv-24", "reopened")
    assert study_warnings(study.logs()) == [
        "The test tiles were REOPENED for unet-24: a bug in the metric.",
        "The test tiles were REOPENED for sam_conv-24: no reason is logged.",
    ]
    study = whole("unet", "unet_resnet34", "sam_conv", profile="smoke")
    study.arms["sam_conv-24"] |= {"is_stand_in": True, "architecture_label": "sam_conv (small)", "weights": "none"}
    study.arms["unet_resnet34-24"]["weights"] = "none"
    smoke, small, scratch = study_warnings(study.logs())
    assert smoke.startswith("This is a smoke run")
    assert (small.rpartition(": ")[2], scratch.rpartition(": ")[2]) == ("sam_conv (small).", "unet_resnet34.")


def test_failed_trials_are_counted_by_how_and_where_and_models_without_a_score_named_up_to_four():
    study = whole("unet", "sam_conv", phase="phase2_tuning")
    study.trial("sam_conv-24", 0, [], "out of memory")
    study.trial("unet-24", 0, [0.1], "diverged")
    study.trial("sam_conv-24", 1, [], "failed")
    assert study_warnings(study.logs()) == [
        "3 of 7 trials gave no result: 1 failed, 1 diverged, 1 out of memory (unet-24 1, sam_conv-24 2). They count "
        "against the trials allowed.",
    ]
    study = whole()
    for seed in range(2, 8):
        study.model("unet-24", seed, state="diverged")
    assert study_warnings(study.logs())[1] == (
        "Final models without a score: unet-24 #2 (diverged), unet-24 #3 (diverged), unet-24 #4 (diverged), "
        "unet-24 #5 (diverged) and 2 more."
    )


def test_sealed_test_tiles_say_what_val_is_worth():
    study = MadeUp("unet", phase="phase2_tuning")
    study.trial("unet-24", 0, [0.4])
    study.select("unet-24", 0, 0.4)
    (tuned,) = study_warnings(study.logs())
    assert "the best of several trials on the val tiles" in tuned
    study.models("unet-24", 2, val=[0.3, 0.4])
    assert "which also chose the epoch of each model" in study_warnings(study.logs())[0]


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (
            None,
            "All scores are from only 3 places (4 test tiles): "
            "intervals are wide for it, and say nothing of unlike places.",
        ),
        ({}, "All scores are from only 4 test tiles: intervals are wide for it, and say nothing of unlike places."),
        (
            dict.fromkeys(TEST_TILES, "north"),
            "All scores are from one place (4 test tiles), so there are no intervals.",
        ),
    ],
)
def test_few_places_are_counted(groups: dict[str, str] | None, told: str):
    study = MadeUp("unet", **{} if groups is None else {"groups": groups})
    study.models("unet-24", 2, test=FLAT)
    assert study_warnings(study.logs()) == [told]


def test_arms_without_an_interval_are_named():
    study = MadeUp("unet", "sam_conv", test_tiles=TEST_TILES)
    study.model("unet-24", test=FLAT)
    study.models("sam_conv-24", 2, test_iou=0.5)
    told = study_warnings(study.logs())
    assert "Only one final model, so neither an interval (n = 1) nor a comparison: unet-24." in told
    assert "No scores by test tile are logged, so neither an interval nor a comparison: sam_conv-24." in told


def test_remarks_tell_who_opened_the_test_tiles_micro_batches_and_lost_work():
    study = whole()
    study.open("unet-24", num_attempts=4, num_studies=3)
    study.open("unet-24", "recorded", num_attempts=5, num_studies=3)
    assert study_notes(study.logs())[:2] == [
        "Test scores recorded at an earlier opening were used again for unet-24.",
        "These test tiles have been opened by 5 attempts of 3 studies so far.",
    ]
    study = whole(phase="phase2_tuning")
    study.trial("unet-24", 1, [0.6], cost={"micro_batch_size": 2, "lost_epochs": 1, "lost_seconds": 10.4})
    study.trial("unet-24", 2, [0.6], cost={"lost_seconds": 5.0})
    assert study_notes(study.logs())[:2] == [
        "Ran out of memory and went on in micro-batches: unet-24 #1 (2 draws at once).",
        "1 epoch was trained again after lost workers or interruptions, which took 15 s.",
    ]


def test_remarks_tell_where_an_iou_is_not_the_mean_over_tiles_and_what_val_was_used_for():
    study = whole()
    study.model("unet-24", 2, test=[0.5] * 8, test_iou=0.52)
    assert study_notes(study.logs())[0].startswith(
        "The IoU of a model is computed from the pixels of all tiles together; intervals and contrasts use its mean "
    )
    assert study_notes(whole().logs()) == [
        "Besides its train tiles, every model used 2 labelled val tiles to choose its epoch.",
    ]
    assert study_notes(whole(phase="phase2_tuning", tiles=(5, 24)).logs()) == [
        "Smaller sets of tiles are parts of larger ones (5 ⊂ 24), so they are not independent.",
        "Besides its train tiles, every model used 2 labelled val tiles to choose its epoch and its hyperparameters.",
    ]


def test_remarks_of_data_budgets_say_what_their_spread_is_worth():
    study = whole(phase="phase3_data_budget", tiles=(5, 24))
    for arm in study.arms.values():
        arm["chosen"] = {"tiles": 24, "study": "phase2"}
    assert study_notes(study.logs())[:3] == [
        "With 24 tiles there is one subset, all of them: only seeds differ.",
        "Tile subsets are drawn from the same 24 tiles and overlap, so subsets of new tiles would spread more.",
        "Hyperparameters were tuned with 24 tiles (phase2) and used for all numbers of tiles.",
    ]
