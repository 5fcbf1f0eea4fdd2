"""The report of a W&B project, whose server is a stand-in on loopback, beside that of the same runs' files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.logs import wandb_api
from analysis.logs.wandb_run import read_run
from analysis.report import write as report
from tests import wandb_server
from tests.analysis.made_up import MadeUp


@pytest.fixture
def server(demo: Path) -> Iterator[Any]:
    """Holds the runs of `demo`, as a sync would leave them there."""
    with wandb_server.talking() as kept, pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb_api, "NUM_RETRIES", 1)
        upload(kept, demo)
        yield kept


def upload(server: Any, out: Path, prefix: str = "", **changed: Any) -> None:
    for path in sorted((out / "wandb").glob("offline-run-*/run-*.wandb")):
        run = read_run(path, [])
        assert run is not None
        name = prefix + path.stem.removeprefix("run-")
        stored = wandb_server.StoredRun("someone", "fewtile", name, fields={"jobType": run.job_type})
        stored.config = {key: {"value": value} for key, value in (run.config | changed).items()}
        stored.rows = [json.dumps({"_step": step} | row) for step, row in enumerate(run.rows)]
        stored.state = "finished"
        files = path.parent / "files"
        stored.files |= {str(file.relative_to(files)): file.read_bytes() for file in files.rglob("*.png")}
        server.runs[name] = stored


def tables(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "tables").glob("*.csv") if path.stem != "trials"}


@pytest.mark.usefixtures("undrawn")
def test_report_of_a_project_is_that_of_its_files(server: Any, demo: Path, tmp_path: Path):
    assert report.main([str(demo), "--to", str(tmp_path / "files")]) == 0
    assert report.main(["--wandb", "someone/fewtile", "--to", str(tmp_path / "project")]) == 0
    of_files, of_project = tables(tmp_path / "files"), tables(tmp_path / "project")
    for found in (of_files, of_project):
        del found["models.csv"]  # which names the runs
    assert of_files == of_project
    pages = [(tmp_path / name / "report.md").read_text() for name in ("files", "project")]
    assert pages[0].split("## Methods and files")[0] == pages[1].split("## Methods and files")[0]


@pytest.mark.usefixtures("undrawn")
def test_studies_of_one_name_in_a_project_keep_apart(server: Any, tmp_path: Path):
    server.clear()
    study = MadeUp("unet")
    study.model("unet-24", test=[0.5] * 4)
    study.write(tmp_path)
    for prefix in "ab":
        upload(server, tmp_path, prefix, study_id=prefix * 10)
    assert report.main(["--wandb", "someone/fewtile", "--to", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "demo-aaaaaa" in text
    assert "demo-bbbbbb" in text
    assert (tmp_path / "tables" / "cost_2.csv").read_text() == (tmp_path / "tables" / "cost_1.csv").read_text()


def test_project_without_a_study_is_told_in_one_line(server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    server.clear()
    server.runs["theirs"] = wandb_server.StoredRun("someone", "fewtile", "theirs", fields={"jobType": "train"})
    assert report.main(["--wandb", "someone/fewtile", "--to", str(tmp_path / "report")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: someone/fewtile holds 1 readable W&B runs, but none is a study's")
    assert error.count("\n") == 1
    assert not (tmp_path / "report").exists()
