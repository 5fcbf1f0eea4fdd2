"""Checks the command as a person runs it: what it writes and prints, and how it refuses."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from analysis import report

FILES = {
    *(f"tables/{name}.{kind}" for name in ("iou_by_architecture", "iou_by_tiles") for kind in ("csv", "md")),
    *(f"figures/{name}.{kind}" for name in ("iou_by_architecture", "iou_by_tiles") for kind in ("png", "svg")),
    "figures/predictions.jpg",
}


@pytest.fixture
def out(demo: Path, tmp_path: Path) -> Path:
    shutil.copytree(demo / "wandb", tmp_path / "out" / "wandb", symlinks=True)
    return tmp_path / "out"


@pytest.fixture(scope="module")
def written(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    """A report that no test changes."""
    folder = tmp_path_factory.mktemp("written")
    shutil.copytree(demo / "wandb", folder / "wandb", symlinks=True)
    return report.write_report(folder)


def contents(out: Path) -> dict[str, bytes]:
    folder = out / "report"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "analysis.report", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_write_report_writes_every_table_and_figure(out: Path):
    written = report.write_report(out)
    assert set(contents(out)) == FILES
    assert {path.relative_to(out / "report").as_posix() for path in written.paths} == FILES
    with (out / "report/tables/iou_by_architecture.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["val_iou"] for row in rows] == ["0.64", "0.6", "0.4", ""]
    assert rows[1]["lr"] == "0.0031622776601683794"
    assert (out / "report/tables/iou_by_tiles.csv").read_text() == (
        "architecture,5,24\nunet (base width 16),0.4,0.6\nsam_conv,,0.64\ntrivial: everything is roof,0.25,0.25\n"
    )
    table = (out / "report/tables/iou_by_tiles.md").read_text()
    assert "| sam_conv                    |       \N{EN DASH} |    0.640 |" in table
    assert table in written.text


def test_write_report_gives_the_same_bytes_again(out: Path):
    report.write_report(out)
    first = contents(out)
    report.write_report(out)
    assert contents(out) == first


def test_write_report_leaves_the_old_file_when_a_write_fails(out: Path, monkeypatch: pytest.MonkeyPatch):
    for path in report.write_report(out).paths:
        path.write_bytes(b"old")

    def fail(path: Path, target: Path) -> Path:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="the disk is full"):
        report.write_report(out)
    assert contents(out) == dict.fromkeys(FILES, b"old")


@pytest.mark.parametrize("width", [20, 45, 80, 120, 250])
def test_show_fits_the_terminal(written: report.Report, width: int):
    console = Console(width=width, file=io.StringIO())
    report.show(written, console)
    lines = console.file.getvalue().splitlines()
    start = next(index for index, line in enumerate(lines) if set(line.strip()) == {"─"})
    table = lines[start + 1 : start + 5]
    assert max(len(line) for line in table) <= width
    assert any(line.strip().startswith("sam_conv") for line in table)
    assert any("0.640" in line for line in table) == (width > 20)
    hidden = re.search(r"(\d+) more\s+columns", "\n".join(lines))
    assert (hidden[1] if hidden else None) == {20: "16", 45: "13", 80: "9", 120: "5"}.get(width)


def test_command_prints_the_tables_and_the_paths(out: Path):
    done = run(str(out), COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Best val IoU by architecture. Study demo" in done.stdout
    assert {line for line in done.stdout.splitlines() if line.startswith(str(out))} == {
        str(out / "report" / name) for name in FILES
    }


def test_command_says_in_one_line_what_is_wrong_and_writes_nothing(tmp_path: Path):
    done = run(str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {tmp_path} holds no W&B run (wandb/*run-*/run-*.wandb): give the folder of a study that has run\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_main_says_in_one_line_that_it_cannot_write(out: Path, capsys: pytest.CaptureFixture[str]):
    (out / "report").write_text("a file where the folder should be")
    assert report.main([str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the report cannot be written: ")
    assert error.count("\n") == 1
