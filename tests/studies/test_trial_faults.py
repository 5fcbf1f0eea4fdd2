"""Whole studies in whose trials something goes wrong, on a real Ray, SQLite and W&B.

Where training itself is not what is tested, trials are the recorded learning curves of tests/chaos/recorded.py.
"""

import json
import os
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from studies.files.folder import LEDGER
from tests.chaos.forked import RECORDED

ONE_WORKER = ["--cpus-per-trial", str(os.cpu_count())]
FLAGS = ["--profile", "smoke", "--architectures", "unet", "--seeds", "0"]

pytestmark = pytest.mark.faults


def trials_of(out: Path) -> list[FrozenTrial]:
    return optuna.load_study(study_name="unet-4", storage=f"sqlite:///{out / LEDGER}").get_trials()


def test_faults_of_every_kind_in_one_study(start: Any, data: list[str], ray_address: str, tmp_path: Path) -> None:
    """Trials that diverge, hang, or run out of memory, beside others that do not; two workers."""
    faults = {"DIVERGES": "[1]", "OUT_OF_MEMORY": "[2]", "CROWDED": "[3]", "HANGS": "[4]"}
    flags = ["--trials", "6", "--epochs", "5", "--grace-epochs", "5", "--hang-minutes", "0.25", "--cpus-per-trial", "1"]
    process = start(
        RECORDED, *FLAGS, *data, *flags, "--out", "study", address=ray_address, EPOCH_SECONDS="0.1", **faults
    )
    output = process.ends()
    assert "Traceback" not in output
    out = tmp_path / "study"
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


def test_worker_that_is_killed_for_the_machine_s_memory_is_told_apart(
    start: Any, data: list[str], tmp_path: Path
) -> None:
    """Ray's memory monitor with a limit that every worker is above of."""
    flags = ["--trials", "1", "--wandb", "disabled", "--out", "study"]
    process = start(RECORDED, *FLAGS, *data, *flags, RAY_memory_usage_threshold="0.01")
    assert "Traceback" not in process.ends(1)
    (trial,) = trials_of(tmp_path / "study")
    words = "out of memory on the machine: its worker was killed"
    assert (trial.user_attrs["outcome"], trial.user_attrs["reason"]) == ("out of memory", words)
    assert trial.user_attrs["retry"]["micro_batch_size"] == 2


def test_arm_whose_trials_all_diverge_selects_nothing_and_spoils_no_other(
    start: Any, data: list[str], ray_address: str, tmp_path: Path
) -> None:
    script = tmp_path / "diverging.py"
    script.write_text(
        "from searchspace.ranges import Bounds\n"
        "from searchspace.spaces import OVERRIDES\n"
        "from studies.phases import run_phase\n"
        "from trainables.common.command import run\n"
        "OVERRIDES['unet'] = {'lr': Bounds(1e30, 1e31, log=True)}\n"
        "run(lambda: run_phase('phase2_tuning', ''))\n"
    )
    names = ["--architectures", "deeplabv3plus_resnet34"]  # beside that of FLAGS
    flags = [*FLAGS, *data, *ONE_WORKER, *names, "--seed", "3", "--trials", "2", "--out", "study"]
    words = start(script, *flags, address=ray_address).ends(1)
    assert "unet-4: no trial ran its course; the last one: the training loss is nan" in words
    for trial in trials_of(tmp_path / "study"):
        assert (trial.state, trial.value, trial.user_attrs["outcome"]) == (TrialState.COMPLETE, 0.0, "diverged")

    def table(name: str) -> pd.DataFrame:
        return pd.read_csv(tmp_path / "study" / "report" / "tables" / f"{name}.csv").set_index("architecture")

    cost = table("cost")
    assert cost.loc["unet (base width 16)", "failed"] == 2
    by_architecture = table("iou_by_architecture")
    assert pd.isna(by_architecture.loc["unet (base width 16)", "val_iou"])
    assert by_architecture.loc["deeplabv3plus_resnet34", "val_iou"] >= 0
    selection = json.loads((tmp_path / "study" / "selection.json").read_text(encoding="utf-8"))
    assert list(selection) == ["deeplabv3plus_resnet34-4"]
