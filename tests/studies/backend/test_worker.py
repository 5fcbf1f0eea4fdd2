"""A trial inside a worker, without Ray: results, errors, the next trial in the same process, and its W&B files."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from wandb.proto.wandb_internal_pb2 import Record

from analysis.logs.record_log import split_records
from studies.backend import worker as worker_module
from studies.backend.worker import Fit, TrialWorker, WorkerSettings
from studies.files.folder import beat_file, trial_folder
from studies.logs import tracking
from studies.models import evaluation
from tests.studies.logs.logged import runs_below
from trainables import trial as fit_module
from trainables.common.errors import UserError
from trainables.config import Recipe, TrialConfig
from trainables.data.tiles import TrainVal
from trainables.device import DeviceError, device_model
from trainables.records import DivergedError, EpochRecord, OutOfMemoryError

RECIPE = Recipe(epochs=2, draws_per_epoch=2, batch_size=2, window_px=64, val_center_px=64, small=True)

Open = Callable[..., TrialWorker]


def job(number: int = 0, **changes: Any) -> dict[str, Any]:
    config = TrialConfig(**({"architecture": "unet", "tiles": 2, "lr": 1e-3, "recipe": RECIPE} | changes))
    about = {"arm": "unet-2", "parent": "unet-2", "number": number, "config": config.model_dump_json()}
    return about | {"stage": "final", "epoch": 0, "rungs": [1], "is_alone": False, "micro_batch_size": 0}


def made_up(config: TrialConfig, tiles: TrainVal, **named: Any) -> Iterator[EpochRecord]:
    """Two epochs without training, which predict nothing."""
    named["should_stop"]()
    its: dict[str, Any] = {"metrics": {"val/iou_center64": 0.5}, "judged": 0.5, "best": 0.5, "best_epoch": 1}
    its["predictions"] = (np.zeros((64, 64), np.uint8),) * len(named["predictions_of"])
    for epoch, ended in ((1, ""), (2, "epochs")):
        yield EpochRecord(epoch=epoch, lr=config.lr, ended=ended, **its)


def raising(error: Exception) -> Fit:
    def fit(*_: Any, **__: Any) -> Iterator[EpochRecord]:
        raise error

    return fit


@pytest.fixture
def settings(tmp_path):
    permit = tmp_path / "permit"
    permit.touch()
    about: dict[str, Any] = {
        "study": "test",
        "profile": "smoke",
        "wandb": "disabled",
        "device": "cpu",
    }
    return WorkerSettings(out=tmp_path, permit=permit, num_threads=1, overlays_every=10, **about)


@pytest.fixture
def open_trial(tiles, settings):
    opened: list[TrialWorker] = []
    threads = torch.get_num_threads()

    def close() -> None:
        while opened:
            opened.pop().cleanup()

    def open_one(config: dict[str, Any], **changes: Any) -> TrialWorker:
        class Local(TrialWorker):
            def setup(self, config: dict[str, Any]) -> None:
                super().setup(config, tiles, replace(settings, **changes))

        close()
        opened.append(Local(config))
        return opened[-1]

    yield open_one
    close()
    torch.set_num_threads(threads)


# Results


def test_next_trial_runs_in_the_same_process_as_if_it_were_alone(open_trial, settings):
    alone = open_trial(job(1, lr=3e-3)).step()
    shutil.rmtree(trial_folder(settings.out, "unet-2", 1))  # or it would go on
    trial = open_trial(job(0))
    trial.step()
    assert trial.reset_config(job(1, lr=3e-3))
    again = trial.step()
    del alone["seconds"], again["seconds"]
    assert again == alone


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DivergedError("the training loss is nan in epoch 1"), "diverged"),
        (OutOfMemoryError("out of memory on cuda"), "out of memory"),
        (UserError("weights.pth does not fit a resnet34 encoder"), "user error"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "user error"),
        (KeyError("mean"), "failed"),
    ],
)
def test_errors_are_results_with_a_reason(open_trial, error, kind):
    result = open_trial(job(), fit=raising(error)).step()
    assert result["error"] == kind
    assert str(error) in result["reason"]
    assert ("Traceback" in result["details"]) == (kind == "failed")


def test_lost_device_ends_the_worker(open_trial):
    trial = open_trial(job(), fit=raising(DeviceError("CUDA error: an illegal memory access was encountered")))
    with pytest.raises(DeviceError):
        trial.step()


def test_trial_without_its_permit_ends_before_the_next_batch(open_trial, settings):
    trial = open_trial(job())
    settings.permit.unlink()
    assert trial.step() == {"interrupted": True, "done": True}


def test_trial_that_ends_with_its_permit_is_a_failure_and_not_tried_for_ever(open_trial):
    assert open_trial(job(), fit=lambda *_, **__: iter(())).step()["error"] == "failed"


def test_trial_that_cannot_open_says_why_in_its_first_step_and_spoils_no_next(open_trial):
    trial = open_trial(job() | {"config": "{}"}, fit=made_up)
    result = trial.step()
    assert result["error"] == "failed"
    assert result["reason"].startswith("ValidationError: ")
    trial.reset_config(job(1))
    assert trial.step()["epoch"] == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_gone_from_a_machine_is_the_trial_s_failure_and_not_the_person_s(open_trial):
    """A user error would end the whole study for one broken machine."""
    assert open_trial(job(), device="cuda").step()["error"] == "failed"


# What is logged


def test_step_is_an_epoch_and_wandb_files_are_whole_and_hold_every_metric(open_trial, tiles, tmp_path):
    recipe = RECIPE.model_copy(update={"precision": "bf16"})
    trial = open_trial(job(recipe=recipe) | {"arm": "unet-2-confirmation-01234567"}, wandb="offline")
    first, second = trial.step(), trial.step()
    trial.cleanup()
    assert [(r["epoch"], r["ended"], r["is_replayed"]) for r in (first, second)] == [
        (1, "", False),
        (2, "epochs", False),
    ]
    assert second["best"] >= first["best"]
    assert beat_file(tmp_path, "unet-2-confirmation-01234567", 0).exists()
    (run,) = runs_below(tmp_path)
    payloads, torn_at = split_records(run.path.read_bytes())
    assert torn_at is None
    (head,) = [record.run for payload in payloads if (record := Record.FromString(payload)).HasField("run")]
    title = "unet-2-confirmation-01234567 (base width 16)"
    assert (head.job_type, head.run_group, head.display_name) == ("trial", f"test/{title}", f"{title}/0")
    assert run.ended
    assert (run.job_type, run.config["stage"]) == ("trial", "final")
    assert (run.config["arm"], run.config["run_arm"]) == ("unet-2", "unet-2-confirmation-01234567")
    assert (run.config["dtype"], run.config["device_model"]) == ("bf16", device_model(torch.device("cpu")))
    assert run.config["hyperparameters"]["lr"] == 1e-3
    rows = [row for row in run.rows if "epoch" in row]
    assert [row["epoch"] for row in rows] == [1, 2]
    expected = {"train/loss", "val/loss", "lr", "val/iou_center64", "val/f1_center64"}
    assert expected | {f"val/iou_center64/{tile}" for tile in tiles.val.ids} <= set(rows[0])
    assert any("overlays" in row for row in run.rows)
    assert list((tmp_path / "wandb").rglob("media/images/*.jpg"))


def test_trial_goes_on_from_its_checkpoint_and_replays_what_is_not_on_record(open_trial, tmp_path):
    """The checkpoint is of epoch 1, a rung; the ledger knows more, as much or less than that."""
    config = job(recipe=RECIPE.model_copy(update={"epochs": 3}))
    trial = open_trial(config, wandb="offline")
    whole = [trial.step() for _ in range(3)]
    for known, are_replayed in ((0, [True, False, False]), (1, [False, False]), (2, [False, False])):
        trial = open_trial(config | {"epoch": known}, wandb="offline")
        again = [trial.step() for _ in are_replayed]
        trial.cleanup()
        assert [result.pop("is_replayed") for result in again] == are_replayed
        for result in (*whole, *again):
            result.pop("seconds", None)
            result.pop("is_replayed", None)
        assert again == whole[-len(again) :]
    runs = runs_below(tmp_path)
    assert [run.config["resumed_after"] for run in runs] == [0, 1, 1, 1]
    for run in runs:
        assert [row["epoch"] for row in run.rows if "epoch" in row] == [1, 2, 3]


def test_run_of_a_trial_that_changed_its_device_names_all_in_order(open_trial, tmp_path, monkeypatch):
    config = job(recipe=RECIPE.model_copy(update={"epochs": 4})) | {"rungs": [1, 2, 3, 4]}
    for number, (dtype, model) in enumerate([("fp32", "A"), ("bf16", "B"), ("bf16", "B"), ("fp32", "A")]):
        for module in (worker_module, fit_module):
            monkeypatch.setattr(module, "dtype_name", lambda *_, its=dtype: its)
            monkeypatch.setattr(module, "device_model", lambda *_, its=model: its)
        trial = open_trial(config | {"epoch": number}, wandb="offline")
        assert trial.step()["epoch"] == number + 1
    monkeypatch.setattr(worker_module, "device_model", lambda *_: "C")
    open_trial(config | {"epoch": 3}, wandb="offline").step()  # it is at its end: nothing is computed on this device
    said = [[run.config[name] for name in ("resumed_after", "dtype", "device_model")] for run in runs_below(tmp_path)]
    assert said == [
        [0, "fp32", "A"],
        [1, "fp32 then bf16", "A then B"],
        [2, "fp32 then bf16", "A then B"],
        [3, "fp32 then bf16 then fp32", "A then B then A"],
        [4, "fp32 then bf16 then fp32", "A then B then A"],
    ]


def test_curves_for_tensorboard_are_completed_with_the_trial(open_trial, tmp_path):
    trial = open_trial(job(), fit=made_up, tensorboard=True)
    trial.step()
    trial.reset_config(job(1))
    trial.step()
    trial.cleanup()
    folders = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.glob("tensorboard/*/*/events.*"))
    assert folders == ["tensorboard/unet-2/0000", "tensorboard/unet-2/0001"]


# Pictures


@pytest.fixture
def shown(monkeypatch):
    """The tiles and pictures that trials log."""
    found: list[Any] = []
    monkeypatch.setattr(tracking.WandbRun, "log_pictures", lambda _, __, pictures, ids: found.append((ids, pictures)))
    return found


def test_trial_shows_every_so_many_th_of_many_val_tiles_and_keeps_no_others(open_trial, tiles, shown, monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_PICTURES", 1)
    trial = open_trial(job())  # whose predictions are those that it is asked for
    trial.step()
    trial.step()
    assert [(ids, len(pictures)) for ids, pictures in shown] == [([tiles.val.ids[0]], 1)]


@pytest.mark.parametrize(("longest", "side"), [(64, 64), (63, 32), (20, 16)])
def test_pictures_of_large_tiles_show_every_so_many_th_pixel(open_trial, shown, monkeypatch, longest, side):
    monkeypatch.setattr(evaluation, "PICTURE_PX", longest)
    trial = open_trial(job(), fit=made_up)
    trial.step()
    trial.step()
    ((_, pictures),) = shown
    assert {picture.shape for picture in pictures} == {(side, 3 * side + 16, 3)}


def test_trial_that_is_stopped_shows_pictures_of_its_last_epoch(open_trial, tmp_path):
    trial = open_trial(job(), fit=made_up, wandb="offline")
    trial.step()
    trial.cleanup()
    (run,) = runs_below(tmp_path)
    assert ["epoch" in row for row in run.rows] == [True, False]
    assert "overlays" in run.rows[1]
