"""The rows that are logged of epochs, trials, final models and openings, as they are read again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.logs.wandb_run import read_run
from studies.logs import tracking
from studies.search.trials import Trial
from studies.spec import Arm
from trainables.config import TrialConfig
from trainables.records import EpochRecord


@pytest.fixture
def run(tmp_path: Path) -> tracking.WandbRun:
    return tracking.WandbRun(tmp_path, "offline", name="trial", job_type="trial", config={})


def finished_rows(out: Path, run: tracking.WandbRun) -> list[dict[str, Any]]:
    """What was logged, without what W&B adds."""
    run.finish()
    tracking.complete_files()
    assert run.trouble == ""
    (path,) = out.glob("wandb/offline-run-*/run-*.wandb")
    whole = read_run(path, [])
    assert whole is not None
    assert whole.ended
    return [{key: value for key, value in row.items() if key[0] != "_"} for row in whole.rows]


def test_log_epoch_logs_the_metrics_and_the_cost(tmp_path: Path, run: tracking.WandbRun) -> None:
    record = EpochRecord(
        epoch=3,
        metrics={"train/loss": 0.5, "val/iou": 0.25},
        lr=0.125,
        judged=0.25,
        best=0.5,
        best_epoch=2,
        seconds=2.0,
        step_seconds=0.5,
        peak_memory_gib=1.5,
        micro_batch_size=2,
    )
    tracking.log_epoch(run, record)
    assert finished_rows(tmp_path, run) == [
        {
            "epoch": 3,
            "lr": 0.125,
            "epoch_seconds": 2.0,
            "step_seconds": 0.5,
            "peak_memory_gib": 1.5,
            "micro_batch_size": 2,
            "train/loss": 0.5,
            "val/iou": 0.25,
        }
    ]


def test_log_trial_logs_state_cost_and_what_was_lost(tmp_path: Path, run: tracking.WandbRun) -> None:
    config = TrialConfig(architecture="unet", tiles=24, lr=1e-3)
    open_one = Trial(Arm("unet", 24), 7, config)
    ended = Trial(
        Arm("unet", 24), 7, config, epoch=4, best=0.5, best_epoch=3, seconds=8.0, outcome="stopped", reason="rung 4"
    )
    ended.micro_batch_size, ended.lost_epochs, ended.lost_seconds = 2, 1, 2.5
    tracking.log_trial(run, open_one, "search")
    tracking.log_trial(run, ended, "search")
    first, second = finished_rows(tmp_path, run)
    common = {"trial/arm": "unet-24", "trial/run_arm": "unet-24", "trial/number": 7, "trial/stage": "search"}
    common |= {"trial/signature": config.signature()}
    assert first == common | {
        "trial/state": "interrupted",
        "trial/reason": "",
        "trial/epochs": 0,
        "trial/seconds": 0,
        "trial/micro_batch_size": 0,
        "trial/lost_epochs": 0,
        "trial/lost_seconds": 0,
    }
    assert second == common | {
        "trial/state": "stopped",
        "trial/reason": "rung 4",
        "trial/epochs": 4,
        "trial/seconds": 8,
        "trial/judged": 0.5,
        "trial/best_epoch": 3,
        "trial/micro_batch_size": 2,
        "trial/lost_epochs": 1,
        "trial/lost_seconds": 2.5,
    }


def test_final_trial_is_logged_under_its_arm_and_under_its_own_name(tmp_path: Path, run: tracking.WandbRun) -> None:
    arm = Arm("unet", 24, confirms="0123456789abcdef")
    tracking.log_trial(run, Trial(arm, 0, TrialConfig(architecture="unet", tiles=24, lr=1e-3)), "final")
    (row,) = finished_rows(tmp_path, run)
    assert (row["trial/arm"], row["trial/run_arm"]) == ("unet-24", "unet-24-confirmation-01234567")
    assert row["trial/stage"] == "final"


def test_log_model_keeps_tile_ids_whole_and_leaves_out_what_is_none(tmp_path: Path, run: tracking.WandbRun) -> None:
    row = {"arm": "unet-24", "number": 0, "state": "finished", "val_iou": 0.25, "test_iou": None, "test_tile_iou": None}
    tracking.log_model(run, row | {"val_tile_iou": {"austin.1": 0.5, "austin.2": 0.0, "void": None}})
    assert finished_rows(tmp_path, run) == [
        {
            "model/arm": "unet-24",
            "model/number": 0,
            "model/state": "finished",
            "model/val_iou": 0.25,
            "model/val_tile_iou": [0.5, 0, None],
            "model/val_tiles": ["austin.1", "austin.2", "void"],
        }
    ]


def test_log_opening_leaves_out_what_is_none(tmp_path: Path, run: tracking.WandbRun) -> None:
    row = {"arm": "unet-24", "event": "reopened", "why": "a bug", "num_attempts": 2, "at": None}
    tracking.log_opening(run, row)
    assert finished_rows(tmp_path, run) == [
        {"opening/arm": "unet-24", "opening/event": "reopened", "opening/why": "a bug", "opening/num_attempts": 2}
    ]


def test_pictures_of_several_sizes_are_logged_without_a_word(
    tmp_path: Path, run: tracking.WandbRun, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pictures = [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 16, 3), np.uint8)]
    run.log_pictures("overlays", pictures, ["a", "b"])
    (row,) = finished_rows(tmp_path, run)
    assert row["overlays"]["captions"] == ["a", "b"]
    assert "WARNING" not in caplog.text
    assert capfd.readouterr().err == ""
