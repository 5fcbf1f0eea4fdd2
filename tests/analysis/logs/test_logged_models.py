"""Checks what is read of final models: their trials, scores by tile, and pictures of the test tiles."""

import math
from pathlib import Path

import pytest

from analysis.logs.frames import Logs
from analysis.logs.wandb_files import read_logs
from tests.analysis.made_up import MadeUp

RUN_ARM = "unet-24-confirmation"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """Of a study with a search, two final models of what it selected, and the test tiles opened."""
    groups = {"t1": "north", "t2": "north", "t3": "south", "e1": "north", "e2": "west"}  # of one tile none is known
    tiles = {"val_tiles": ["t1", "t2", "t3"], "test_tiles": ["e1", "e2", "e3.a"], "groups": groups}
    study = MadeUp("unet (base width 16)", "sam_conv", tiles=(24, 5), phase="phase2_tuning", **tiles)
    study.trial("unet-24", 0, [0.3, 0.6], lr=0.01)
    study.model("unet-24", 1, number=1, epochs=1, val=[0.5, 0.75, 0.25], val_f1=0.625)
    scores = {"val": [0.6], "test": [0.25, 0.5, 1.0], "test_iou": 0.55, "test_f1": 0.65}
    scores |= {"tta_iou": 0.57, "tta_f1": 0.67, "ensemble_iou": 0.6, "ensemble_f1": 0.7}
    about = {"best_epoch": 2, "init_seed": 100, "draw_seed": 200, "subset_seed": 42, "attempt": "a1"}
    study.model("unet-24", 0, number=0, epochs=3, val_f1=0.7, **scores, **about)
    study.open("unet-24")
    study.select("unet-24", 0, 0.6)
    folder = tmp_path_factory.mktemp("tested")
    study.picture("unet-24", folder, ["t1", "t2", "t3"], key="selected")
    for arm in ("unet-24", "sam_conv-5"):
        study.picture(arm, folder, ["e1", "e2", "e3.a"])
    study.write(folder / "out")
    return read_logs(folder / "out")


def test_read_logs_tells_search_and_final_trials_of_an_arm_apart(logs: Logs):
    keys = ["arm", "run_arm", "number", "stage", "epochs", "judged"]
    final = ("unet-24", RUN_ARM)
    assert list(logs.runs[keys].itertuples(index=False, name=None)) == [
        ("unet-24", "unet-24", 0, "search", 2, 0.6),
        (*final, 0, "final", 3, 0.2),
        (*final, 1, "final", 1, 0.0),
    ]
    assert list(logs.history[["stage", "number", "epoch"]].itertuples(index=False, name=None)) == [
        *(("search", 0, 1), ("search", 0, 2)),
        *(("final", 0, 1), ("final", 0, 2), ("final", 0, 3)),
        ("final", 1, 1),
    ]
    assert logs.notes == ()


def test_read_logs_describes_a_final_model(logs: Logs):
    row, other = logs.models.to_dict("records")
    assert row["run"] == logs.runs["run"].iloc[1] != logs.runs["run"].iloc[0]
    expected = {"arm": "unet-24", "number": 0, "run_arm": RUN_ARM, "tiles": 24, "state": "finished", "scored": ""}
    expected |= {"architecture": "unet", "architecture_label": "unet (base width 16)", "subset": 0, "seed": 0}
    expected |= {"init_seed": 100, "draw_seed": 200, "subset_seed": 42, "attempt": "a1"}
    expected |= {"signature": "sig-unet-24-confirmation-0", "best_epoch": 2, "epochs": 3, "seconds": 180.0}
    expected |= {"val_iou": 0.6, "val_f1": 0.7, "test_iou": 0.55, "test_f1": 0.65, "micro_batch_size": 0}
    expected |= {"tta_iou": 0.57, "tta_f1": 0.67, "ensemble_iou": 0.6, "ensemble_f1": 0.7}
    expected |= {"dtype": "", "device_model": ""}
    point = {"augmentation": "MEDIUM", "bce_weight": 0.5, "decoder_dropout": 0.3, "lr": 0.001}
    expected |= {f"hyperparameters/{name}": value for name, value in point.items()}
    assert {key: value for key, value in row.items() if key != "run"} == expected
    assert (other["number"], other["seed"], other["val_f1"]) == (1, 1, 0.625)
    assert math.isnan(other["test_iou"])


def test_read_logs_has_a_score_per_model_and_tile_with_its_place_and_tells_pictures_of_val_and_test_apart(logs: Logs):
    scores = logs.scores
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
    images = logs.images
    assert list(images[["arm", "split", "caption"]].itertuples(index=False, name=None)) == [
        *(("unet-24", "val", tile) for tile in ("t1", "t2", "t3")),
        *(("unet-24", "test", tile) for tile in ("e1", "e2", "e3.a")),
        *(("sam_conv-5", "test", tile) for tile in ("e1", "e2", "e3.a")),
    ]
    assert {Path(path).name for path in images["path"][3:6]} == {f"unet-24-{tile}.png" for tile in ("e1", "e2", "e3.a")}
