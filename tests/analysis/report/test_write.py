"""Checks the command as a person runs it: what it writes and prints, and how it refuses."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from analysis.report import write as report
from tests.analysis.made_up import MadeUp

TEST = [0.5, 0.4, 0.6, 0.5]


def finished(out: Path, name: str) -> Path:
    """A study of phase 1 with two models of each of two architectures."""
    study = MadeUp("unet (base width 16)", "sam_conv", name=name, profile="smoke")
    for arm, above in (("unet-24", 0.0), ("sam_conv-24", 0.1)):
        for seed in range(2):
            study.model(arm, seed, test=[iou + above + 0.01 * seed for iou in TEST])
    study.write(out)
    return out


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study that no test changes."""
    return finished(tmp_path_factory.mktemp("source") / "out", "first")


@pytest.fixture(scope="module")
def written(source: Path, tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    """A report that no test changes."""
    return report.write_report([source], tmp_path_factory.mktemp("written"))


@pytest.fixture
def out(source: Path, tmp_path: Path) -> Path:
    shutil.copytree(source / "wandb", tmp_path / "out" / "wandb", symlinks=True)
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command says where it writes nothing."""
    assert report.main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("error: ").removesuffix("\n")


def test_report_has_a_page_tables_and_figures(written: report.Report):
    files = {path.relative_to(written.folder).as_posix() for path in written.paths}
    assert files <= set(contents(written.folder))
    tables = ("iou_by_architecture", "settings", "cost", "spread")
    assert files >= {f"tables/{name}.{kind}" for name in tables for kind in ("csv", "md", "tex")}
    assert files >= {f"figures/{name}.{kind}" for name in ("intervals", "learning") for kind in ("svg", "png")}
    assert files >= {"report.html", "report.md", "tables/models.csv", "tables/trials.csv", "tables/scores.csv"}
    assert (written.folder / "figures/intervals.png").read_bytes().startswith(b"\x89PNG")


def test_report_can_be_traced_from_its_first_sentence_to_the_scores_of_each_tile(written: report.Report):
    sentence = written.composed.document.conclusions[0]
    assert "sam_conv" in sentence
    with (written.folder / "tables/iou_by_architecture.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["architecture"] for row in rows] == ["sam_conv", "unet (base width 16)"]
    assert f"test IoU {float(rows[0]['test_iou']):.3f}" in sentence
    with (written.folder / "tables/models.csv").open(newline="") as file:
        models = {(row["arm"], row["number"]): float(row["test_iou"]) for row in csv.DictReader(file)}
    of_first = [iou for (arm, _), iou in models.items() if arm == "sam_conv-24"]
    assert float(rows[0]["test_iou"]) == pytest.approx(sum(of_first) / len(of_first))
    with (written.folder / "tables/scores.csv").open(newline="") as file:
        scores = [float(row["iou"]) for row in csv.DictReader(file) if (row["arm"], row["number"]) == ("unet-24", "1")]
    assert scores == pytest.approx([iou + 0.01 for iou in TEST])
    text = (written.folder / "report.md").read_text()
    assert (written.folder / "tables/iou_by_architecture.md").read_text().splitlines()[-1] in text
    assert sentence.split("(")[0] in text


@pytest.mark.usefixtures("undrawn")
def test_several_studies_become_one_report_beside_the_first(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = finished(tmp_path / "other", "second")
    assert report.main([str(out), str(other)]) == 0
    assert f"report    {tmp_path / 'report' / 'report.html'}" in capsys.readouterr().out
    names = {path.stem for path in (tmp_path / "report" / "tables").glob("iou_by_architecture*.csv")}
    assert names == {"iou_by_architecture_1", "iou_by_architecture_2"}
    assert "first" in (tmp_path / "report" / "report.md").read_text()
    assert set(contents(out)) == {name for name in contents(out) if name.startswith("wandb/")}
    to, mine, outside = tmp_path / "report", tmp_path / "report" / "tables" / "mine.csv", tmp_path / "outside.txt"
    mine.write_text("a file of the reader's own")
    outside.write_text("not in the report at all")
    (to / ".files.json").write_text(json.dumps([*json.loads((to / ".files.json").read_text()), "../outside.txt"]))
    report.write_report([out], to)  # forgets what the other has left, and nothing else
    assert {path.stem for path in to.glob("tables/iou_by_architecture*.csv")} == {"iou_by_architecture"}
    assert mine.is_file()
    assert outside.is_file()
    (to / ".files.json").write_text("{torn")
    report.write_report([out], to)
    assert "report.html" in json.loads((to / ".files.json").read_text())


@pytest.mark.usefixtures("undrawn")
def test_report_lies_in_the_study_s_folder_and_leaves_the_old_file_when_a_write_fails(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert report.main([str(out)]) == 0
    before = contents(out / "report")
    assert "report.html" in before

    def fail(path: Path, target: Path) -> Path:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    capsys.readouterr()
    assert refusal(out, capsys=capsys) == "the report cannot be written: the disk is full"
    assert contents(out / "report") == before


@pytest.mark.parametrize("width", [20, 60, 80, 250])
def test_show_fits_the_terminal(written: report.Report, width: int):
    console = Console(width=width, file=io.StringIO())
    report.show(written, console)
    said = console.file.getvalue()
    lines = said.splitlines()
    start = next(place for place, line in enumerate(lines) if set(line.strip()) == {"─"})
    assert max(len(line) for line in lines[start : start + 3]) <= width
    assert lines[start + 1].strip().startswith("sam_conv")
    assert any("0.605" in line for line in lines[start : start + 3]) == (width > 20)  # its mean IoU
    assert bool(re.search(r"\d+ more\s+columns", said)) == (width < 250)
    assert " ".join(said.split()).startswith(written.composed.document.conclusions[0])
    assert said.index(written.composed.document.warnings[0].split()[0]) < said.index("─")


def test_command_prints_the_conclusions_the_limits_and_the_path(out: Path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "analysis.report", str(out), "--to", str(out / "here")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("This is a smoke run: ")
    assert "Note: Small or random-encoder variants, which" in done.stdout
    assert done.stdout.splitlines()[-1] == f"report    {out / 'here' / 'report.html'}"


def test_what_is_no_folder_of_a_study_is_refused_with_nothing_written(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for folders, words in (
        ((), "no study is named, but a report needs one: give its folder, or --wandb entity/project"),
        (("none",), "the study's folder is none, but no such folder exists: give the one that holds wandb/"),
        ((out, "none"), "the study's folder is none, but "),
        ((tmp_path,), f"{tmp_path} holds no W&B run (wandb/*run-*/run-*.wandb): "),
        ((out, out, "--to", "to"), "two studies are called first, but "),
    ):
        assert refusal(*folders, capsys=capsys).startswith(words)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


@pytest.mark.usefixtures("undrawn")
def test_folder_that_cannot_be_written_is_said_in_one_line(out: Path, capsys: pytest.CaptureFixture[str]):
    (out / "report").write_text("a file where the folder should be")
    assert refusal(out, capsys=capsys).startswith("the report cannot be written: ")
    assert (out / "report").read_text() == "a file where the folder should be"
