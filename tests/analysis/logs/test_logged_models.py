"""Checks what is read of final models: their trials, scores by tile, and pictures of the test tiles."""

import math
from pathlib import Path

import pytest
from matplotlib.image import imread

from analysis.logs.wandb_files import read_logs


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, new_study) -> Path:
    """A study with a search, two final models of what it selected, and the test tiles opened."""
    study = new_study(tmp_path_factory.mktemp("tested") / "out")
    study.trial("unet-24", 0, [0.3, 0.6], lr=0.01)
    val = {"t1": 0.5, "t2": 0.75, "t3": 0.25}
    study.model("unet-24", 1, values=[0.5], val_iou=0.5, val_f1=0.625, val_tile_iou=val, lr=0.01)
    test = {"e1": 0.25, "e2": 0.5, "e3.a": 1.0}
    scores = {"val_iou": 0.6, "val_f1": 0.7, "val_tile_iou": {"t1": 0.6}, "test_iou": 0.55, "test_f1": 0.65}
    study.model("unet-24", 0, values=[0.4, 0.6, 0.5], **scores, test_tile_iou=test)
    study.open("unet-24", "opened", num_attempts=1, num_studies=1)
    study.end({"unet-24": (0, 0.6, 0.7)}, images=("unet-24",), tested=("unet-24", "sam_conv-5"))
    return study.out


def test_read_logs_tells_search_and_final_trials_of_an_arm_apart(tested: Path):
    logs = read_logs(tested)
    keys = ["arm", "run_arm", "number", "stage", "epochs", "judged"]
    final = ("unet-24", "unet-24-confirmation-5e1ec7ed")
    assert list(logs.runs[keys].itertuples(index=False, name=None)) == [
        ("unet-24", "unet-24", 0, "search", 2, 0.6),
        (*final, 0, "final", 3, 0.6),
        (*final, 1, "final", 1, 0.5),
    ]
    assert list(logs.history[["stage", "number", "epoch"]].itertuples(index=False, name=None)) == [
        *(("search", 0, 1), ("search", 0, 2)),
        *(("final", 0, 1), ("final", 0, 2), ("final", 0, 3)),
        ("final", 1, 1),
    ]
    assert logs.notes == ()


def test_read_logs_describes_a_final_model(tested: Path):
    logs = read_logs(tested)
    row, other = logs.models.to_dict("records")
    assert row["run"] == logs.runs["run"].iloc[1] != logs.runs["run"].iloc[0]
    assert {key: value for key, value in row.items() if key != "run"} == {
        "arm": "unet-24",
        "number": 0,
        "run_arm": "unet-24-confirmation-5e1ec7ed",
        "architecture": "unet",
        "architecture_label": "unet (base width 16)",
        "tiles": 24,
        "subset": 0,
        "seed": 0,
        "init_seed": 100,
        "draw_seed": 200,
        "subset_seed": 42,
        "signature": "sig-unet-24-confirmation-5e1ec7ed-0",
        "state": "finished",
        "best_epoch": 2,
        "epochs": 3,
        "seconds": 30.0,
        "micro_batch_size": 0,
        "val_iou": 0.6,
        "val_f1": 0.7,
        "test_iou": 0.55,
        "test_f1": 0.65,
        "scored": "",
        "dtype": "fp32",
        "device_model": "a CPU",
        "attempt": "unet-24-a",
        "hyperparameters/augmentation": "LIGHT",
        "hyperparameters/bce_weight": 0.5,
        "hyperparameters/decoder_dropout": 0.3,
        "hyperparameters/lr": 0.001,
    }
    assert (other["number"], other["seed"], other["val_f1"]) == (1, 1, 0.625)
    assert math.isnan(other["test_iou"])


def test_read_logs_has_a_score_per_model_and_tile_with_its_place(tested: Path):
    scores = read_logs(tested).scores
    assert set(scores["arm"]) == {"unet-24"}
    assert list(scores[["number", "split", "tile", "group", "iou"]].itertuples(index=False, name=None)) == [
        (0, "val", "t1", "north", 0.6),
        (0, "test", "e1", "north", 0.25),
        (0, "test", "e2", "west", 0.5),
        (0, "test", "e3.a", "e3.a", 1.0),
        (1, "val", "t1", "north", 0.5),
        (1, "val", "t2", "north", 0.75),
        (1, "val", "t3", "south", 0.25),
    ]


def test_read_logs_tells_pictures_of_val_and_test_tiles_apart(tested: Path):
    images = read_logs(tested).images
    assert list(images[["arm", "split", "caption"]].itertuples(index=False, name=None)) == [
        *(("unet-24", "val", tile) for tile in ("t1", "t2", "t3")),
        *(("unet-24", "test", tile) for tile in ("e1", "e2", "e3.a")),
        *(("sam_conv-5", "test", tile) for tile in ("e1", "e2", "e3.a")),
    ]
    assert [round(float(imread(path)[0, 0, 0]) * 255) for path in images["path"][3:6]] == [0, 20, 40]
