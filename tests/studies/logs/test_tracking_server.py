"""What runs log arrives at a W&B server, at once or by `wandb sync`, and is read back as it is from the disk.

The server is a stand-in on loopback.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from analysis.logs.wandb_api import read_project_runs
from analysis.logs.wandb_run import LoggedRun
from studies.logs import tracking
from tests import wandb_server
from tests.studies.logs.logged import runs_below

ROWS = [
    {"epoch": 1, "train/loss": 0.5, "val/iou": 0.25, "lr": 1e-3},
    {"epoch": 2, "train/loss": math.nan, "val/iou": 0.5, "lr": 1e-4},
    {"epoch": 3, "train/loss": math.inf, "val/iou": 0.375, "lr": 1e-5, "state": "diverged"},
]
PICTURES = [np.full((4, 12, 3), grey, np.uint8) for grey in (60, 120)]


class Logged(NamedTuple):
    """Where runs were logged to: the stand-in and the folder."""

    server: Any
    out: Path


def log(out: Path, mode: Any, job_type: str) -> str:
    """Logs a run with rows and pictures, and returns its trouble."""
    config = {"study": "demo", "arms": [{"arm": "unet-24", "tiles": 24}], "hyperparameters": {"lr": 1e-3}}
    about = {"name": f"{mode} {job_type}", "job_type": job_type, "group": "demo/unet-24", "config": config}
    run = tracking.WandbRun(out, mode, **about)
    for row in ROWS:
        run.log(row)
    run.log_pictures("selected/unet-24", PICTURES, ["t1", "t2"])
    run.finish()
    return run.trouble + "fallback" * run.is_offline_fallback


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Two runs that were online and one that was offline."""
    out, home = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(home))
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        with wandb_server.talking() as server:
            for mode, job_type in (("online", "study"), ("online", "trial"), ("offline", "study")):
                assert log(out, mode, job_type) == ""
            tracking.complete_files()
            yield Logged(server, out)


def said(run: LoggedRun) -> Any:
    """Everything that a report may use, with NaN as text, so that it equals itself."""
    config = {key: value for key, value in run.config.items() if key != "_wandb"}
    return json.loads(json.dumps([run.job_type, run.ended, config, run.rows]), parse_constant=str)


def assert_same(run: LoggedRun, on_disk: LoggedRun) -> None:
    assert said(run) == said(on_disk)
    assert abs((run.start[0] - on_disk.start[0]) + (run.start[1] - on_disk.start[1]) / 1e9) < 1
    logged = next(row["selected/unet-24"] for row in run.rows if "selected/unet-24" in row)
    assert logged["captions"] == ["t1", "t2"]
    for name in logged["filenames"]:
        files = [kept.path.parent / "files" / name for kept in (run, on_disk)]
        assert files[1].read_bytes().startswith(b"\xff\xd8\xff")  # a JPEG file
        assert files[0].is_file() == (run.job_type == "study")
        assert run.job_type != "study" or files[0].read_bytes() == files[1].read_bytes()


def test_online_runs_arrive_whole(logged):
    run = logged.server.run_named("online study")
    assert (run.entity, run.project, run.state) == ("someone", "fewtile", "finished")
    assert (run.fields["jobType"], run.fields["groupName"]) == ("study", "demo/unet-24")
    assert run.config["hyperparameters"] == {"value": {"lr": 1e-3}}
    rows = [{key: value for key, value in json.loads(row).items() if key[0] != "_"} for row in run.rows]
    assert json.dumps(rows[:3], sort_keys=True) == json.dumps(ROWS, sort_keys=True)
    assert len(rows) == 4
    assert {Path(name).parent.as_posix() for name in run.files if name.endswith(".jpg")} == {"media/images/selected"}
    assert run.summary["val/iou"] == 0.375


def test_online_runs_are_read_back_as_from_the_disk(logged, tmp_path):
    on_disk = runs_below(logged.out, "run-*")
    names = {run.path.name for run in on_disk}
    runs = [run for run in read_project_runs("someone/fewtile", tmp_path) if run.path.name in names]
    assert [run.path.name for run in runs] == [run.path.name for run in on_disk]
    assert len(runs) == 2
    for run, kept in zip(runs, on_disk, strict=True):
        assert_same(run, kept)


def test_offline_run_arrives_by_wandb_sync_and_is_read_back_the_same(logged, tmp_path):
    (on_disk,) = runs_below(logged.out, "offline-run-*")
    folder = on_disk.path.parent
    assert folder.name.removeprefix("offline-run-").split("-")[-1] not in logged.server.runs
    done = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "sync", str(folder)],
        cwd=tmp_path,  # it writes a log there
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.glob("*.synced"))
    assert logged.server.run_named("offline study").state == "finished"
    (run,) = [run for run in read_project_runs("someone/fewtile", tmp_path) if run.path.name == on_disk.path.name]
    assert_same(run, on_disk)
