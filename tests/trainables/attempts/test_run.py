import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.attempts.folder import settings
from trainables.attempts.reference import ATTEMPTS, reference_config
from trainables.attempts.run import main
from trainables.checkpoints import load, load_model, save
from trainables.common.command import EXIT_INTERRUPTED, EXIT_USER_ERROR, run

SHORT = ["--small", "--window-px", "64", "--draws-per-epoch", "4", "--batch-size", "2"]
CLOCKS = ("seconds", "step_seconds", "peak_memory_gib")


@pytest.fixture(scope="session")
def data(tmp_path_factory, write_rgb) -> Path:
    """Tiles as large as the windows of a smoke test."""
    return write_rgb(tmp_path_factory.mktemp("attempts") / "tiles", size_px=(128, 128))


@pytest.fixture
def command(data, tmp_path):
    """The flags of an attempt on these tiles, into `out`."""

    def make(number: str, *flags: str) -> list[str]:
        return ["--attempt", number, "--data", str(data), "--out", str(tmp_path / "out"), *flags]

    return make


def history(out: Path) -> list[dict[str, str]]:
    """The rows of history.csv without what a clock or a device says."""
    with (out / "history.csv").open(encoding="utf-8", newline="") as stream:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(stream)]


def about(out: Path) -> dict:
    return json.loads((out / "attempt.json").read_text(encoding="utf-8"))


# A run


@pytest.mark.parametrize("number", ATTEMPTS)
def test_smoke_goes_through_every_step(number, command, tmp_path, capsys):
    assert main(command(number, "--smoke")) == 0
    printed, out = capsys.readouterr().out, tmp_path / "out"
    label = about(out)["label"]
    assert printed.count(f"=== attempt: {number} {label}, smoke  epoch: ") == 2
    assert f"attempt {number} {label}, smoke: val IoU " in printed
    rows = history(out)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[0]["val/iou"]) == pytest.approx(
        np.mean([float(rows[0][f"val/iou/{tile}"]) for tile in ("val_0", "val_1")])
    )
    for tile in ("val_0", "val_1"):
        folder = out / "predictions" / "val"
        mask = np.array(Image.open(folder / "masks" / f"{tile}.png"))
        assert (mask.shape, mask.dtype) == ((128, 128), np.uint8)
        assert set(np.unique(mask)) <= {0, 255}
        for kind in ("images", "truth", "overlays"):
            assert np.array(Image.open(folder / kind / f"{tile}.jpg")).shape == (128, 128, 3)
    assert load_model(out / "best.pt").config.architecture == ATTEMPTS[number].architecture


def test_notes_on_the_tiles_are_printed(data, tmp_path, capsys):
    root = shutil.copytree(data, tmp_path / "tiles")
    (root / "train/images/notes.txt").write_text("no image")
    (root / "dataset.json").write_text('{"classes": ["ground", "roof"], "ignore_index": 7}')
    for path in root.glob("train/masks/train_[01].png"):  # all that a smoke test takes
        mask = np.zeros((128, 128), np.uint8)
        mask[:9] = 7
        Image.fromarray(mask).save(path)
    assert main(["--attempt", "01", "--data", str(root), "--out", str(tmp_path / "out"), "--smoke"]) == 0
    assert "Note: not read, since no tiles: train/images/notes.txt\n" in capsys.readouterr().out


def test_summary_is_of_the_best_epochs_weights_and_the_masks_are_theirs(command, data, tmp_path):
    main(command("01", *SHORT, "--epochs", "3", "--tiles", "3"))
    out = tmp_path / "out"
    summary, rows = json.loads((out / "summary.json").read_text()), history(out)
    best = max(rows, key=lambda row: float(row["val/iou"]))
    assert (summary["best_epoch"], summary["epochs"]) == (int(best["epoch"]), 3)
    assert summary["val_iou"] == pytest.approx(float(best["val/iou"]), abs=1e-9)
    for tile, iou in summary["tile_iou"].items():
        predicted = np.array(Image.open(out / "predictions" / "val" / "masks" / f"{tile}.png")) == 255
        truth = np.array(Image.open(data / "val" / "masks" / f"{tile}.png")) == 255
        assert (predicted & truth).sum() / (predicted | truth).sum() == pytest.approx(iou)


def test_multi_class_masks_hold_class_indices(band_folder, tmp_path):
    flags = ["--attempt", "01", "--data", str(band_folder), "--out", str(tmp_path / "out"), "--epochs", "1", *SHORT]
    assert main(flags) == 0
    masks = [np.array(Image.open(path)) for path in (tmp_path / "out/predictions/val/masks").glob("*.png")]
    assert len(masks) == 2
    assert set(np.unique(np.stack(masks))) <= {0, 1, 2, 3}


def test_attempt_tells_its_settings_and_what_was_changed(command, tmp_path, capsys):
    main(command("02", "--weights", "none", "--lr", "3e-4", "--seed", "7", *SHORT[1:], "--epochs", "1"))
    found = about(tmp_path / "out")
    assert (found["attempt"], found["title"]) == ("02", "SMP U-Net + ResNet34 (ImageNet)")
    assert (found["num_trainable"], found["num_frozen"]) == (24_436_369, 0)
    assert found["published"]["val_iou"] == 0.765
    changed = ["tiles", "lr", "weights", "init_seed", "epochs"]
    changed += ["draws_per_epoch", "batch_size", "window_px", "subset_seed", "draw_seed"]
    assert found["changed"] == changed
    printed = capsys.readouterr().out
    assert f"differs from the published attempt in: {', '.join(changed)}\n" in printed
    assert "24,436,369 trainable parameters (published: 24 M), 0 frozen; weights: none\n" in printed


@pytest.mark.parametrize("number", ATTEMPTS)
def test_settings_of_a_published_attempt_are_flat(number):
    found = settings(reference_config(ATTEMPTS[number]))
    assert found["batch_size"] == (2 if number in ("04", "05") else 4)
    assert found["epochs"] == 60
    assert not any(isinstance(value, dict) for value in found.values())


# Interrupted


def interrupted(flags: list[str], after: str) -> tuple[int, str]:
    """Runs the command until it prints `after`, interrupts it, and returns its exit code and all that it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainables.fit", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )
    said = ""
    for line in process.stdout:
        said += line
        if after in line:
            process.send_signal(signal.SIGINT)
            break
    said += process.communicate(timeout=120)[0]
    return process.returncode, said


def test_interrupted_attempt_goes_on_as_if_it_had_not_been(command, tmp_path, capsys):
    flags = command("01", "--small", "--window-px", "64", "--draws-per-epoch", "64", "--epochs", "3")
    code, said = interrupted(flags, after="epoch: 1/3")
    assert code == EXIT_INTERRUPTED, said
    out = tmp_path / "out"
    done = len(history(out))
    assert 1 <= done < 3
    assert said.endswith(f"interrupted: {out} holds {done} whole epochs; --resume goes on after them\n")
    assert load_model(out / "best.pt").metrics["val/iou"] >= 0.0

    torch.set_num_threads(1)
    assert main([*flags, "--resume"]) == 0
    assert f"into {out}, after epoch {done}\n" in capsys.readouterr().out
    resumed = history(out)
    shutil.rmtree(out)
    main(flags)
    assert resumed == history(out)


def test_attempt_interrupted_in_its_first_epoch_starts_over(command, tmp_path):
    flags = command("01", "--small", "--window-px", "64", "--epochs", "1")
    code, said = interrupted([*flags, "--draws-per-epoch", "1000000"], after="on cpu, into")
    assert code == EXIT_INTERRUPTED, said
    assert "holds 0 whole epochs" in said
    (tmp_path / "out" / "attempt.json").unlink()
    assert main([*flags, "--draws-per-epoch", "4"]) == 0


def test_resume_of_a_finished_attempt_predicts_again(command, tmp_path, capsys):
    flags = command("01", *SHORT, "--epochs", "1")
    main(flags)
    shutil.rmtree(tmp_path / "out" / "predictions")
    capsys.readouterr()
    assert main([*flags, "--resume"]) == 0
    assert "=== attempt" not in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "predictions").rglob("*.jpg"))) == 6


def test_killed_between_checkpoint_and_history_resumes_whole(command, tmp_path):
    flags, out = command("01", *SHORT, "--epochs", "2"), tmp_path / "out"
    main(flags)
    before = history(out)
    (out / "history.csv").unlink()
    main([*flags, "--resume"])
    assert history(out) == before


def test_killed_before_the_best_weights_were_saved_resumes_with_them(command, tmp_path):
    flags, out = command("01", *SHORT, "--epochs", "1"), tmp_path / "out"
    main(flags)
    summary = (out / "summary.json").read_bytes()
    for name in ("best.pt", "summary.json", "history.csv"):
        (out / name).unlink()
    main([*flags, "--resume"])
    kept = json.loads(summary) | {"minutes": None}
    assert json.loads((out / "summary.json").read_text()) | {"minutes": None} == kept


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_resume_goes_on_from_the_checkpoint_before_a_damaged_one(command, tmp_path, damage, capsys):
    flags, out = command("01", *SHORT, "--epochs", "2"), tmp_path / "out"
    main(flags)
    before, best = history(out), load(out / "best.pt")
    newest = out / "newest.pt"
    if damage == "cut":
        newest.write_bytes(newest.read_bytes()[:-1])
    else:  # killed after previous.pt got its name
        newest.unlink()
    capsys.readouterr()
    assert main([*flags, "--resume"]) == 0
    assert f"into {out}, after epoch 1\n" in capsys.readouterr().out
    assert history(out) == before
    after = load(out / "best.pt")
    assert (after["epoch"], after["metrics"]) == (best["epoch"], best["metrics"])
    assert all(torch.equal(after["model"][key], value) for key, value in best["model"].items())


def test_resume_refuses_an_attempt_with_nothing_whole_to_go_on_from(command, tmp_path, refusal):
    flags, out = command("01", *SHORT, "--epochs", "1"), tmp_path / "out"
    main(flags)
    (out / "newest.pt").write_bytes(b"")
    best = (out / "best.pt").read_bytes()
    message = refusal(lambda: main([*flags, "--resume"]))
    assert message == f"{out / 'newest.pt'} is damaged or no checkpoint: use another one"
    assert (out / "best.pt").read_bytes() == best


def test_best_weights_of_another_epoch_are_refused(command, tmp_path, refusal):
    flags, out = command("01", *SHORT, "--epochs", "3"), tmp_path / "out"
    main(flags)
    newest, best = load(out / "newest.pt"), load(out / "best.pt")
    records = json.loads(newest["records"])
    records[-1]["best_epoch"] = 1
    save(out / "newest.pt", newest | {"records": json.dumps(records)})
    save(out / "best.pt", best | {"epoch": 2})
    message = refusal(lambda: main([*flags, "--resume"]))
    assert message == f"{out / 'best.pt'} is of epoch 2, but the best one is 1: train again into another --out"


def test_folder_of_an_attempt_without_an_epoch_can_be_used_again(command, tmp_path, refusal):
    flags = command("01", "--small", "--window-px", "64", "--draws-per-epoch", "64", "--epochs", "2")
    message = refusal(lambda: main([*flags, "--lr", "1e30"]))
    assert message == (
        "the training loss is nan in epoch 1, but must be a finite number: use a lower --lr, or --precision fp32"
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["attempt.json"]
    assert main(flags) == 0
    assert about(tmp_path / "out")["settings"]["lr"] == 1e-3


def test_small_variant_asks_for_no_weights(command, tmp_path):
    assert main(command("05", *SHORT, "--epochs", "1")) == 0
    assert about(tmp_path / "out")["label"] == "sam_unet (small random encoder)"


def test_weights_of_a_file_are_known_by_their_bytes(command, resnet34_file, tmp_path, capsys):
    flags = command("02", *SHORT, "--epochs", "1")
    for name in ("imagenet", "other.pth"):
        shutil.copy(resnet34_file, tmp_path / name)
    main([*flags, "--weights", str(tmp_path / "imagenet")])
    found = about(tmp_path / "out")
    assert (found["settings"]["weights"], found["normalisation"]) == ("file imagenet", "encoder")
    assert "weights" in found["changed"]
    assert "  pixels are normalised as its weights expect\n" in capsys.readouterr().out
    assert main([*flags, "--weights", str(tmp_path / "other.pth"), "--resume"]) == 0


def test_heading_tells_what_other_bands_do_without(band_folder, tmp_path, capsys):
    flags = ["--attempt", "01", "--data", str(band_folder), "--out", str(tmp_path / "out"), "--epochs", "1", *SHORT]
    main(flags)
    assert (
        "  pixels are normalised by the train tiles' statistics; MEDIUM does without HueSaturationValue on these "
        "bands\n"
    ) in capsys.readouterr().out


# Refusals


def test_resume_refuses_other_settings_tiles_and_folders(command, write_rgb, tmp_path, refusal):
    flags, out = command("01", *SHORT, "--epochs", "1"), tmp_path / "out"
    message = refusal(lambda: main([*flags, "--resume"]))
    assert message == f"--resume needs an attempt in {out}, but there is none: leave --resume out"
    main(flags)
    message = refusal(lambda: main([*flags, "--lr", "0.01", "--resume"]))
    assert message == f"--resume: lr was 0.001 in {out}, but is 0.01 now: give it as it was"
    other = write_rgb(tmp_path / "other", size_px=(160, 160))
    message = refusal(lambda: main([*flags, "--data", str(other), "--resume"]))
    assert message.startswith(f"--resume: tiles_digest was {about(out)['tiles_digest']} in {out}, but is ")


@pytest.mark.parametrize("content", ["{}", "[]", '{"settings": 1}', "{"])
def test_resume_refuses_a_damaged_folder(content, command, tmp_path, refusal):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "attempt.json").write_text(content)
    message = refusal(lambda: main(command("01", "--smoke", "--resume")))
    assert message.startswith(("--resume needs an attempt in ", f"{tmp_path / 'out' / 'attempt.json'} is damaged: "))


def test_folder_that_is_not_empty_is_refused(command, tmp_path, refusal):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    message = refusal(lambda: main(command("01", "--smoke")))
    assert message == (
        f"--out {tmp_path / 'out'} exists and is not empty: add --resume to go on, or choose another folder"
    )
    assert os.listdir(tmp_path / "out") == ["thesis.txt"]  # noqa: PTH208


REFUSALS = {
    "attempt": (["--attempt", "6"], "--attempt is 6, but must be one of 01, 02, 03, 04, 05"),
    "weights of sam": (
        ["--attempt", "04"],
        "sam_conv needs sam_vit_b_01ec64.pth: fetch https://dl.fbaipublicfiles.com/segment_anything/"
        "sam_vit_b_01ec64.pth and pass it as --weights PATH",
    ),
    "weights of nothing": (
        ["--attempt", "01", "--weights", "imagenet"],
        "--weights is imagenet, but unet is trained from scratch: leave it out",
    ),
    "weights of another": (
        ["--attempt", "02", "--weights", "sam_vit_b=x.pth"],
        "--weights sam_vit_b=x.pth is for another encoder, but unet_resnet34 has resnet34",
    ),
    "no file": (
        ["--attempt", "05", "--weights", "nowhere.pth"],
        "--weights nowhere.pth is no file, but must be imagenet, none or a state dict: check the path",
    ),
    "whole tiles": (
        ["--attempt", "05", "--weights", "none"],
        "tile train_0 is 128×128 px, but sam_unet takes 1024 px only: use tiles of 1024×1024 px, or take the small "
        "variant with --small",
    ),
    "setting": (
        ["--attempt", "01", "--lr", "fast"],
        "--lr is 'fast', but must be a valid number, unable to parse string as a number",
    ),
    "device": (["--attempt", "01", "--device", "abacus"], "--device is 'abacus', but must be cuda or cpu"),
    "another device": (["--attempt", "01", "--device", "meta"], "--device is 'meta', but must be cuda or cpu"),
    "threads": (["--attempt", "01", "--threads", "-1"], "--threads is -1, but must be a whole number from 0 up"),
    "seed": (["--attempt", "01", "--seed", "x"], "--seed is x, but must be a whole number from 0 up"),
    "empty weights": (
        ["--attempt", "02", "--smoke", "--weights", ""],
        "--weights  is no file, but must be imagenet, none or a state dict: check the path",
    ),
    "flag": (["--attempt", "01", "--lern", "1"], "unrecognized arguments: --lern 1: see --help"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_mistake_is_one_line_exit_code_2_and_leaves_nothing(name, data, tmp_path, capsys, monkeypatch):
    flags, message = REFUSALS[name]
    monkeypatch.setattr(sys, "argv", ["fit", "--data", str(data), "--out", str(tmp_path / "out"), *flags])
    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == EXIT_USER_ERROR
    assert capsys.readouterr() == ("", f"error: {message}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_is_refused_where_there_is_none(command, refusal):
    message = refusal(lambda: main(command("01", "--smoke", "--device", "cuda")))
    assert message == "--device is cuda, but PyTorch sees no such device: use cpu"
