"""Checks how frames are set for people: headings, rounding, intervals in one column, and Markdown."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.tables import formatting as tables
from tests.analysis.made_up import MadeUp


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("12", "12 tiles"),
        ("val_iou", "val IoU"),
        ("p_holm", "p (Holm)"),
        ("lost_epochs", "lost epochs"),
        ("val/iou", "val/iou"),
        ("published_test_iou", "published test IoU"),
    ],
)
def test_heading_is_as_a_person_reads_it(column: str, words: str):
    assert tables.heading(column) == words


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("val_iou", 0.12345, "0.123"),
        ("5", 0.5, "0.500"),
        ("difference", -0.0214, "\N{MINUS SIGN}0.021"),
        ("difference", -0.0001, "0.000"),
        ("minutes", 12.34, "12.3"),
        ("hours", 0.004, "0.00"),
        ("lr", 0.0001, "0.0001"),
        ("lr", 0.0031622776, "0.00316"),
        ("seconds", 1234.56, "1235"),
        ("p", 0.0312, "0.031"),
        ("p_holm", 0.00004, "<0.001"),
        ("trials", 12, "12"),
        ("at_bound", True, "yes"),
        ("at_bound", False, tables.MISSING),
        ("level", "MEDIUM", "MEDIUM"),
    ],
)
def test_cell_is_rounded_as_its_column_wants(column: str, value: object, text: str):
    assert tables.cell(column, value) == text


def test_cell_that_is_missing_is_a_dash_in_every_column():
    for column in ("val_iou", "p", "lr", "trials", "architecture"):
        for value in (None, math.nan, pd.NA, pd.NaT, np.float64("nan")):
            assert tables.cell(column, value) == tables.MISSING


@given(st.floats(-1, 1), st.sampled_from(["val_iou", "difference", "effect", "lr", "minutes", "5"]))
def test_cell_of_any_number_reads_as_that_number(value: float, column: str):
    text = tables.cell(column, value).replace(tables.MINUS, "-")
    assert float(text) != 0 or not text.startswith("-")
    assert float(text) == pytest.approx(value, abs=0.051, rel=0.006)


def test_shown_puts_the_interval_behind_its_value():
    frame = pd.DataFrame(
        {
            "architecture": ["a", "b", "c", "d"],
            "test_iou": [0.4666, 0.5, math.nan, 0.3],
            "test_iou_low": [0.3956, math.nan, math.nan, math.nan],
            "test_iou_high": [0.5771, math.nan, math.nan, math.nan],
            "models": [3, 1, 0, 2],
        }
    )
    assert tables.shown(frame).to_dict("list") == {
        "architecture": ["a", "b", "c", "d"],
        "test_iou": ["0.467 (0.396 … 0.577)", "0.500 (n = 1)", tables.MISSING, "0.300"],
        "models": [3, 1, 0, 2],
    }
    frame = pd.DataFrame({"5": [0.4], "5_low": [math.nan], "5_high": [math.nan], "5_models": [1], "models": [9]})
    assert tables.shown(frame).to_dict("list") == {"5": ["0.400 (n = 1)"], "models": [9]}  # the column's own count
    frame = pd.DataFrame({"tiles": [5], "low": [0.1], "high": [0.2], "12": [0.3]})  # without intervals
    pd.testing.assert_frame_equal(tables.shown(frame), frame)


def test_numeric_columns_are_those_of_numbers_and_the_trivial_predictor_is_named_after_its_class():
    frame = pd.DataFrame({"a": [1], "b": [0.5], "c": ["x"], "d": [True], "e": pd.array([None], dtype="Int64")})
    assert tables.numeric(frame) == [True, True, False, False, True]
    assert tables.trivial_label(MadeUp("unet").logs()) == "trivial: everything is roof"


def test_markdown_aligns_its_columns_and_marks_what_is_missing():
    frame = pd.DataFrame(
        {"architecture": ["unet", "a|b"], "5": [0.12345, None], "seconds": [1234.56, 7.0], "tiles": [5, 24]}
    )
    assert tables.markdown(frame, "A caption.") == (
        "A caption.\n"
        "\n"
        "| architecture | 5 tiles | seconds | tiles |\n"
        "| ------------ | ------: | ------: | ----: |\n"
        "| unet         |   0.123 |    1235 |     5 |\n"
        "| a\\|b         |       \N{EN DASH} |       7 |    24 |\n"
    )
