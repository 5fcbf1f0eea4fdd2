"""Whole studies in whose trials something goes wrong, or whose driver something ends, on a real Ray, SQLite and W&B.

Where training itself is not what is tested, trials are the recorded learning curves of tests/chaos/recorded.py.
"""

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.trial import TrialState

from analysis.logs.wandb_files import read_logs
from tests.chaos.forked import RECORDED
from tests.studies.reports import trials_of
from trainables.common.command import EXIT_INTERRUPTED, EXIT_USER_ERROR

PHASE = Path(__file__).parents[2] / "studies" / "phase2_tuning.py"
ONE_WORKER = ["--cpus-per-trial", str(os.cpu_count())]

pytestmark = pytest.mark.faults


@pytest.fixture
def flags(data):
    return [*data, "--profile", "smoke", "--architectures", "unet", "--seeds", "0", "--out", "study"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "study"


def content_of(out: Path) -> list[tuple[Any, ...]]:
    """What decides what a study comes to, by trial."""
    return [(t.number, t.params, t.intermediate_values, t.state, t.user_attrs.get("outcome")) for t in trials_of(out)]


def table_of(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / "report" / "tables" / f"{name}.csv").set_index("architecture")


# In trials


def test_faults_of_every_kind_in_one_study(start, flags, ray_address, out):
    """Trials that diverge, hang, or run out of memory, beside others that do not; two workers."""
    flags += ["--trials", "6", "--epochs", "5", "--grace-epochs", "5", "--cpus-per-trial", "1", "--hang-minutes=0.25"]
    faults = {"DIVERGES": "[1]", "OUT_OF_MEMORY": "[2]", "CROWDED": "[3]", "HANGS": "[4]"}
    assert "Traceback" not in start(RECORDED, *flags, address=ray_address, EPOCH_SECONDS="0.1", **faults).ends()
    trials = trials_of(out)
    outcomes = {t.number: t.user_attrs["outcome"] for t in trials}
    assert outcomes == dict.fromkeys(range(6), "finished") | {1: "diverged"}
    assert trials[1].user_attrs["reason"] == "the training loss is nan in epoch 3"
    assert sorted(trials[1].intermediate_values) == [1, 2]
    retries = {t.number: t.user_attrs["retry"] for t in trials if "retry" in t.user_attrs}
    assert set(retries) == {2, 3, 4}
    assert (retries[2]["is_alone"], retries[2]["micro_batch_size"]) == (True, 2)
    assert (retries[3]["is_alone"], retries[3]["micro_batch_size"]) == ((os.cpu_count() or 1) > 1, 0)
    assert retries[4]["reason"] == "hung: began no batch for 0.25 min"
    assert all(sorted(t.intermediate_values) == [1, 2, 3, 4, 5] for t in trials if t.number != 1)
    assert "unet-4 #2 (2 draws at once)" in (out / "report" / "report.md").read_text(encoding="utf-8")


def test_worker_that_is_killed_for_the_machine_s_memory_is_told_apart(start, flags, out):
    """Ray's memory monitor with a limit that every worker is above of."""
    process = start(RECORDED, *flags, "--trials", "1", "--wandb", "disabled", RAY_memory_usage_threshold="0.01")
    assert "Traceback" not in process.ends(1)
    (trial,) = trials_of(out)
    words = "out of memory on the machine: its worker was killed"
    assert (trial.user_attrs["outcome"], trial.user_attrs["reason"]) == ("out of memory", words)
    assert trial.user_attrs["retry"]["micro_batch_size"] == 2


def test_arm_whose_trials_all_diverge_selects_nothing_and_spoils_no_other(start, flags, ray_address, out):
    script = out.with_name("diverging.py")
    script.write_text(
        "from searchspace.ranges import Bounds\n"
        "from searchspace.spaces import OVERRIDES\n"
        "from studies.phases import run_phase\n"
        "from trainables.common.command import run\n"
        "OVERRIDES['unet'] = {'lr': Bounds(1e30, 1e31, log=True)}\n"
        "run(lambda: run_phase('phase2_tuning', ''))\n"
    )
    flags += [*ONE_WORKER, "--architectures", "deeplabv3plus_resnet34", "--seed", "3", "--trials", "2"]  # besides unet
    words = start(script, *flags, address=ray_address).ends(1)
    assert "unet-4: no trial ran its course; the last one: the training loss is nan" in words
    for trial in trials_of(out):
        assert (trial.state, trial.value, trial.user_attrs["outcome"]) == (TrialState.COMPLETE, 0.0, "diverged")
    assert table_of(out, "cost").loc["unet (base width 16)", "failed"] == 2
    by_architecture = table_of(out, "iou_by_architecture")
    assert pd.isna(by_architecture.loc["unet (base width 16)", "val_iou"])
    assert by_architecture.loc["deeplabv3plus_resnet34", "val_iou"] >= 0
    selection = json.loads((out / "selection.json").read_text(encoding="utf-8"))
    assert list(selection) == ["deeplabv3plus_resnet34-4"]


# Of the driver


@pytest.mark.parametrize(
    ("budget", "number", "is_private"),
    [
        (["--epochs", "4", "--seed", "3"], 1, True),
        (["--epochs", "2", "--draws-per-epoch", "4", "--labels", "4", "--folds", "3", "--seed", "1"], 0, False),
    ],
    ids=["val", "folds"],
)
def test_study_killed_in_training_goes_on_and_comes_to_the_same(
    budget, number, is_private, start, flags, ray_address, out
):
    """Real training, on a Ray of its own or not; the driver dies once a trial that ASHA lets go on has a checkpoint."""
    flags += [*ONE_WORKER, "--trials", "2", *budget]
    address = "" if is_private else ray_address
    undisturbed, whole = start(PHASE, *flags, "--out", "whole", address=ray_address), out.with_name("whole")
    process = start(PHASE, *flags, address=address)
    process.until((out / "checkpoints" / "unet-4" / f"000{number}" / "newest.pt").exists)
    process.kill()
    assert trials_of(out)[-1].state == TrialState.RUNNING
    resumed = f"resuming: {number} trials ended, 1 were interrupted"
    assert resumed in start(PHASE, *flags, "--resume", address=address).ends()
    undisturbed.ends()
    assert content_of(out) == content_of(whole)
    assert (out / "selection.json").read_text() == (whole / "selection.json").read_text()
    tables = [table_of(folder, "iou_by_architecture").drop(columns="minutes") for folder in (out, whole)]
    pd.testing.assert_frame_equal(*tables)
    assert is_private or tables[0]["nested_iou"].notna().all()
    histories = [read_logs(folder).history for folder in (out, whole)]
    pd.testing.assert_frame_equal(*(its[["number", "epoch", "train/loss", "val/loss"]] for its in histories))
    logged = histories[0].groupby("number")["epoch"].apply(list).to_dict()
    assert logged == {trial.number: sorted(trial.intermediate_values) for trial in trials_of(out)}


@pytest.mark.parametrize(("number", "is_private"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_signal_ends_a_study_cleanly_also_in_a_long_epoch(number, is_private, start, flags, ray_address, out):
    """Trials would take hours; the study ends in seconds, with whole W&B files and nothing selected."""
    process = start(PHASE, *flags, "--draws-per-epoch", "1000000", address="" if is_private else ray_address)
    process.until(lambda: len(list(out.glob("wandb/offline-run-*"))) >= 2)  # the study's run and a trial's
    process.send(number)
    started = time.monotonic()
    process.ends(EXIT_INTERRUPTED, timeout=60)
    assert time.monotonic() - started < 45
    assert process.errors.read_text() == ""
    assert "interrupted" in process.output.read_text()
    logs = read_logs(out)
    assert logs.notes == ()
    assert set(logs.runs["state"]) == {"interrupted"}
    assert not (out / "selection.json").exists()
    assert {p.name for p in out.iterdir()} <= {"study.yaml", "optuna.db", "wandb", "checkpoints"}


def test_user_error_in_a_trial_ends_the_study_at_once_and_it_can_go_on(start, flags, ray_address, out):
    flags += [*ONE_WORKER, "--trials", "2", "--wandb", "disabled"]
    words = start(RECORDED, *flags, address=ray_address, WRONG="1").ends(EXIT_USER_ERROR)
    assert words.splitlines()[-1].startswith("error: weights.pth is gone: put it back; what was done is kept")
    assert words.count("weights.pth") == 1
    assert all("outcome" not in trial.user_attrs for trial in trials_of(out))
    start(RECORDED, *flags, "--resume", address=ray_address).ends()
    assert {trial.user_attrs["outcome"] for trial in trials_of(out)} <= {"finished", "stopped"}


def fill(ballast: Path) -> None:
    """Takes all the room that is left, to the last block."""
    with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(b"0" * 4096):
            pass


def test_full_disk_ends_the_study_in_one_line_and_it_goes_on_with_room(start, flags, ray_address, mount_disk, tmp_path):
    small_disk = mount_disk("80m")
    out = small_disk / "study"
    flags += [*ONE_WORKER, "--trials", "2", "--epochs", "6", "--out", str(out)]
    process = start(RECORDED, *flags, address=ray_address, EPOCH_SECONDS="0.4")
    process.until(lambda: list(out.glob("checkpoints/*/*/newest.pt")))
    fill(small_disk / "ballast")
    words = process.ends(EXIT_USER_ERROR)
    assert "Traceback" not in words
    assert words.splitlines()[-1].startswith("error: ")
    assert "cannot be written" in words.splitlines()[-1]
    before = trials_of(Path(shutil.copytree(out, tmp_path / "copy", symlinks=True)))
    (small_disk / "ballast").unlink()
    start(RECORDED, *flags, "--resume", address=ray_address).ends()
    after = trials_of(out)
    assert len(after) == 2
    for then, now in zip(before, after, strict=False):
        assert (now.number, now.params) == (then.number, then.params)
        assert then.intermediate_values.items() <= now.intermediate_values.items()
