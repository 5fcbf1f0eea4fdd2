"""The benchmark of the report: the files that it makes up are as W&B's own, and it prints what reading them took."""

from pathlib import Path
from typing import Any

import pytest
import wandb

from analysis.logs.wandb_files import read_logs
from analysis.logs.wandb_run import read_run
from benchmarks.made_up_study import write_study
from benchmarks.report import main
from benchmarks.run_file import RunFile
from trainables.common.errors import UserError

CONFIG = {"study": "demo", "stage": "search", "arm": "unet-5", "run_arm": "unet-5", "trial": 0}
CONFIG |= {"hyperparameters": {"lr": 0.1}}
ROWS: list[dict[str, Any]] = [
    {"epoch": 1, "val/iou": 0.25, "val/iou/a.b": 1e-7},
    {"epoch": 2, "val/iou": 0.5, "note": "x" * 40_000},
    {"overlays": {"filenames": ["media/a.png"], "captions": ["t.1"]}},
]


def test_run_file_reads_like_that_of_wandb(tmp_path, monkeypatch):
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True, x_disable_meta=True)
    run = wandb.init(mode="offline", dir=tmp_path, settings=quiet, job_type="trial", config=CONFIG)
    made = RunFile("abc", "trial", CONFIG, 1_795_000_000)
    for row in ROWS:
        run.log(row)
        made.log(row)
    run.finish()
    wandb.teardown()
    notes: list[str] = []
    ours, theirs = read_run(made.write(tmp_path), notes), read_run(Path(run.settings.sync_file), notes)
    assert ours is not None
    assert theirs is not None
    assert notes == []
    for found in (ours, theirs):
        assert (found.job_type, found.config, found.ended) == ("trial", {"_wandb": {}} | CONFIG, True)
    times = {"_timestamp": 0, "_runtime": 0}
    assert [row | times for row in ours.rows] == [row | times for row in theirs.rows]
    assert len(ours.rows) == len(ROWS)


def test_write_study_writes_what_the_reader_understands(tmp_path):
    write_study(tmp_path / "out", "made up", runs=40, epochs=30)
    logs = read_logs(tmp_path / "out")
    assert (logs.study["study"], logs.notes) == ("made up", ())
    assert len(logs.runs) == 40
    assert len(logs.history) == logs.runs["epochs"].sum() < 40 * 30
    assert set(logs.runs["state"]) == {"finished", "stopped"}
    assert set(logs.runs.loc[logs.runs["state"] == "stopped", "epochs"]) == {8, 24}
    assert len(logs.models) == 3 * len(logs.selection) > 0
    assert len(logs.scores) == 12 * len(logs.models)
    assert set(logs.scores["group"]) == {"north", "south", "west"}
    assert len(logs.openings) == len(logs.selection)


def test_report_prints_what_reading_took(tmp_path, capsys):
    options = ["--out", str(tmp_path / "out"), "--runs", "20", "--epochs", "3", "--to-the-end"]
    assert main(options) == 0
    (row,) = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| read_logs")]
    seconds, cpu_seconds, mib = map(float, row[2:5])
    assert seconds < cpu_seconds
    assert 20 < mib < 2000
    assert [row[-3].strip(), row[-2].strip()] == ["20", "60"]
    with pytest.raises(UserError, match="--runs is 19, but must be at least 20"):
        main(["--out", str(tmp_path / "other"), "--runs", "19"])
