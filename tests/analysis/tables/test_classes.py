"""Checks scores by class against confusion matrices worked out by hand."""

import numpy as np
import pytest

from analysis.figures import class_figures
from analysis.figures.drawing import render
from analysis.stats.bootstrap import bootstrap_pooled_iou
from analysis.stats.confusion import class_iou, mean_class_iou, tile_parts
from analysis.tables import classes, search_results
from analysis.tables.arm_scores import iou_by_arm
from analysis.tables.contrasts import architecture_contrasts
from analysis.tables.tile_scores import read_tile_scores
from tests.analysis.made_up import TEST_TILES, MadeUp

CLASSES = {
    "classes": ["clear", "thick", "thin"],
    "class_colors": ["#2040a0", "#ffffff", "#c0c0d0"],
    "class_pixels": {"train": [60, 30, 10], "val": [20, 20, 0]},
    "ignored_pixels": {"train": 100, "val": 0},
}
RIGHT = [[4, 0, 0], [0, 2, 0], [0, 0, 0]]
WRONG = [[2, 2, 0], [2, 0, 0], [0, 0, 0]]
CLEAR = [[4, 0, 0], [2, 0, 0], [0, 0, 0]]


def matrices(*per_tile) -> dict:
    return {"test_tile_confusion": [np.ravel(matrix).tolist() for matrix in per_tile]}


def iou_of(*per_tile) -> list[float]:
    return [float(mean_class_iou(np.array(matrix, dtype=float))) for matrix in per_tile]


@pytest.fixture
def study() -> MadeUp:
    """One architecture right on two tiles and wrong on two; another that calls everything clear."""
    made = MadeUp("unet", "sam_conv", **CLASSES)
    for seed in range(2):
        half = (RIGHT, RIGHT, WRONG, WRONG)
        made.model("unet-24", seed, test=iou_of(*half), **matrices(*half))
        made.model("sam_conv-24", seed, test=iou_of(*[CLEAR] * 4), **matrices(*[CLEAR] * 4))
    return made


def scored(logs, score: str = "IoU"):
    frame = classes.scores_by_class(logs)
    return frame[frame["score"] == score]


def marks_of(logs):
    """The figure of the IoU by class."""
    frame = scored(logs)
    shown = frame[["class", "test", *frame.columns.drop(["score", "class", "train", "val", "test"])]]
    return class_figures.by_class(shown.reset_index(drop=True), metric="test IoU")


def test_iou_and_f1_by_class_are_of_the_pooled_matrix(study: MadeUp):
    frame = scored(study.logs())
    assert list(frame["class"]) == ["clear", "thick", "thin", "mean over classes"]
    # Pooled: clear 12 of 16 right, 4 called thick; thick 4 of 8 right, 4 called clear
    clear, thick = 12 / (16 + 4), 4 / (8 + 4)
    assert frame["unet"].tolist() == pytest.approx([clear, thick, np.nan, (clear + thick) / 2], nan_ok=True)
    assert frame["test"].tolist()[:3] == pytest.approx([16 / 24, 8 / 24, 0])
    assert frame["train"].tolist()[:3] == pytest.approx([0.6, 0.3, 0.1])
    assert frame["sam_conv"].tolist() == pytest.approx(frame["everything is clear"].tolist(), nan_ok=True)
    assert frame["everything is clear"].tolist() == pytest.approx([16 / 24, 0, np.nan, 16 / 48], nan_ok=True)
    clear, thick = 2 * 12 / (2 * 12 + 4 + 4), 2 * 4 / (2 * 4 + 4 + 4)
    expected = [clear, thick, np.nan, (clear + thick) / 2]
    assert scored(study.logs(), "F1")["unet"].tolist() == pytest.approx(expected, nan_ok=True)
    assert classes.scores_by_class(study.logs())["class"].iloc[-1] == "ignored"


def test_scores_over_classes_stand_beside_the_trivial_predictors(study: MadeUp):
    first, second, trivial = classes.scores_over_classes(study.logs()).to_dict("records")
    accuracy = 16 / 24
    assert first["accuracy"] == pytest.approx(accuracy)
    assert first["micro_iou"] == pytest.approx(16 / (2 * 24 - 16))  # hits over hits, misses and false alarms
    assert first["mean_iou"] == pytest.approx((12 / 20 + 4 / 12) / 2)
    assert first["mean_iou_low"] < first["mean_iou"] < first["mean_iou_high"]
    assert (first["one_class"], second["one_class"], second["models"]) == (0, 2, 2)
    assert trivial["architecture"] == "everything is clear"
    assert trivial["mean_iou"] == pytest.approx(second["mean_iou"])
    assert trivial["accuracy"] == pytest.approx(accuracy)


def test_constant_is_scored_on_test_as_every_model_is(study: MadeUp):
    assert classes.constant_iou(study.logs(), "test") is None  # roof is no class of theirs
    study.config["trivial"] = {"class": "clear", "iou": 0.3, "f1": 0.4}
    assert classes.constant_iou(study.logs(), "val") == 0.3
    assert classes.constant_iou(study.logs(), "test") == pytest.approx((16 / 24 + 0 / 8) / 2)


@pytest.mark.parametrize(
    ("constant", "iou"),
    # Tiles of 6 roof pixels of 8, and of none: all roof scores 6/8 and 0, no roof 0 and 1
    [("roof", (6 / 8 + 0) / 2), ("background", (0 + 1) / 2)],
)
def test_constant_of_two_classes_is_scored_by_tile(constant, iou):
    study = MadeUp("unet", classes=["background", "roof"], trivial={"class": constant, "iou": 0.3, "f1": 0.4})
    with_roof, without = [[1, 1], [2, 4]], [[7, 1], [0, 0]]
    study.model("unet-24", test=[0.5, 0.5, 0.0, 0.0], **matrices(with_roof, with_roof, without, without))
    assert classes.constant_iou(study.logs(), "test") == pytest.approx(iou)


def test_class_shares_have_the_test_tiles_once_they_were_opened_and_models_of_one_class_are_named(study: MadeUp):
    logs = study.logs()
    assert {its.shape for its in logs.confusions.values()} == {(len(TEST_TILES), 3, 3)}
    assert classes.of_one_class(logs) == ["sam_conv-24 #0 (clear)", "sam_conv-24 #1 (clear)"]
    frame = classes.class_shares(logs).set_index("class")
    assert frame["train"].tolist() == pytest.approx([0.6, 0.3, 0.1, 0.5])  # the last one ignored, of all pixels
    assert frame["test"].tolist() == pytest.approx([16 / 24, 8 / 24, 0, np.nan], nan_ok=True)
    sealed = MadeUp("unet", **CLASSES)
    assert "test" not in classes.class_shares(sealed.logs())


def test_logs_without_classes_have_no_tables_of_them():
    made = MadeUp("unet")
    made.model("unet-24", test=[0.5] * 4)
    logs = made.logs()
    assert classes.class_shares(logs).empty
    assert classes.scores_by_class(logs).empty
    assert classes.scores_over_classes(logs).empty
    assert classes.of_one_class(logs) == []


def test_intervals_of_more_classes_hold_the_pooled_iou(study: MadeUp):
    """The mean over tiles of a tile's own mean IoU is another number; the interval is of the one that is shown."""
    logs = study.logs()
    scores = read_tile_scores(logs, "test")
    assert scores.confusions is not None
    assert scores.means().tolist() == pytest.approx([(12 / 20 + 4 / 12) / 2, 16 / 48])
    low, high = scores.interval("unet-24")
    assert low < scores.means()[0] < high
    assert iou_by_arm(logs)["low"].iloc[0] == pytest.approx(low)


def test_pooled_replicates_are_those_of_drawn_matrices():
    """With a single tile group every replicate holds all tiles equally often: the plain pooled IoU of the models."""
    pooled = np.array([[RIGHT, WRONG], [WRONG, WRONG]], dtype=float)[None]
    by_hand = [float(mean_class_iou(model.sum(axis=0))) for model in pooled[0]]
    found = bootstrap_pooled_iou(pooled, (np.arange(2),), np.zeros(2, dtype=int), num_replicates=500)
    values = sorted(set(np.round(found[:, 0], 12)))
    assert values == pytest.approx(sorted({by_hand[0], by_hand[1], sum(by_hand) / 2}))


def test_parts_of_tiles_have_the_pooled_iou_as_their_mean_and_are_its_derivative():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 50, (2, 5, 3, 3)).astype(float)
    counts[:, 4] = np.nan  # not scored
    found = tile_parts(counts)
    pooled = mean_class_iou(counts[:, :4].sum(axis=1))
    assert found[:, :4].mean(axis=1) == pytest.approx(pooled)
    assert np.isnan(found[:, 4]).all()
    for tile in range(4):  # a little more of a tile moves the pooled IoU by its part
        more = counts[:, :4].copy()
        more[:, tile] *= 1 + 1e-6
        slope = (mean_class_iou(more.sum(axis=1)) - pooled) / 1e-6
        assert found[:, tile] - pooled == pytest.approx(4 * slope, abs=1e-6)


def test_parts_of_tiles_leave_out_a_class_that_is_on_none():
    counts = np.array([RIGHT, WRONG], dtype=float)  # without "thin"
    assert tile_parts(counts).mean() == pytest.approx(mean_class_iou(counts.sum(axis=0)))


def test_contrast_of_more_classes_is_of_the_iou_that_the_main_table_shows():
    made = MadeUp("unet", "unet_resnet34", **CLASSES)
    for arm, tiles in (("unet-24", (WRONG, WRONG, RIGHT, CLEAR)), ("unet_resnet34-24", (RIGHT, WRONG, RIGHT, RIGHT))):
        for seed in range(3):
            pooled = iou_of(np.sum(tiles, axis=0))[0]
            made.model(arm, seed, test=iou_of(*tiles), test_iou=pooled, **matrices(*tiles))
    logs = made.logs()
    scores, (contrast,) = read_tile_scores(logs, "test"), architecture_contrasts(logs).to_dict("records")
    assert contrast["difference"] == pytest.approx(scores.means()[1] - scores.means()[0])
    by_arm = iou_by_arm(logs)
    assert contrast["difference"] == pytest.approx(by_arm["mean"].iloc[1] - by_arm["mean"].iloc[0])


def test_class_iou_takes_matrices_of_any_number():
    stack = np.array([RIGHT, WRONG, CLEAR], dtype=float)
    assert np.allclose(class_iou(stack)[1], [2 / 6, 0, np.nan], equal_nan=True)
    assert mean_class_iou(stack).tolist() == pytest.approx([1.0, 1 / 6, (4 / 6) / 2])
    assert np.isnan(mean_class_iou(np.zeros((3, 3))))


def test_figures_of_classes_name_every_class_and_architecture_and_take_no_name_for_a_formula(study: MadeUp):
    study.config["classes"] = names = ["x$_$y", "thick", "a$b_c$d"]
    logs = study.logs()
    colors = dict(zip(names, CLASSES["class_colors"], strict=True))
    bars = render(class_figures.shares(classes.class_shares(logs), colors), "svg").decode()
    marks = render(marks_of(logs), "svg").decode()
    for name in (*names, "train 60.0 %"):
        assert f"<!-- {name}" in bars
    for name in ("x$_$y (66.7 %)", "thick (33.3 %)", "mean over classes", "unet", "everything is x$_$y"):
        assert f"<!-- {name} -->" in marks


def test_levels_of_more_classes_are_means_of_what_was_judged():
    """Judged by the pooled IoU, 0.6 and 0.8; the means over tiles are others, and have no say."""
    made = MadeUp("unet", phase="phase2_tuning", spec={"vary": "loss", "seeds": 2}, **CLASSES)
    for number, value in enumerate((0.6, 0.8)):
        made.trial("unet-24", number, [value], by_tile=[0.1, 0.2], loss="dice")
    (row,) = search_results.fixed_values(made.logs()).to_dict("records")
    assert (row["value"], row["mean"]) == ("dice", pytest.approx(0.7))
    assert np.isnan(row["low"])
