"""Whole studies whose driver something ends, on a real Ray, SQLite and W&B, and how they go on.

Where training itself is not what is tested, trials are the recorded learning curves of tests/chaos/recorded.py.
"""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from analysis.logs.wandb_files import read_logs
from studies.files.folder import LEDGER
from tests.chaos.forked import RECORDED
from trainables.common.command import EXIT_INTERRUPTED, EXIT_USER_ERROR

PHASE = Path(__file__).parents[2] / "studies" / "phase2_tuning.py"
ONE_WORKER = ["--cpus-per-trial", str(os.cpu_count())]
FLAGS = ["--profile", "smoke", "--architectures", "unet", "--seeds", "0"]

pytestmark = pytest.mark.faults


def ledger_of(out: Path) -> dict[str, list[Any]]:
    storage = f"sqlite:///{out / LEDGER}"
    return {
        name: [
            (t.number, t.params, t.intermediate_values, t.state, t.user_attrs.get("stop"), t.user_attrs.get("outcome"))
            for t in optuna.load_study(study_name=name, storage=storage).get_trials()
        ]
        for name in optuna.get_all_study_names(storage)
    }


def table_of(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "report" / "tables" / "iou_by_architecture.csv").drop(columns="minutes")


def report_of(out: Path) -> str:
    return (out / "report" / "report.md").read_text(encoding="utf-8")


def test_study_killed_in_training_goes_on_and_comes_to_the_same(
    start: Any, data: list[str], ray_address: str, tmp_path: Path
) -> None:
    """Real training, on a Ray of its own; the driver dies as soon as its second trial has a checkpoint."""
    flags = [*ONE_WORKER, "--trials", "2", "--epochs", "4"]
    whole = start(PHASE, *FLAGS, *data, *flags, "--out", "whole", address=ray_address)
    out = tmp_path / "torn"
    process = start(PHASE, *FLAGS, *data, *flags, "--out", "torn")
    process.until((out / "checkpoints" / "unet-4" / "0001" / "newest.pt").exists)
    process.kill()
    before = ledger_of(out)["unet-4"]
    assert before[-1][3] == optuna.trial.TrialState.RUNNING
    output = start(PHASE, *FLAGS, *data, *flags, "--out", "torn", "--resume").ends()
    assert "resuming: 1 trials ended, 1 were interrupted" in output
    whole.ends()
    assert ledger_of(out) == ledger_of(tmp_path / "whole")
    assert (out / "selection.json").read_text() == (tmp_path / "whole" / "selection.json").read_text()
    pd.testing.assert_frame_equal(table_of(out), table_of(tmp_path / "whole"))
    history = read_logs(out).history
    assert history.groupby("number")["epoch"].apply(list).to_dict() == {
        trial[0]: sorted(trial[2]) for trial in ledger_of(out)["unet-4"]
    }


@pytest.mark.parametrize(("number", "is_private"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_signal_ends_a_study_cleanly_also_in_a_long_epoch(
    number: signal.Signals, is_private: bool, start: Any, data: list[str], ray_address: str, tmp_path: Path
) -> None:
    """Trials would take hours; the study ends in seconds, with whole W&B files and nothing selected."""
    address = "" if is_private else ray_address
    process = start(PHASE, *data, *FLAGS, "--draws-per-epoch", "1000000", "--out", "study", address=address)
    out = tmp_path / "study"
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


def test_user_error_in_a_trial_ends_the_study_at_once_and_it_can_go_on(
    start: Any, data: list[str], ray_address: str, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    flags = [*ONE_WORKER, "--trials", "2", "--wandb", "disabled", "--out", "study"]
    process = start(RECORDED, *FLAGS, *data, *flags, address=ray_address, WRONG="1")
    words = process.ends(EXIT_USER_ERROR)
    assert words.splitlines()[-1].startswith("error: weights.pth is gone: put it back; what was done is kept")
    assert words.count("weights.pth") == 1
    assert {t[5] for t in ledger_of(out)["unet-4"]} == {None}
    start(RECORDED, *FLAGS, *data, *flags, "--resume", address=ray_address).ends()
    assert {t[5] for t in ledger_of(out)["unet-4"]} <= {"finished", "stopped"}


def fill(ballast: Path) -> None:
    """Takes all the room that is left, to the last block."""
    with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(b"0" * 4096):
            pass


def test_full_disk_ends_the_study_in_one_line_and_it_goes_on_with_room(
    start: Any, data: list[str], ray_address: str, mount_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    small_disk = mount_disk("80m")
    out = small_disk / "study"
    flags = [*ONE_WORKER, "--trials", "2", "--epochs", "6", "--out", str(out)]
    process = start(RECORDED, *FLAGS, *data, *flags, address=ray_address, EPOCH_SECONDS="0.4")
    process.until(lambda: list(out.glob("checkpoints/*/*/newest.pt")))
    fill(small_disk / "ballast")
    words = process.ends(EXIT_USER_ERROR)
    assert "Traceback" not in words
    assert words.splitlines()[-1].startswith("error: ")
    assert "cannot be written" in words.splitlines()[-1]
    before = ledger_of(Path(shutil.copytree(out, tmp_path / "copy", symlinks=True)))["unet-4"]
    (small_disk / "ballast").unlink()
    start(RECORDED, *FLAGS, *data, *flags, "--resume", address=ray_address).ends()
    after = ledger_of(out)["unet-4"]
    assert len(after) == 2
    assert [row[:2] for row in after[: len(before)]] == [row[:2] for row in before]
    for (_, _, values, *_), (_, _, more, *_) in zip(before, after, strict=False):
        assert values.items() <= more.items()
