"""The benchmark of epochs, on a CPU twin: it runs the attempts that it is asked for and prints a row for each."""

import runpy
from pathlib import Path

import pytest

from trainables.common.errors import UserError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "epochs.py"


@pytest.fixture(scope="module")
def main():
    return runpy.run_path(str(SCRIPT))["main"]


def test_epochs_prints_a_row_per_attempt(main, rgb_folder, capsys):
    small = ["--epochs", "1", "--draws", "4", "--window-px", "32", "--device", "cpu", "--threads", "1", "--small"]
    assert main(["--data", str(rgb_folder), "--attempts", "01", "02", "05", *small]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[1].strip() for row in rows] == ["#", "01", "02", "05"]
    assert rows[3][2].strip() == "sam_unet (small random encoder)"
    assert [row[3].strip() for row in rows[1:3]] == ["1.9", "24.4"]


def test_epochs_refuses_what_it_cannot_train_at_once(main, rgb_folder, capsys):
    wrong = {
        ("--data", "nowhere"): "nowhere is no folder, but --data needs one with train/, val/ and test/: check the path",
        ("--attempts", "9"): "--attempt is 9, but must be one of 01, 02, 03, 04, 05",
        ("--epochs", "0"): "--epochs is 0, but must be greater than or equal to 1",
        ("--attempts", "01", "05"): "tile train_0 is 64×64 px, but sam_unet takes 1024 px only: use tiles of "
        "1024×1024 px, or take the small variant with --small",
    }
    for flags, message in wrong.items():
        with pytest.raises(UserError) as caught:
            main(["--data", str(rgb_folder), *flags])
        assert str(caught.value) == message
        assert capsys.readouterr().out == ""
