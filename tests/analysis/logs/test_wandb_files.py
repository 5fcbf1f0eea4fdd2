"""Checks what is read from W&B's files: the frames' values, pictures, torn files."""

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.logs.frames import Logs
from analysis.logs.wandb_files import read_logs
from tests.analysis.made_up import MadeUp


@pytest.fixture(scope="module")
def logs(demo: Path) -> Logs:
    return read_logs(demo)


@pytest.fixture
def copied(demo: Path, tmp_path: Path) -> Path:
    """The same study, for a test that changes it."""
    shutil.copytree(demo / "wandb", tmp_path / "wandb", symlinks=True)
    return tmp_path


def trial(logs, arm: str, number: int) -> dict:
    (row,) = logs.runs[(logs.runs["arm"] == arm) & (logs.runs["number"] == number)].to_dict("records")
    return row


def test_read_logs_returns_the_configuration_of_the_study(logs: Logs):
    study = logs.study
    assert (study["study"], study["profile"], study["seed"]) == ("demo", "smoke", 42)
    assert [arm["arm"] for arm in study["arms"]] == ["unet-24", "sam_conv-24", "unet-5", "sam_conv-5"]
    assert (study["phase"], study["slots"]["count"], study["val_tiles"]) == ("phase2_tuning", 2, ["t1", "t.2"])
    assert study["trivial"] == {"class": "roof", "iou": 0.25, "f1": 0.4, "judged": 0.25}
    assert (study["spec"]["epochs"], study["spec"]["vary"]) == (10, None)
    assert "_wandb" not in study


def test_read_logs_has_a_row_per_trial_in_the_order_of_the_arms(logs: Logs):
    assert list(zip(logs.runs["arm"], logs.runs["number"], logs.runs["state"], strict=True)) == [
        ("unet-24", 0, "finished"),
        ("unet-24", 1, "stopped"),
        ("unet-24", 2, "finished"),
        ("unet-24", 3, "diverged"),
        ("sam_conv-24", 0, "finished"),
        ("sam_conv-24", 1, "interrupted"),
        ("sam_conv-24", 2, "started"),
        ("unet-5", 0, "finished"),
        ("sam_conv-5", 0, "failed"),
    ]
    assert logs.notes == ()


def test_read_logs_describes_an_ended_trial(logs: Logs, demo: Path):
    row = trial(logs, "unet-24", 2)
    run = row.pop("run")
    assert len(list(demo.glob(f"wandb/*/{run}.wandb"))) == 1
    expected = {"arm": "unet-24", "run_arm": "unet-24", "number": 2, "stage": "search", "tiles": 24}
    expected |= {"architecture": "unet", "architecture_label": "unet (base width 16)", "state": "finished"}
    expected |= {"reason": "", "epochs": 3, "seconds": 180.0, "judged": 0.61, "best_epoch": 2, "num_segments": 1}
    expected |= {"signature": "sig-unet-24-2", "micro_batch_size": 0, "lost_epochs": 0, "lost_seconds": 0.0}
    expected |= {"dtype": "fp32", "device_model": "a CPU"}
    point = {"augmentation": "MEDIUM", "bce_weight": 0.5, "decoder_dropout": 0.3, "lr": 0.0031622776601683794}
    assert row == expected | {f"hyperparameters/{name}": value for name, value in point.items()}


def test_read_logs_tells_what_is_known_of_a_trial_that_failed_or_has_not_ended(logs: Logs):
    row = trial(logs, "sam_conv-5", 0)
    assert row["reason"] == "out of memory"
    assert math.isnan(row["judged"])
    assert pd.isna(row["best_epoch"])
    row = trial(logs, "sam_conv-24", 2)
    assert (row["state"], row["epochs"], row["seconds"]) == ("started", 2, 120.0)
    assert (row["judged"], row["best_epoch"]) == (0.47, 2)


def test_read_logs_has_a_history_row_per_epoch_with_numbers_only(logs: Logs):
    rows = logs.history[(logs.history["arm"] == "unet-24") & (logs.history["number"] == 0)]
    assert list(rows["epoch"]) == [1, 2, 3]
    assert list(rows["val/iou_center512"]) == [0.30, 0.52, 0.50]
    assert rows[["val/iou_center512/t1", "val/iou_center512/t.2"]].to_numpy().tolist() == [[0.51, 0.48]] * 3
    assert len(logs.history) == 3 + 1 + 3 + 2 + 2 + 1 + 2 + 2
    assert not [column for column in logs.history.columns if column.startswith(("_", "overlays"))]


def test_read_logs_returns_the_selection_and_the_pictures_of_the_selected_trials(logs: Logs):
    known = {"arm": "unet-24", "number": 2, "signature": "sig-unet-24-2", "judged": 0.61, "best_epoch": 2}
    assert logs.selection.to_dict("records")[0] == known | {"val_iou": 0.60, "val_f1": 0.60, "is_recipe": None}
    images = logs.images
    expected = [(arm, tile) for arm in ("unet-24", "sam_conv-24") for tile in ("t1", "t.2")]
    assert list(zip(images["arm"], images["caption"], strict=True)) == expected
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in images["path"])


def test_read_logs_takes_the_pictures_that_were_logged_last(tmp_path: Path):
    study = MadeUp("unet", "sam_conv", tiles=(24, 5))
    for arm, tiles in (("unet-24", ["v1"]), ("sam_conv-24", ["v1"]), ("unet-24", ["v2"])):
        study.picture(arm, tmp_path, tiles, key="selected")
    alone = {"_type": "image-file", "path": "sam_conv-24-v1.png"}
    study.rows.append({"selected/unet-5": alone})
    study.write(tmp_path)
    images = read_logs(tmp_path).images
    assert list(images[["arm", "caption"]].itertuples(index=False, name=None)) == [
        ("unet-24", "v2"),
        ("sam_conv-24", "v1"),
        ("unet-5", ""),
    ]
    assert [Path(path).name for path in images["path"]] == ["unet-24-v2.png", *["sam_conv-24-v1.png"] * 2]


def test_read_logs_notes_a_picture_whose_file_is_gone(copied: Path):
    lost = Path(read_logs(copied).images["path"].iloc[1])
    lost.unlink()
    logs = read_logs(copied)
    assert len(logs.images) == 3
    assert logs.notes == (f"The picture {lost.name} is in the log, but its file is gone.",)


def test_read_logs_reads_values_that_span_blocks_and_a_torn_trial_up_to_the_tear(tmp_path: Path):
    long = {f"key {index}": "x" * 1000 for index in range(150)}
    study = MadeUp("unet", spec=long)
    study.trial("unet-24", 0, [0.1 + 0.001 * epoch for epoch in range(120)], is_ended=False, config={"more": long})
    assert study.write(tmp_path).stat().st_size > 4 * 32 * 1024
    logs = read_logs(tmp_path)
    assert logs.study["spec"] == study.config["spec"]
    assert list(logs.history["epoch"]) == list(range(1, 121))
    assert logs.notes == ()
    study = MadeUp("unet")
    study.trial("unet-24", 0, [0.01 * epoch for epoch in range(1, 61)], is_ended=False)
    study.write(tmp_path / "torn")
    (path,) = study.paths
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    logs = read_logs(tmp_path / "torn")
    epochs = list(logs.history["epoch"])
    assert epochs == list(range(1, len(epochs) + 1))
    assert 10 < len(epochs) < 50
    assert list(logs.history["val/iou"]) == pytest.approx([0.01 * epoch for epoch in epochs])
    (note,) = logs.notes
    assert note.startswith(f"{path.parent.name}/{path.name} is torn at byte ")
    assert note.endswith(f" of {size // 2}: it is read up to there.")


def test_read_logs_reads_nothing_beside_the_wandb_files_and_follows_no_link(logs: Logs, copied: Path):
    (copied / "selection.json").write_text(json.dumps({"unet-24": {"number": 0}}))
    (copied / "optuna.db").write_bytes(b"no database")
    (copied / "wandb" / "run-linked").symlink_to(next((copied / "wandb").glob("offline-run-*")))
    found = read_logs(copied)
    pd.testing.assert_frame_equal(found.selection, logs.selection)
    assert list(found.runs["num_segments"]) == [1] * 9
