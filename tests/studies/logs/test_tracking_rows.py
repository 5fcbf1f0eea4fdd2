"""The rows that are logged of epochs, trials, final models and openings, and pictures as they are read again."""

from typing import Any

import numpy as np
import pytest

from analysis.logs.rows import EpochRow, FinalModel, OpeningRow, TrialRow
from studies.logs import tracking
from studies.search.trials import Trial
from studies.settings.arms import Arm
from tests.studies.logs.logged import KeptLog, runs_below
from trainables.config import TrialConfig
from trainables.records import EpochRecord

CONFIG = TrialConfig(architecture="unet", tiles=24, lr=1e-3)


@pytest.fixture
def log(tmp_path):
    return KeptLog(tmp_path)


def test_epoch_has_its_metrics_and_its_cost(log):
    metrics = {"train/loss": 0.5, "val/iou": 0.25}
    cost: dict[str, Any] = {"step_seconds": 0.5, "peak_memory_gib": 1.5, "micro_batch_size": 2}
    record = EpochRecord(epoch=3, metrics=metrics, lr=0.125, judged=0.25, best=0.5, best_epoch=2, seconds=2.0, **cost)
    tracking.log_epoch(log, record)
    assert log.rows == [{"epoch": 3, "lr": 0.125, "epoch_seconds": 2.0} | cost | metrics]
    assert log.rows[0].keys() - metrics.keys() == set(EpochRow.__annotations__) - {"epochs_spent"}


def test_trial_has_its_state_its_cost_and_what_was_lost(log):
    lost: dict[str, Any] = {"micro_batch_size": 2, "lost_epochs": 1, "lost_seconds": 2.5}
    ended: dict[str, Any] = {"reason": "rung 4", "best_epoch": 3, "seconds": 8.0} | lost
    tracking.log_trial(log, Trial(Arm("unet", 24), 7, CONFIG), "search")
    final = Arm("unet", 24, confirms="0123456789abcdef")  # counts for the arm of the search
    tracking.log_trial(log, Trial(final, 7, CONFIG, epoch=4, best=0.5, outcome="stopped", **ended), "final")
    common = {"arm": "unet-24", "number": 7, "signature": CONFIG.signature()}
    nothing = {"reason": "", "epochs": 0, "seconds": 0} | dict.fromkeys(lost, 0)
    first, second = ({key.removeprefix("trial/"): value for key, value in row.items()} for row in log.rows)
    assert first == common | nothing | {"state": "interrupted", "stage": "search", "run_arm": "unet-24"}
    ended |= {"run_arm": "unet-24-confirmation-01234567", "stage": "final"}
    assert second == common | ended | {"state": "stopped", "epochs": 4, "judged": 0.5}
    assert second.keys() == set(TrialRow.__annotations__)


def test_model_has_its_tiles_as_lists_and_nothing_that_is_none(log):
    model = FinalModel(arm="unet-24", number=0, run_arm="unet-24", val_iou=0.25, test_iou=None, test_tile_iou=None)
    model["val_tile_iou"] = {"austin.1": 0.5, "austin.2": 0.0, "void": None}
    tracking.log_model(log, model)
    about = {"model/arm": "unet-24", "model/number": 0, "model/run_arm": "unet-24", "model/val_iou": 0.25}
    tiles = {"model/val_tile_iou": [0.5, 0, None], "model/val_tiles": ["austin.1", "austin.2", "void"]}
    assert log.rows == [about | tiles]


def test_opening_has_its_reason(log):
    row = OpeningRow(arm="unet-24", attempt="a", event="reopened", at="2026", why="a bug", num_attempts=2)
    tracking.log_opening(log, row)
    assert log.rows == [{f"opening/{key}": value for key, value in row.items()}]


def test_pictures_of_several_sizes_are_logged_without_a_word(tmp_path, capfd, caplog):
    run = tracking.WandbRun(tmp_path, "offline", name="trial", job_type="trial", config={})
    run.log_pictures("overlays", [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 16, 3), np.uint8)], ["a", "b"])
    run.finish()
    tracking.complete_files()
    assert run.trouble == ""
    (logged,) = runs_below(tmp_path)
    assert logged.ended
    assert [row["overlays"]["captions"] for row in logged.rows] == [["a", "b"]]
    assert "WARNING" not in caplog.text
    assert capfd.readouterr().err == ""
