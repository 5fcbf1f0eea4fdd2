"""Checks the tables against values worked out by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest

from analysis import tables
from analysis.wandb_logs import read_logs


@pytest.fixture(scope="module")
def logs(demo: Path):
    return read_logs(demo)


def test_iou_by_architecture_is_sorted_by_tiles_then_iou(logs):
    frame = tables.iou_by_architecture(logs)
    assert list(zip(frame["architecture"], frame["tiles"], strict=True)) == [
        ("sam_conv", 24),
        ("unet (base width 16)", 24),
        ("unet (base width 16)", 5),
        ("sam_conv", 5),
    ]


def test_iou_by_architecture_tells_the_trials_the_cost_and_the_selected_trial(logs):
    assert tables.iou_by_architecture(logs).to_dict("records")[1] == {
        "architecture": "unet (base width 16)",
        "tiles": 24,
        "started": 4,
        "finished": 2,
        "stopped": 1,
        "failed": 1,
        "epochs_spent": 3 + 1 + 3 + 2,
        "val_iou": 0.60,
        "val_f1": 0.75,
        "best_epoch": 2,
        "val/iou_center512": 0.61,
        "lr": 0.0031622776601683794,
        "augmentation": "MEDIUM",
        "decoder_dropout": 0.3,
        "bce_weight": 0.5,
        "seconds": 90.0,
        "trivial_iou": 0.25,
    }


def test_iou_by_architecture_counts_a_trial_without_an_end_as_started_only(logs):
    row = tables.iou_by_architecture(logs).to_dict("records")[0]
    assert [row[key] for key in ("started", "finished", "stopped", "failed")] == [3, 1, 0, 1]
    assert row["epochs_spent"] == 2 + 1 + 2
    assert row["seconds"] == 20 + 10 + 4


def test_iou_by_architecture_is_missing_where_nothing_was_selected(logs):
    row = tables.iou_by_architecture(logs).to_dict("records")[3]
    assert (row["started"], row["failed"], row["epochs_spent"]) == (1, 1, 0)
    missing = [column for column, value in row.items() if pd.isna(value)]
    selected = ["val_iou", "val_f1", "best_epoch", "val/iou_center512", *tables.HYPERPARAMETERS]
    assert missing == selected


def test_iou_by_architecture_shows_a_further_hyperparameter_that_is_searched_over(fake_study):
    study = fake_study(metric="val/iou", tiles=(5,))
    study.arms[0]["space"] = {"lr": "1e-4 to 1e-2, log", "width": "16 or 32"}
    study.trial("unet-5", 0, [0.3], width=32, weight_decay=1e-4)
    study.end({"unet-5": (0, 0.3, 0.46)})
    frame = tables.iou_by_architecture(read_logs(study.out))
    assert list(frame["width"].dropna()) == [32]
    assert "weight_decay" not in frame.columns
    assert [column for column in frame.columns if "/" in column] == []


def test_iou_by_tiles_has_a_column_per_budget_and_the_trivial_row_last(logs):
    frame = tables.iou_by_tiles(logs)
    assert list(frame.columns) == ["architecture", "5", "24"]
    rows = frame.to_dict("records")
    assert rows[0] == {"architecture": "unet (base width 16)", "5": 0.40, "24": 0.60}
    assert (rows[1]["architecture"], rows[1]["24"]) == ("sam_conv", 0.64)
    assert math.isnan(rows[1]["5"])
    assert rows[2] == {"architecture": "trivial: everything is roof", "5": 0.25, "24": 0.25}


def test_captions_say_what_was_run_and_that_val_is_optimistic(logs):
    common = (
        "Study demo, profile smoke, seed 42, 3 val tiles, encoder weights: resnet34 imagenet, sam_vit_b sam.pth. "
        "Each is the best of 4 trials on val, so it is optimistic: val ranks, it does not report."
    )
    assert tables.architecture_caption(logs) == (
        f"Best val IoU by architecture. {common} Smaller variants are named in the label. "
        "Failed trials: 1 failed, 1 diverged, 1 interrupted."
    )
    assert tables.tiles_caption(logs) == (
        f"Best val IoU by number of labelled tiles. {common} "
        "The budgets' tiles are nested (5 ⊂ 24), so a row's values are not independent."
    )


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
