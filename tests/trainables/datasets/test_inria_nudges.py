"""Nudged crops, and the command line that nudges them."""

import contextlib
import math
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.trainables.datasets.test_inria_crops import CENTER, SIDE, check_crops, rows
from tests.trainables.killing import Killed, digests, kill_after
from tests.trainables.made_up_sources import FEW_INRIA, inria_mask, write_tiff
from trainables.datasets import inria_crops
from trainables.datasets.inria_crops import prepare_inria
from trainables.prepare import main

pytestmark = pytest.mark.usefixtures("small_inria")
prepare_small = partial(prepare_inria, side_px=SIDE)


def test_nudge_moves_one_crop_and_is_remembered(src, dst, prepared):
    prepare_small(src, dst, nudges={"austin4": (3, -7)})
    before, after = rows(prepared)["austin4"], rows(dst)["austin4"]
    assert after["placed"] == "nudged"
    assert int(after["left_px"]) == int(before["left_px"]) + 3
    assert int(after["top_px"]) == int(before["top_px"]) - 7
    assert int(after["moved_right_px"]) == int(before["moved_right_px"]) + 3
    check_crops(dst)
    changed = {name for name, _ in digests(dst).items() - digests(prepared).items()}
    assert changed == {"crops.csv", "overview.png", "train/images/austin4.jpg", "train/masks/austin4.png"}

    nudged = digests(dst)
    (dst / "train/masks/austin4.png").unlink()
    prepare_small(src, dst)
    assert digests(dst) == nudged


def test_nudge_gives_the_same_bytes_in_a_fresh_folder_and_is_undone_by_0_0(src, dst, tmp_path, prepared):
    for folder in (dst, tmp_path / "fresh"):
        prepare_small(src, folder, nudges={"austin5": (3, -7)})
    assert digests(dst) == digests(tmp_path / "fresh") != digests(prepared)
    prepare_small(src, dst, nudges={"austin5": (0, 0)})
    assert digests(dst) == digests(prepared)


def test_nudge_reaches_the_edges_and_past_them_is_refused_before_anything_is_written(src, dst, tmp_path, refusal):
    for off in (-34, 34):
        prepare_small(src, dst, nudges={"austin5": (off, off)})
        assert rows(dst)["austin5"]["left_px"] == str(CENTER + off)
    for right, down in ((-35, 0), (35, 0), (0, -35), (0, 35)):
        args = {"nudges": {"austin5": (right, down)}}
        message = refusal(lambda its=args: prepare_small(src, tmp_path / "other", **its))
        assert message == (
            f"--nudge austin5={right:+d},{down:+d} leaves the source of 100×100 px: DX may be -34 to +34, DY -34 to +34"
        )
    assert not (tmp_path / "other").exists()


@pytest.mark.faults
def test_nudge_killed_anywhere_never_mixes_two_places(tmp_path, inria_sources, monkeypatch):
    monkeypatch.setattr(inria_crops, "SPLITS", FEW_INRIA)
    prepare_small(inria_sources, tmp_path / "whole")
    for count in range(31):  # more than there are changes of the disk
        dst = shutil.copytree(tmp_path / "whole", tmp_path / f"killed{count}")
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            kill_after(patch, count)
            prepare_small(inria_sources, dst, nudges={"austin2": (9, -8)})
        prepare_small(inria_sources, dst)  # without the flag: the old place or the new one, but whole
        check_crops(dst)


# The command line


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., str]:
    """Runs the command with small crops; what it printed, spaces pressed together."""
    monkeypatch.setattr(inria_crops, "SIDE_PX", SIDE)

    def run(*arguments: Any) -> str:
        assert main(["inria", *map(str, arguments)]) == 0
        return " ".join(capsys.readouterr().out.split())

    return run


def test_command_shows_what_moved_and_what_to_look_at(command, src, tmp_path):
    printed = command("--src", src, "--dst", tmp_path / "dst")
    assert "austin4 train 0.0% 5" in printed
    row = rows(tmp_path / "dst")["austin4"]
    distance_px = math.hypot(int(row["moved_right_px"]), int(row["moved_down_px"]))
    assert f"{row['moved_right_px']} {int(row['moved_down_px']):+d} slid {distance_px:.0f} px" in printed
    assert "austin22 train 0.0% 0.0% +0 +0 best, not moved (low)" in printed
    assert "warning: austin7 has 0.2% building, less than 5 %: no place has enough" in printed
    assert "least building: 0.0%, in austin22" in printed
    assert str(tmp_path / "dst" / "overview.png") in printed
    assert "--nudge austin17=+120,-40 moves" in printed


def test_command_says_which_nudges_it_keeps(command, src, dst):
    printed = command("--src", src, "--dst", dst, "--nudge", "austin5=3,-7", "austin6=+1,+2", "--nudge", "austin8=-1,0")
    assert "austin5 train" in printed
    assert "nudged +3,-7" in printed
    assert "keeps its nudge" not in printed
    printed = command("--src", src, "--dst", dst, "--nudge", "austin6=+1,+2", "austin8=0,0")
    assert "austin5 keeps its nudge from crops.csv; --nudge austin5=0,0 undoes it" in printed
    assert "austin6 keeps" not in printed
    assert "austin8" not in printed


def test_command_says_when_nothing_moved(command, src, dst):
    for number in (4, 7, 22):
        write_tiff(src / "msks" / f"austin{number}.tif", inria_mask(1)[None])
        (dst / "train/masks" / f"austin{number}.png").unlink()
    assert command("--src", src, "--dst", dst).startswith("none moved")


@pytest.mark.parametrize(
    ("nudges", "words"),
    [
        (["austin5"], "--nudge austin5 is no nudge: write TILE=DX,DY in pixels, such as austin17=+120,-40"),
        (["austin5=1"], "--nudge austin5=1 is no nudge"),
        (["austin5=1.5,2"], "--nudge austin5=1.5,2 is no nudge"),
        (["austin5=1,2,3"], "--nudge austin5=1,2,3 is no nudge"),
        (["austin37=1,2"], "--nudge austin37=1,2 names no tile: use austin1 to austin"),
        (["chicago1=1,2"], "--nudge chicago1=1,2 names no tile: use austin1 to austin"),
        (["austin5=1,2", "austin5=0,0"], "--nudge austin5=0,0 is the second for austin5: give one"),
    ],
)
def test_command_refuses_bad_nudges(nudges, words, tmp_path, refusal):
    arguments = ["inria", "--src", str(tmp_path), "--dst", str(tmp_path / "dst"), "--nudge", *nudges]
    assert refusal(lambda: main(arguments)).startswith(words)
