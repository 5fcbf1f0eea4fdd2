"""The command line of all adapters: flags to folders, what is printed, a new data set by one row."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.trainables.killing import digests
from tests.trainables.made_up_sources import write_cityscapes, write_deepglobe, write_massachusetts
from trainables.data.dataset import read_dataset
from trainables.datasets.adapters import ADAPTERS
from trainables.prepare import main


@pytest.fixture
def command(capsys) -> Callable[..., str]:
    """Runs the command; what it printed, spaces pressed together."""

    def run(*arguments: Any) -> str:
        assert main([str(argument) for argument in arguments]) == 0
        return " ".join(capsys.readouterr().out.split())

    return run


@pytest.fixture
def small(monkeypatch) -> None:
    """The data sets of one size take small images."""
    for name, size in (
        ("deepglobe", {"side_px": 16}),
        ("massachusetts", {"side_px": 16}),
        ("cityscapes", {"size_px": (32, 64)}),
    ):
        row = ADAPTERS[name]
        monkeypatch.setitem(ADAPTERS, name, replace(row, plan=partial(row.plan, **size)))


def test_command_prepares_deepglobe_and_says_what_came_of_it(command, small, tmp_path):
    src, dst = write_deepglobe(tmp_path / "src"), tmp_path / "dst"
    flags = ("deepglobe", "--src", src, "--dst", dst, "--num-train", 4, "--num-val", 2, "--num-test", 2, "--seed", 7)
    printed = command(*flags)
    assert "class train (4 tiles) val (2 tiles) test (2 tiles)" in printed
    assert "background 960 93.8% 480 93.8% 480 93.8%" in printed
    assert "road 64 6.2% 32 6.2% 32 6.2%" in printed
    assert "ignored" not in printed
    assert "DeepGlobe's own valid/ and test/ have no masks" in printed
    assert f"overview {dst / 'overview.png'}" in printed
    assert read_dataset(dst).info.source.endswith("4 train, 2 val and 2 test tiles of 10 with masks, seed 7")
    before = digests(dst)
    assert command(*flags) == printed
    assert digests(dst) == before


@pytest.mark.parametrize(
    ("name", "write", "flags", "words"),
    [
        ("massachusetts", write_massachusetts, ["--num-train", 3], ["train (3 tiles) val (2 tiles) test (2 tiles)"]),
        (
            *("cityscapes", write_cityscapes, []),
            ["test (2 tiles)", "ignored", "the published val split is the test split here."],
        ),
    ],
)
def test_command_prepares_published_splits(command, small, tmp_path, name, write, flags, words):
    printed = command(name, "--src", write(tmp_path / "src"), "--dst", tmp_path / "dst", *flags)
    assert all(its in printed for its in words)


def test_command_prepares_pickled_arrays(command, tmp_path):
    images, masks = tmp_path / "images.pkl", tmp_path / "masks.pkl"
    images.write_bytes(pickle.dumps(np.arange(5 * 8 * 8 * 2, dtype=np.uint16).reshape(5, 8, 8, 2)))
    masks.write_bytes(pickle.dumps(np.broadcast_to(np.arange(8, dtype=np.uint8) % 3, (5, 8, 8)).copy()))
    flags = ["--images", images, "--masks", masks, "--dst", tmp_path / "dst", "--scale", "1e-4"]
    flags += ["--classes", "clear", "cloud", "shadow", "--bands", "red", "nir", "--ignore", 2]
    printed = command("pickled", *flags, "--num-train", 3, "--num-val", 1, "--num-test", 1)
    assert "clear 72 37.5% 24 37.5% 24 37.5%" in printed
    assert "ignored 48 25.0%" in printed
    info = json.loads((tmp_path / "dst/dataset.json").read_text())
    assert (info["classes"], info["bands"], info["scale"]) == (["clear", "cloud", "shadow"], ["red", "nir"], 1e-4)


def test_command_shows_progress_in_a_terminal_only(command, small, tmp_path, monkeypatch):
    src = write_massachusetts(tmp_path / "src")
    for is_terminal in ("1", ""):
        monkeypatch.setenv("FORCE_COLOR", is_terminal)
        printed = command("massachusetts", "--src", src, "--dst", tmp_path / f"dst{is_terminal}")
        assert all((step in printed) == bool(is_terminal) for step in ("checking", "writing", "counting"))


def test_help_lists_every_data_set_and_its_flags(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("inria", *ADAPTERS))
    for name in ADAPTERS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert "--dst DIR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mars", "--src", "a", "--dst", "b"], "argument DATASET: invalid choice: 'mars'"),
        (["deepglobe", "--dst", "b"], "the following arguments are required: --src: see --help"),
        (["deepglobe", "--src", "a", "--dst", "b", "--num-train", "x"], "argument --num-train: invalid int value: 'x'"),
        (["inria", "--src", "a", "--dst", "b", "--seed", "1"], "unrecognized arguments: --seed 1: see --help"),
    ],
)
def test_command_refuses_wrong_flags(arguments, words, refusal):
    assert refusal(lambda: main(arguments)).startswith(words)
