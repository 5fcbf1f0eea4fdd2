"""The command that trains one attempt: what it prints and leaves, how it is stopped and goes on, what it refuses."""

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

from trainables.attempts import outputs
from trainables.attempts.outputs import write_history
from trainables.attempts.reference import ATTEMPTS
from trainables.checkpoints import load, load_model
from trainables.common.command import EXIT_INTERRUPTED, EXIT_USER_ERROR, exit_code
from trainables.fit import main

SHORT = ["--small", "--window-px", "64", "--draws-per-epoch", "4", "--batch-size", "2"]
CLOCKS = ("seconds", "step_seconds", "peak_memory_gib")


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_rgb) -> Path:
    """Tiles as large as the windows of a smoke test."""
    return write_rgb(tmp_path_factory.mktemp("attempts") / "tiles", size_px=(128, 128))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data) -> Path:
    """An attempt of two epochs, which no test changes."""
    out = tmp_path_factory.mktemp("trained") / "out"
    main(["--attempt", "01", "--data", str(data), "--out", str(out), *SHORT, "--epochs", "2"])
    return out


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def command(data, out):
    """The flags of an attempt on these tiles, into `out`."""

    def make(number: str, *flags: str) -> list[str]:
        return ["--attempt", number, "--data", str(data), "--out", str(out), *flags]

    return make


@pytest.fixture
def go_on(trained, command, out):
    """The flags to go on with a copy of the trained attempt, in `out`."""
    shutil.copytree(trained, out)
    return command("01", *SHORT, "--epochs", "2", "--resume")


@pytest.fixture
def untrained(monkeypatch) -> None:
    """Attempts are interrupted before their first epoch."""
    monkeypatch.setattr("trainables.trial.fit", lambda *_, **__: iter(()))


def history(out: Path) -> list[dict[str, str]]:
    """The rows of history.csv without what a clock or a device says."""
    with (out / "history.csv").open(encoding="utf-8", newline="") as stream:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(stream)]


def about(out: Path) -> dict:
    return json.loads((out / "attempt.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", ["01", "05"])  # an encoder that is trained, and one that is frozen
def test_smoke_goes_through_every_step(number, command, data, out, capsys):
    assert main(command(number, "--smoke")) == 0
    printed = capsys.readouterr().out
    assert printed.count(f"=== attempt: {number} {ATTEMPTS[number].architecture}") == 2
    rows, best = history(out), load_model(out / "best.pt")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert best.config.architecture == ATTEMPTS[number].architecture
    assert float(rows[best.epoch - 1]["val/iou"]) == best.metrics["val/iou"] == max(float(r["val/iou"]) for r in rows)
    assert (
        f"val IoU {best.metrics['val/iou']:.3f}, F1 {best.metrics['val/f1']:.3f} (best epoch {best.epoch} of 2"
        in printed
    )
    for tile in ("val_0", "val_1"):  # the pictures are of the best epoch's weights
        folder = out / "predictions" / "val"
        mask = np.array(Image.open(folder / "masks" / f"{tile}.png"))
        truth = np.array(Image.open(data / "val" / "masks" / f"{tile}.png")) == 255
        assert (mask.shape, mask.dtype, set(np.unique(mask)) <= {0, 255}) == ((128, 128), np.uint8, True)
        iou = (truth & (mask == 255)).sum() / (truth | (mask == 255)).sum()
        assert iou == pytest.approx(best.metrics[f"val/iou/{tile}"])
        assert np.array(Image.open(folder / "overlays" / f"{tile}.jpg")).shape == (128, 128, 3)


def test_other_bands_and_classes(band_folder, out, capsys):
    (band_folder / "train/images/notes.txt").write_text("no image")
    flags = ["--attempt", "01", "--data", str(band_folder), "--out", str(out), "--epochs", "1", *SHORT]
    assert main(flags) == 0
    masks = [np.array(Image.open(path)) for path in (out / "predictions/val/masks").glob("*.png")]
    assert len(masks) == 2
    assert set(np.unique(np.stack(masks))) <= {0, 1, 2, 3}
    printed = capsys.readouterr().out
    assert "train/images/notes.txt\n" in printed
    assert "HueSaturationValue" in printed


def test_what_differs_from_the_published_attempt_is_said(command, out, untrained, capsys):
    flags = ["--weights", "none", "--lr", "3e-4", "--seed", "7", *SHORT[1:], "--epochs", "1"]
    assert main(command("02", *flags)) == EXIT_INTERRUPTED
    found = about(out)
    assert (found["num_trainable"], found["num_frozen"]) == (24_436_369, 0)
    assert found["changed"] == [
        "tiles 24 → 3",
        "lr 0.001 → 0.0003",
        "weights imagenet → none",
        "init_seed 42 → 7",
        "epochs 60 → 1",
        "draws_per_epoch 400 → 4",
        "batch_size 4 → 2",
        "window_px none → 64",
        "subset_seed 42 → 7",
        "draw_seed 42 → 7",
    ]
    printed = capsys.readouterr().out
    assert ", ".join(found["changed"]) in printed
    assert "24,436,369 trainable parameters (published: 24 M), 0 frozen; weights: none\n" in printed


# Interrupted and resumed


@pytest.mark.faults
def test_interrupted_attempt_goes_on_as_if_it_had_not_been(trained, command, out, capsys, monkeypatch):
    flags = command("01", *SHORT, "--epochs", "2")
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write_history", lambda *its: write_history(*its) or os.kill(os.getpid(), signal.SIGINT))
        assert main(flags) == EXIT_INTERRUPTED
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith(f"interrupted: {out} holds 1 whole epochs")
    assert history(out) == history(trained)[:1]
    (out / "best.pt").unlink()  # as after a kill before it was written
    assert main([*flags, "--resume"]) == 0
    assert "after epoch 1\n" in capsys.readouterr().out
    assert_alike(out, trained)


def assert_alike(one: Path, other: Path) -> None:
    """Both attempts have the same history and the same best weights."""
    assert history(one) == history(other)
    best, expected = load(one / "best.pt"), load(other / "best.pt")
    assert (best["epoch"], best["metrics"]) == (expected["epoch"], expected["metrics"])
    assert all(torch.equal(best["model"][key], tensor) for key, tensor in expected["model"].items())


@pytest.mark.faults
def test_command_that_sigterm_stops_in_its_first_epoch_starts_over(command, out):
    """The command as a process of its own."""
    flags = command("01", "--small", "--window-px", "64", "--epochs", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "trainables.fit", *flags, "--draws-per-epoch", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )
    for line in process.stdout:
        if "on cpu, into" in line:
            process.send_signal(signal.SIGTERM)
            break
    said = process.communicate(timeout=120)[0]
    assert process.returncode == EXIT_INTERRUPTED, said
    assert [path.name for path in out.iterdir()] == ["attempt.json"]
    assert main([*flags, "--draws-per-epoch", "4"]) == 0


def test_resume_stopped_while_it_predicts_is_an_interruption(go_on, out, monkeypatch):
    shutil.rmtree(out / "predictions")
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "evaluate", lambda *_, before_tile, **__: os.kill(os.getpid(), 2) or before_tile())
        assert main(go_on) == EXIT_INTERRUPTED
    assert main(go_on) == 0
    assert len(list((out / "predictions").rglob("*.jpg"))) == 2


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["newest.pt cut", "newest.pt", "history.csv"])
def test_resume_mends_what_a_kill_left(trained, go_on, out, damage):
    # A kill may come between any two files; newest.pt is gone where previous.pt had got its name
    name, _, is_cut = damage.partition(" ")
    content = (out / name).read_bytes()
    (out / name).unlink()
    if is_cut:
        (out / name).write_bytes(content[:-1])
    assert main(go_on) == 0
    assert_alike(out, trained)


def test_folder_of_an_attempt_without_an_epoch_can_be_used_again(command, out, refusal):
    flags = command("01", *SHORT, "--epochs", "1")
    assert "--lr" in refusal(lambda: main([*flags, "--lr", "1e30"]))  # diverges
    assert [path.name for path in out.iterdir()] == ["attempt.json"]
    assert main(flags) == 0
    assert about(out)["settings"]["lr"] == 1e-3


def test_weights_of_a_file_are_known_by_their_bytes(command, resnet34_file, out, tmp_path, untrained, capsys):
    flags = command("02", *SHORT[1:], "--epochs", "1")
    for name in ("imagenet", "other.pth"):
        shutil.copy(resnet34_file, tmp_path / name)
    main([*flags, "--weights", str(tmp_path / "imagenet")])
    found = about(out)
    assert (found["settings"]["weights"], found["normalisation"]) == ("file", "encoder")
    assert "weights imagenet → file" in found["changed"]
    assert "  pixels are normalised as its weights expect\n" in capsys.readouterr().out
    assert main([*flags, "--weights", str(tmp_path / "other.pth"), "--resume"]) == EXIT_INTERRUPTED


# Refusals


def test_resume_refuses_other_settings_tiles_and_checkpoints(go_on, write_rgb, out, tmp_path, refusal):
    best = (out / "best.pt").read_bytes()
    assert f"{out} was begun with (lr 0.001 → 0.01)" in refusal(lambda: main([*go_on, "--lr", "0.01"]))
    other = write_rgb(tmp_path / "other", size_px=(160, 160))
    assert "tiles_digest" in refusal(lambda: main([*go_on, "--data", str(other)]))
    (out / "newest.pt").write_bytes(b"")
    (out / "previous.pt").unlink()
    message = refusal(lambda: main(go_on))
    assert message == f"{out / 'newest.pt'} is damaged or no checkpoint: use another one"
    assert (out / "best.pt").read_bytes() == best


def test_folder_of_other_things_is_refused_and_resuming_needs_an_attempt(command, out, refusal):
    for content in (None, "{}", "[]", '{"settings": 1}', "{"):
        if content is not None:
            out.mkdir(exist_ok=True)
            (out / "attempt.json").write_text(content)
        message = refusal(lambda: main(command("01", *SHORT, "--resume")))
        assert message.startswith(f"--resume needs an attempt in {out}")
    (out / "attempt.json").rename(out / "thesis.txt")
    message = refusal(lambda: main(command("01", *SHORT)))
    assert message.startswith(f"--out {out} exists and is not empty: ")
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


SAM_URL = "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"
REFUSALS = {
    "attempt": (["--attempt", "6"], "--attempt is 6, but must be one of 01, 02, 03, 04, 05"),
    "weights of sam": (["--attempt", "04"], f"sam_conv needs sam_vit_b_01ec64.pth: fetch {SAM_URL} and "),
    "weights of nothing": (["--attempt", "01", "--weights", "imagenet"], "--weights is imagenet, but unet is trained "),
    "of another": (["--attempt", "02", "--weights", "sam_vit_b=x.pth"], "--weights sam_vit_b=x.pth is for another enc"),
    "no file": (["--attempt", "05", "--weights", "nowhere.pth"], "--weights nowhere.pth is no file, but must be "),
    "empty weights": (["--attempt", "02", "--smoke", "--weights", ""], "--weights  is no file, but must be "),
    "whole tiles": (["--attempt", "05", "--weights", "none"], "tile train_0 is 128×128 px, but sam_unet takes 1024 px"),
    "setting": (["--attempt", "01", "--lr", "fast"], "--lr is 'fast', but must be a valid number"),
    "device": (["--attempt", "01", "--device", "abacus"], "--device is 'abacus', but must be cuda or cpu"),
    "no device": (["--attempt", "01", "--device", "meta"], "--device is 'meta', but must be cuda or cpu"),
    "no cuda": (["--attempt", "01", "--device", "cuda"], "--device is cuda, but PyTorch sees no such device: use cpu"),
    "threads": (["--attempt", "01", "--threads", "-1"], "argument --threads: it is -1, but must be a whole number "),
    "seed": (["--attempt", "01", "--seed", "x"], "argument --seed: it is x, but must be a whole number from 0 up"),
    "flag": (["--attempt", "01", "--lern", "1"], "unrecognized arguments: --lern 1: see --help"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_mistake_is_one_line_exit_code_2_and_leaves_nothing(name, data, out, capsys, monkeypatch):
    flags, message = REFUSALS[name]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["fit", "--data", str(data), "--out", str(out), *flags])
    assert exit_code(main) == EXIT_USER_ERROR
    printed, error = capsys.readouterr()
    assert (printed, error.count("\n")) == ("", 1)
    assert error.startswith(f"error: {message}")
    assert not out.exists()
