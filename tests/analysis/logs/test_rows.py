"""The contract of the logs: what is logged is what is read, and the frames have a column for each key of a row."""

import pytest

from analysis.logs import frames, rows
from analysis.logs.forecast_row import ForecastRow, forecast_from_history, forecast_to_history
from analysis.logs.rows import FinalModel, TrialRow
from analysis.logs.run_configs import ArmFacts, TrialRunConfig, required

TRIAL = TrialRow(arm="unet-24", run_arm="unet-24", number=3, stage="search", state="finished", epochs=2, judged=0.5)


def test_rows_are_found_among_others_and_without_what_is_none():
    others = [{"overlays": {}}, {"trial/epoch": 1}, {"selection/arm": "unet-24", "selection/number": 3}]
    logged = rows.TRIAL.to_history(TRIAL | {"reason": None})
    assert set(logged) == {f"trial/{key}" for key in TRIAL}
    assert rows.TRIAL.from_history([*others, logged | {"_step": 7}]) == ([TRIAL], 0)
    assert rows.SELECTION.from_history([*others, logged]) == ([{"arm": "unet-24", "number": 3}], 0)


def test_row_without_a_required_key_is_counted_and_left_out_and_these_are_in_their_order():
    logged = rows.TRIAL.to_history(TRIAL)
    lost = ("run_arm", "number", "stage", "state", "epochs")
    lacking = [{key: value for key, value in logged.items() if key != f"trial/{name}"} for name in lost]
    assert rows.TRIAL.from_history([*lacking, logged]) == ([TRIAL], 5)
    assert required(TrialRunConfig) == ("arm", "run_arm", "trial", "stage")
    assert required(TrialRow) == ("arm", "run_arm", "number", "stage", "state", "epochs")
    assert required(ArmFacts)[:3] == ("arm", "architecture", "architecture_label")
    assert "chosen" not in required(ArmFacts)


def test_scores_and_pictures_by_tile_are_read_as_they_were_given():
    model = FinalModel(arm="unet-24", number=0, run_arm="unet-24", val_tile_iou={"a.b": 0.5, "c": None})
    model["val_tile_confusion"] = {"a.b": [1, 2, 3, 4], "c": [0, 0, 0, 0]}
    row = rows.model_row(model)
    assert row["val_tiles"] == ["a.b", "c"]
    assert rows.tile_iou(row, "val") == {"a.b": 0.5, "c": None}
    assert rows.tile_confusion(row, "val") == [[1, 2, 3, 4], [0, 0, 0, 0]]
    assert (rows.tile_iou(row, "test"), rows.tile_confusion(row, "test")) == ({}, [])
    assert rows.pictures({"filenames": ["a.jpg", "b.jpg"], "captions": ["t1", "t.2"]}) == [
        ("a.jpg", "t1"),
        ("b.jpg", "t.2"),
    ]
    assert rows.pictures({"filenames": ["a.jpg"]}) == rows.pictures({"path": "a.jpg"}) == [("a.jpg", "")]
    assert rows.pictures({"path": "a.jpg", "caption": "t1"}) == [("a.jpg", "t1")]
    assert rows.pictures({}) == []


def test_forecast_is_the_newest_whole_one():
    row = ForecastRow(after_seconds=40.0, left_seconds=250.0, took_seconds=300.0)
    logged = forecast_to_history(row)
    torn = dict.fromkeys(list(logged)[:2], 1.0)
    assert forecast_from_history([{"trial/epoch": 1}, dict.fromkeys(logged, 1.0), logged, torn]) == row
    assert forecast_from_history([torn]) is None


@pytest.mark.parametrize(
    ("row", "columns", "elsewhere"),
    [
        (rows.TrialRow, frames.TRIAL_COLUMNS, set()),
        (rows.SelectionRow, frames.SELECTION_COLUMNS, set()),
        (rows.ModelFacts, frames.MODEL_COLUMNS, {"confirms"}),  # it decides which models are read
        (rows.OpeningRow, frames.OPENING_COLUMNS, set()),
    ],
)
def test_each_key_of_a_row_has_a_column(row: type, columns: dict[str, str], elsewhere: set[str]):
    assert set(row.__annotations__) - set(columns) == elsewhere
