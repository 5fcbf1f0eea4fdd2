"""The benchmark of epochs, on a CPU twin: it runs every attempt and prints a row for each."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from trainables.attempts import ATTEMPTS
from trainables.demo import write_demo_tiles

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "epochs.py"


@pytest.fixture(scope="module")
def main() -> Any:
    return runpy.run_path(str(SCRIPT))["main"]


def test_epochs_prints_a_row_per_attempt(main: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_demo_tiles(tmp_path / "tiles", size_px=128, num_train=2, num_val=1, num_test=1)
    small = ["--epochs", "1", "--draws", "4", "--window-px", "64", "--device", "cpu", "--threads", "1", "--small"]
    assert main(["--data", str(root), *small]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[1].strip() for row in rows] == ["#", *ATTEMPTS]
    assert rows[5][2].strip() == "sam_unet (small random encoder)"
    assert [row[3].strip() for row in rows[1:4]] == ["1.9", "24.4", "22.4"]


def test_epochs_refuses_an_unknown_attempt_in_one_line(main: Any, rgb_folder: Path, capsys: Any) -> None:
    assert main(["--data", str(rgb_folder), "--attempts", "9"]) == 2
    assert capsys.readouterr().err == "error: --attempt is 9, but must be one of 01, 02, 03, 04, 05\n"


def test_epochs_refuses_a_missing_folder_in_one_line(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: nowhere is no folder")
