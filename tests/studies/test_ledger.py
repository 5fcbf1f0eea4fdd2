"""The ledger: what Optuna's storage holds after each call."""

import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from searchspace.spaces import RECIPE_POINT, space_for
from studies.ledger import WORST, Ledger

POINT = RECIPE_POINT | {"lr": 1e-3}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "optuna.db", {"unet-5": "unet (base width 16)", "unet-24": "unet"})


def add(ledger: Ledger, arm: str = "unet-5") -> int:
    return ledger.add(arm, POINT, space_for("unet"), {"signature": "abc"})


def test_add_numbers_trials_per_arm(ledger: Ledger) -> None:
    assert [add(ledger), add(ledger), add(ledger, "unet-24")] == [0, 1, 0]
    trial = ledger.trials("unet-5")[1]
    assert trial.state == TrialState.RUNNING
    assert trial.params == POINT
    assert trial.user_attrs == {"signature": "abc"}
    assert trial.datetime_start is not None


@pytest.mark.parametrize(
    ("outcome", "state", "value"),
    [
        ("finished", TrialState.COMPLETE, 0.6),
        ("stopped", TrialState.PRUNED, 0.6),
        ("diverged", TrialState.COMPLETE, WORST),
        ("failed", TrialState.FAIL, None),
    ],
)
def test_end_tells_optuna_what_each_outcome_means(
    ledger: Ledger, outcome: str, state: TrialState, value: float | None
) -> None:
    add(ledger)
    ledger.report("unet-5", 0, 1, 0.5)
    ledger.report("unet-5", 0, 2, 0.6)
    ledger.end("unet-5", 0, outcome, 0.6, {"reason": "because", "epochs": 2})  # type: ignore[arg-type]
    trial = ledger.trials("unet-5")[0]
    assert trial.state == state
    assert trial.value == value
    assert trial.intermediate_values == {1: 0.5, 2: 0.6}
    assert trial.user_attrs["outcome"] == outcome
    assert trial.user_attrs["reason"] == "because"


def test_decision_is_there_before_its_epoch(ledger: Ledger) -> None:
    add(ledger)
    ledger.decide("unet-5", 0, 3, "rung")
    trial = ledger.trials("unet-5")[0]
    assert trial.user_attrs["stop"] == [3, "rung"]
    assert trial.intermediate_values == {}
    assert trial.state == TrialState.RUNNING


def test_closed_ledger_is_one_file_that_optuna_reads(ledger: Ledger, tmp_path: Path) -> None:
    add(ledger)
    ledger.end("unet-5", 0, "finished", 0.7, {})
    ledger.close()
    copy = shutil.copy(tmp_path / "optuna.db", tmp_path / "copy.db")
    with sqlite3.connect(copy) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    study = optuna.load_study(study_name="unet-5", storage=f"sqlite:///{copy}")
    assert study.best_value == 0.7
    assert study.user_attrs == {"architecture": "unet (base width 16)"}
