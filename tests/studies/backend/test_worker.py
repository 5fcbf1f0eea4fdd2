"""A trial inside a worker, without Ray: results, errors, the next trial in the same process, and its W&B files."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from wandb.proto.wandb_internal_pb2 import Record

from analysis.logs.record_log import split_records
from analysis.logs.wandb_run import read_run
from studies.backend import worker as worker_module
from studies.backend.worker import TrialWorker, WorkerSettings
from studies.files.folder import beat_file, trial_folder
from studies.models import evaluation
from trainables import trial as fit_module
from trainables.config import Recipe, TrialConfig
from trainables.data.tiles import TrainVal
from trainables.device import device_model

RECIPE = Recipe(epochs=2, draws_per_epoch=4, batch_size=2, window_px=64, val_center_px=64, small=True)


def job(number: int = 0, **changes: Any) -> dict[str, Any]:
    config = TrialConfig(**({"architecture": "unet", "tiles": 2, "lr": 1e-3, "recipe": RECIPE} | changes))
    return {
        "arm": "unet-2",
        "parent": "unet-2",
        "number": number,
        "config": config.model_dump_json(),
        "epoch": 0,
        "rungs": [1],
        "is_alone": False,
        "micro_batch_size": 0,
    }


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    permit = tmp_path / "permit"
    permit.touch()
    return WorkerSettings(
        out=tmp_path,
        study="test",
        profile="smoke",
        wandb="offline",
        num_threads=1,
        overlays_every=10,
        device="cpu",
        permit=permit,
        stage="final",
        tensorboard=True,
    )


@pytest.fixture
def open_trial(tiles: TrainVal, settings: WorkerSettings) -> Iterator[Any]:
    class Local(TrialWorker):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, tiles, settings)

    opened: list[TrialWorker] = []
    threads = torch.get_num_threads()

    def close() -> None:
        while opened:
            opened.pop().cleanup()

    def open_one(config: dict[str, Any]) -> TrialWorker:
        close()
        opened.append(Local(config))
        return opened[-1]

    yield open_one
    close()
    torch.set_num_threads(threads)


def test_step_is_an_epoch_and_the_last_says_so(open_trial: Any) -> None:
    trial = open_trial(job())
    first, second = trial.step(), trial.step()
    assert [(r["epoch"], r["ended"]) for r in (first, second)] == [(1, ""), (2, "epochs")]
    assert second["best"] >= first["best"]


def test_next_trial_runs_in_the_same_process_as_if_it_were_alone(open_trial: Any, settings: WorkerSettings) -> None:
    alone = open_trial(job(1, lr=3e-3)).step()
    shutil.rmtree(trial_folder(settings.out, "unet-2", 1))  # or it would go on
    trial = open_trial(job(0))
    trial.step()
    assert trial.reset_config(job(1, lr=3e-3))
    again = trial.step()
    del alone["seconds"], again["seconds"]
    assert again == alone


def test_divergence_and_errors_are_results_with_a_reason(open_trial: Any, tmp_path: Path) -> None:
    trial = open_trial(job(lr=1e30))
    result = trial.step()
    while "error" not in result:
        assert not result["ended"], "a learning rate of 1e30 must diverge"
        result = trial.step()
    assert result["error"] == "diverged"
    assert "the training loss is nan" in result["reason"]

    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    trial.reset_config(job(1, architecture="unet_resnet34", weights=str(tmp_path / "wrong.pth")))
    result = trial.step()
    assert result["error"] == "user error"
    assert "does not fit a resnet34 encoder" in result["reason"]


def test_trial_without_its_permit_ends_before_the_next_batch(open_trial: Any, settings: WorkerSettings) -> None:
    trial = open_trial(job())
    settings.permit.unlink()
    assert trial.step() == {"interrupted": True, "done": True}


def test_trial_that_ends_with_its_permit_is_a_failure_and_not_tried_for_ever(
    open_trial: Any, settings: WorkerSettings
) -> None:
    trial = open_trial(job())
    trial.step()
    trial._epochs = iter(())
    assert trial.step()["error"] == "failed"


@pytest.mark.parametrize("known", [0, 1, 2])
def test_trial_goes_on_from_its_checkpoint_and_replays_what_is_not_on_record(
    open_trial: Any, tmp_path: Path, known: int
) -> None:
    """The checkpoint is of epoch 1, a rung; the ledger knows more, as much or less than that."""
    config = job(recipe=RECIPE.model_copy(update={"epochs": 3}))
    trial = open_trial(config)
    whole = [trial.step() for _ in range(3)]
    assert not any(result["is_replayed"] for result in whole)
    trial = open_trial(config | {"epoch": known})
    again = [trial.step() for _ in range(min(known, 1), 3)]
    trial.cleanup()
    assert [result.pop("is_replayed") for result in again] == [known == 0, False, False][min(known, 1) :]
    for result in (*whole, *again):
        del result["seconds"]
        result.pop("is_replayed", None)
    assert again == whole[min(known, 1) :]
    paths = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    runs = sorted((run for path in paths if (run := read_run(path, []))), key=lambda run: run.start)
    assert [run.config["resumed_after"] for run in runs] == [0, 1]
    for run in runs:
        assert [row["epoch"] for row in run.rows if "epoch" in row] == [1, 2, 3]


def test_heartbeat_is_a_file_that_batches_touch(open_trial: Any, settings: WorkerSettings) -> None:
    open_trial(job()).step()
    assert beat_file(settings.out, "unet-2", 0).exists()


def test_wandb_files_are_whole_and_hold_every_metric(open_trial: Any, tiles: TrainVal, tmp_path: Path) -> None:
    trial = open_trial(job())
    trial.step()
    trial.step()
    trial.cleanup()
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    payloads, torn_at = split_records(path.read_bytes())
    assert torn_at is None
    (head,) = [record.run for payload in payloads if (record := Record.FromString(payload)).HasField("run")]
    assert (head.job_type, head.run_group, head.display_name) == (
        "trial",
        "test/unet-2 (base width 16)",
        "unet-2 (base width 16)/0",
    )
    run = read_run(path, [])
    assert run is not None
    assert run.ended
    rows = [row for row in run.rows if "epoch" in row]
    assert [row["epoch"] for row in rows] == [1, 2]
    expected = {"train/loss", "val/loss", "lr", "val/iou_center64", "val/f1_center64"}
    expected |= {f"val/iou_center64/{tile}" for tile in tiles.val.ids}
    assert expected <= set(rows[0])
    assert run.config["hyperparameters"]["lr"] == 1e-3
    assert any("overlays" in row for row in run.rows)
    assert list((tmp_path / "wandb").rglob("media/images/*.jpg"))


def test_run_says_which_stage_and_which_arm_of_the_tables_it_is_of(open_trial: Any, tmp_path: Path) -> None:
    open_trial(job() | {"arm": "unet-2-confirmation-01234567"}).step()
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    run = read_run(path, [])
    assert run is not None
    assert (run.job_type, run.config["stage"]) == ("trial", "final")
    assert (run.config["arm"], run.config["run_arm"]) == ("unet-2", "unet-2-confirmation-01234567")


def test_run_says_what_it_was_computed_with_and_on(open_trial: Any, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"epochs": 3, "precision": "bf16"})
    open_trial(job(recipe=recipe)).step()
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    run = read_run(path, [])
    assert run is not None
    assert (run.config["dtype"], run.config["device_model"]) == ("bf16", device_model(torch.device("cpu")))


def test_run_of_a_trial_that_changed_its_device_names_all_in_order(
    open_trial: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = job(recipe=RECIPE.model_copy(update={"epochs": 4}))
    devices = iter([("fp32", "A"), ("bf16", "B"), ("bf16", "B"), ("fp32", "A")])
    for number in range(4):
        dtype, model = next(devices)
        for module in (worker_module, fit_module):
            monkeypatch.setattr(module, "dtype_name", lambda *_, its=dtype: its)
            monkeypatch.setattr(module, "device_model", lambda *_, its=model: its)
        trial = open_trial(config | {"rungs": [1, 2, 3, 4], "epoch": number})
        assert trial.step()["epoch"] == number + 1
    trial.cleanup()
    monkeypatch.setattr(worker_module, "device_model", lambda *_: "C")
    open_trial(config | {"epoch": 3}).step()  # which is at its end: nothing is computed on this device
    runs = [read_run(path, []) for path in tmp_path.glob("wandb/offline-run-*/run-*.wandb")]
    said = [(run.config["resumed_after"], run.config["dtype"], run.config["device_model"]) for run in runs if run]
    assert sorted(said) == [
        (0, "fp32", "A"),
        (1, "fp32 then bf16", "A then B"),
        (2, "fp32 then bf16", "A then B"),
        (3, "fp32 then bf16 then fp32", "A then B then A"),
        (4, "fp32 then bf16 then fp32", "A then B then A"),
    ]


def test_trial_shows_every_so_many_th_of_many_val_tiles_and_keeps_no_others(
    open_trial: Any, tiles: TrainVal, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "MAX_PICTURES", 1)
    trial = open_trial(job())
    shown: list[tuple[int, list[str]]] = []
    trial.step()
    assert [len(trial._unlogged.predictions)] == [1]
    monkeypatch.setattr(trial._run, "log_pictures", lambda _, pictures, ids: shown.append((len(pictures), ids)))
    trial.step()
    assert shown == [(1, [tiles.val.ids[0]])]


@pytest.mark.parametrize(("longest", "side"), [(64, 64), (63, 32), (20, 16)])
def test_pictures_of_large_tiles_show_every_so_many_th_pixel(
    open_trial: Any, monkeypatch: pytest.MonkeyPatch, longest: int, side: int
) -> None:
    monkeypatch.setattr(evaluation, "PICTURE_PX", longest)
    trial = open_trial(job())
    trial.step()
    sizes: list[tuple[int, ...]] = []
    monkeypatch.setattr(trial._run, "log_pictures", lambda _, pictures, ids: sizes.extend(p.shape for p in pictures))
    trial.step()
    assert set(sizes) == {(side, 3 * side + 16, 3)}


def test_curves_for_tensorboard_are_completed_with_the_trial(open_trial: Any, tmp_path: Path) -> None:
    trial = open_trial(job())
    trial.step()
    trial.reset_config(job(1))
    trial.step()
    trial.cleanup()
    folders = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.glob("tensorboard/*/*/events.*"))
    assert folders == ["tensorboard/unet-2/0000", "tensorboard/unet-2/0001"]


def test_trial_that_is_stopped_shows_pictures_of_its_last_epoch(open_trial: Any, tmp_path: Path) -> None:
    trial = open_trial(job())
    trial.step()
    trial.cleanup()
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    run = read_run(path, [])
    assert run is not None
    assert ["epoch" in row for row in run.rows] == [True, False]
    assert "overlays" in run.rows[1]


def test_trial_that_cannot_open_says_why_in_its_first_step_and_spoils_no_next(open_trial: Any) -> None:
    trial = open_trial(job() | {"config": "{}"})
    result = trial.step()
    assert result["error"] == "failed"
    assert result["reason"].startswith("ValidationError: ")
    trial.reset_config(job(1))
    assert trial.step()["epoch"] == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_gone_from_a_machine_is_the_trial_s_failure_and_not_the_person_s(
    tiles: TrainVal, settings: WorkerSettings
) -> None:
    """A user error would end the whole study for one broken machine."""

    class Local(TrialWorker):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, tiles, replace(settings, device="cuda"))

    trial = Local(job())
    result = trial.step()
    trial.cleanup()
    assert result["error"] == "failed"
