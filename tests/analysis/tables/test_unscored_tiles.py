"""Tiles in which no pixel counts: they have no score, and nothing may take them for one."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.logs.frames import Logs
from analysis.report.compose import compose
from analysis.report.study_notes import study_notes
from analysis.tables import classes
from analysis.tables import formatting as tables
from analysis.tables.arm_scores import iou_by_arm
from analysis.tables.contrasts import architecture_contrasts
from analysis.tables.iou_tables import iou_by_architecture
from analysis.tables.spread import spread
from analysis.tables.tile_scores import read_tile_scores
from tests.analysis.made_up import TEST_TILES, MadeUp

SCORES = {("unet-24", 0): [0.5, 0.6, 0.4], ("unet-24", 1): [0.4, 0.7, 0.3], ("unet_resnet34-24", 0): [0.7, 0.6, 0.6]}
SCORES |= {("unet_resnet34-24", 1): [0.6, 0.8, 0.5]}
VOID = TEST_TILES[3]  # west-1, alone in its place
TWO = {"classes": ["background", "roof"], "class_pixels": {"train": [3, 1], "val": [3, 1]}}
TWO |= {"class_colors": ["#000000", "#e63946"], "ignored_pixels": {"train": 0, "val": 0}}


def made_up(void: list[float | None]) -> Logs:
    """Two arms of two models; `void` is appended to the scores of three tiles, with the matrices that go with them."""
    study = MadeUp("unet", "unet_resnet34", **TWO)
    for (arm, seed), iou in SCORES.items():
        matrices = [[10, 0, round(10 * (1 - value)), round(10 * value)] for value in iou]
        matrices += [[0, 0, 0, 0] for _ in void]
        study.model(arm, seed, test=[*iou, *void], test_tile_confusion=matrices)
    return study.logs()


def test_tables_and_pooled_scores_are_of_the_tiles_that_have_scored_pixels() -> None:
    with_it, without = made_up([None]), made_up([])
    for table in (iou_by_architecture, iou_by_arm, spread, architecture_contrasts):
        pd.testing.assert_frame_equal(table(with_it), table(without))
    assert classes.constant_iou(with_it, "test") == classes.constant_iou(without, "test") == pytest.approx(0.5)
    found = read_tile_scores(with_it, "test")
    assert found is not None
    assert (found.tiles, found.num_groups) == (tuple(TEST_TILES[:3]), 2)
    config = {"classes": ["a", "b", "c"], "class_pixels": {"train": [2, 1, 1], "val": [2, 1, 1]}}
    study = MadeUp("unet", **config, ignored_pixels={"train": 0, "val": 9})
    scored = np.diag([4, 3, 2]).ravel().tolist()
    other = np.array([[4, 0, 0], [0, 0, 3], [0, 0, 0]]).ravel().tolist()
    for seed in (0, 1):
        study.model("unet-24", seed, test=[1.0, None, 0.5], test_tile_confusion=[scored, [0] * 9, other])
    found = read_tile_scores(study.logs(), "test")
    assert found is not None
    assert found.confusions is not None
    assert found.tiles == (TEST_TILES[0], TEST_TILES[2])
    assert found.confusions[0, 0].reshape(2, -1).tolist() == [scored, other]


@pytest.mark.usefixtures("undrawn")
def test_report_says_which_tiles_have_no_scored_pixel() -> None:
    logs = made_up([None])
    (said,) = [text for text in study_notes(logs) if "labelled pixel" in text]
    assert said == f"1 test tile has no labelled pixel and is left out of all scores: {VOID}."
    assert not [text for text in study_notes(made_up([])) if "labelled pixel" in text]
    both = replace(logs, scores=logs.scores.assign(iou=math.nan, split="val"))
    assert "4 val tiles have no labelled pixel and are left out of all scores: " in " ".join(study_notes(both))
    composed = compose([logs])
    row = composed.frames["scores"].set_index(["arm", "number", "tile"]).loc[("unet-24", 0, VOID)]
    assert pd.isna(row["iou"])
    assert tables.cell("iou", row["iou"]) == tables.MISSING
