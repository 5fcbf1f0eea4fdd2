"""Checks what is said of further test sets: their columns, the order of the architectures there, and the sentence."""

import math

import pytest

from analysis.logs import rows
from analysis.report.conclude.conclusions import conclusions
from analysis.report.limits.study_warnings import study_warnings
from analysis.report.study_notes import study_notes
from analysis.tables import formatting
from analysis.tables.elsewhere import elsewhere
from analysis.tables.iou_tables import iou_by_architecture
from analysis.tables.tile_scores import read_tile_scores
from tests.analysis.made_up import MadeUp

THREE = ("unet", "unet_resnet34", "sam_conv")
CITY = [f"c{number}" for number in range(8)]
UP, DOWN = [0.6] * 8, [0.4] * 8
UNSURE = [0.6, 0.3] * 4  # the mean of eight tiles is 0.45


def study_of(scores, *, models=3, **config):
    """A study whose arms have as many models, all with the same scores on `test` and on `test-city`."""
    study = MadeUp(*scores, further_tiles={"test-city": CITY}, test_tiles=[*"12345678"], groups={}, **config)
    for architecture, (test, city) in scores.items():
        arm = f"{architecture}-24"
        study.models(arm, models, test=test, val=[0.5, 0.5])
        for number in range(models if city else 0):
            score_elsewhere(study, arm, number, city)
    return study


def score_elsewhere(study, arm, number, iou, **about):
    row = {"arm": arm, "number": number, "test_set": "city", "signature": f"sig-{arm}-{number}", "test_tiles": CITY}
    row |= {"test_iou": sum(iou) / len(iou), "test_f1": 0.7, "test_tile_iou": iou}
    study.rows.append(rows.FURTHER.to_history(row | about))


def said(study):
    return conclusions([study.logs()])[0].partition(" On test-city ")[2]


@pytest.fixture
def turned():
    """The leader of `test` is the last on `test-city`."""
    return study_of({"unet": (DOWN, UP), "unet_resnet34": ([0.5] * 8, [0.5] * 8), "sam_conv": (UP, DOWN)})


def test_main_table_has_the_iou_of_each_further_set_with_its_interval(turned):
    frame = iou_by_architecture(turned.logs())
    assert list(frame["architecture"]) == ["sam_conv", "unet_resnet34", "unet"]
    assert list(frame["test-city_iou"]) == pytest.approx([0.4, 0.5, 0.6])
    assert list(frame["test-city_iou_low"]) == pytest.approx([0.4, 0.5, 0.6])
    assert list(frame["test-city_f1"]) == pytest.approx([0.7] * 3)
    shown = formatting.shown(frame)
    assert [formatting.heading(column) for column in shown if column.startswith("test-")] == [
        *("test-city IoU", "test-city F1"),
    ]
    assert formatting.cell("test-city_f1", 0.7) == "0.700"
    assert shown["test-city_iou"][0] == "0.400 (0.400 … 0.400)"


def test_scores_of_a_further_set_are_logged_tile_by_tile_beside_those_of_test(turned):
    logs = turned.logs()
    assert logs.further == ("test-city",)
    scores, decides = read_tile_scores(logs, "test-city"), read_tile_scores(logs, "test")
    assert scores.tiles == tuple(CITY)
    assert scores.iou.shape == (3, 3, 8)
    assert decides.tiles == tuple("12345678")
    assert list(logs.models["test-city_iou"][::3]) == pytest.approx([0.6, 0.5, 0.4])


def test_order_lead_and_agreement_are_told_per_set(turned):
    here, there = elsewhere(turned.logs()).to_dict("records")
    assert (here["test_set"], here["order"]) == ("test", "sam_conv > unet_resnet34 > unet")
    assert (there["test_set"], there["order"]) == ("test-city", "unet > unet_resnet34 > sam_conv")
    assert (there["leader"], there["over"], there["clear"]) == ("sam_conv", "unet", "yes")
    assert [there[name] for name in ("lead", "lead_low", "lead_high")] == pytest.approx([-0.2] * 3)
    assert here["lead"] == pytest.approx(0.1)
    assert math.isnan(here["kendall_tau"])
    assert there["kendall_tau"] == -1
    assert (there["scored_tiles"], there["places"]) == (8, 8)


def test_agreement_of_orders_is_kendalls_tau():
    """Of three pairs, two are in the same order."""
    study = study_of({"unet": (DOWN, [0.5] * 8), "unet_resnet34": ([0.5] * 8, DOWN), "sam_conv": (UP, UP)})
    assert elsewhere(study.logs())["kendall_tau"][1] == pytest.approx(1 / 3)
    study = study_of({"unet": (DOWN, UP), "sam_conv": (UP, UP)})
    there = elsewhere(study.logs()).to_dict("records")[1]
    assert (there["order"], there["clear"]) == ("sam_conv > unet", "no")  # of equal ones, the leader comes first
    assert math.isnan(there["kendall_tau"])


@pytest.mark.parametrize(
    ("unet", "sam", "words"),
    [
        (DOWN, UP, "(8 tiles), sam_conv leads as well, by 0.200 (0.200 … 0.200) over unet, clearly."),
        (UNSURE, [0.5] * 8, "over unet, which may be due to chance."),
        (UP, DOWN, "(8 tiles), unet leads instead: sam_conv is 0.200 (0.200 … 0.200) behind it, which is clear."),
        ([0.5] * 8, UNSURE, "behind it, which may be due to chance."),
    ],
)
def test_conclusion_tells_whether_the_leader_leads_there_and_how_sure_that_is(unet, sam, words):
    assert said(study_of({"unet": (DOWN, unet), "sam_conv": (UP, sam)})).endswith(words)


def test_clear_lead_over_the_next_best_is_no_clear_lead_over_one_that_varies_more():
    study = study_of({"unet": (DOWN, [0.55] * 8), "unet_resnet34": (DOWN, UNSURE), "sam_conv": (UP, UP)})
    assert said(study).endswith(
        "by 0.050 (0.050 … 0.050) over unet, but its lead over unet_resnet34 may be due to chance."
    )
    study = study_of({"unet": (DOWN, [0.55] * 8), "unet_resnet34": (DOWN, DOWN), "sam_conv": (UP, UP)})
    assert said(study).endswith("over unet, the next best, and clearly over all others.")


def test_certainty_is_unknown_with_a_single_model_each():
    study = study_of({"unet": (DOWN, UP), "sam_conv": (UP, DOWN)}, models=1)
    assert said(study) == "(8 tiles), unet leads instead, by 0.200 over sam_conv, but how sure that is cannot be said."
    assert elsewhere(study.logs())["clear"].isna().all()


def test_nothing_is_said_of_sets_that_were_not_scored_or_that_lack_the_leader():
    study = study_of({"unet": (DOWN, None), "sam_conv": (UP, None)})
    logs = study.logs()
    assert logs.further == ()
    assert elsewhere(logs).empty
    assert "On test-city" not in conclusions([logs])[0]
    study = study_of({"unet": (DOWN, UP), "sam_conv": (UP, None)})
    assert "On test-city" not in conclusions([study.logs()])[0]
    score_elsewhere(study, "sam_conv-24", 0, UP, signature="another configuration")
    assert "On test-city" not in conclusions([study.logs()])[0]


def test_openings_and_the_way_of_scoring_are_told_per_set(turned):
    turned.open("unet-24", num_attempts=3, num_studies=2)
    turned.open("unet-24", num_attempts=1, test_set="city")
    turned.open("unet-24", "reopened", test_set="city", why="a bug")
    turned.config["groups"] = {"1": "here", "c0": "here", "v1": "there", "c1": "there"}
    score_elsewhere(turned, "unet-24", 0, UP, scored="test-city on the CPU")
    logs = turned.logs()
    warnings = study_warnings(logs)
    assert "The test-city tiles were REOPENED for unet-24: a bug." in warnings
    assert any("One place has" in text and "there (val, test-city)" in text for text in warnings)
    assert "These test tiles have been opened by 3 attempts of 2 studies so far." in study_notes(logs)
    assert "These test-city tiles have been opened by 1 attempt of 1 study so far." in study_notes(logs)
    assert logs.models.set_index(["arm", "number"]).loc[("unet-24", 0), "scored"] == "test-city on the CPU"


def test_pixels_of_all_tiles_count_together_with_several_classes():
    """Per tile 3 of 4 pixels of each of three classes are right, the others of the next class: IoU 3 / 5."""
    study = study_of({"unet": (DOWN, None), "sam_conv": (UP, None)}, models=2, classes=["a", "b", "c"])
    for arm, number in ((arm, number) for arm in study.arms for number in (0, 1)):
        score_elsewhere(study, arm, number, UP, test_tile_confusion=[[3, 1, 0, 0, 3, 1, 1, 0, 3]] * 8)
    scores = read_tile_scores(study.logs(), "test-city")
    assert scores.confusions.shape == (2, 2, 8, 3, 3)
    assert scores.means() == pytest.approx([0.6, 0.6])
