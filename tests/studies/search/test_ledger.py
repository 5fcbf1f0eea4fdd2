"""The ledger: what Optuna's storage holds after each call."""

import math
import shutil
import sqlite3

import optuna
import pytest
from optuna.trial import TrialState

from searchspace.spaces import recipe_point, space_for
from studies.search.ledger import Ledger
from studies.search.ledger_file import read_trials
from studies.search.memory_ledger import WORST
from trainables.common.errors import UserError

POINT = {name: recipe_point("unet")[name] for name in space_for("unet")}
ARMS = {"unet-5": "unet (base width 16)", "unet-24": "unet"}


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "optuna.db", ARMS, study_id="one")


def add(ledger: Ledger, arm: str = "unet-5") -> int:
    return ledger.add(arm, POINT, space_for("unet"), {"signature": "abc"})


def test_add_numbers_trials_per_arm(ledger):
    assert [add(ledger), add(ledger), add(ledger, "unet-24")] == [0, 1, 0]
    trial = ledger.trials("unet-5")[1]
    assert trial.state == TrialState.RUNNING
    assert trial.params == POINT
    assert trial.user_attrs == {"signature": "abc"}
    assert trial.datetime_start is not None


ENDS = {
    "finished": (TrialState.COMPLETE, 0.6),
    "stopped": (TrialState.PRUNED, 0.6),
    "diverged": (TrialState.COMPLETE, WORST),
    "failed": (TrialState.FAIL, None),
    "out of memory": (TrialState.FAIL, None),
}


def test_end_tells_optuna_what_each_outcome_means_and_the_file_says_the_same_without_it(ledger, tmp_path):
    for outcome in ENDS:
        number = add(ledger)
        ledger.report("unet-5", number, 1, 0.1 * number)
        ledger.report("unet-5", number, 3, 0.6)
        ledger.end("unet-5", number, outcome, 0.6, {"reason": "why", "cost": {"seconds": 1.5, "lost": [0, 0.0]}})
    for trial, (outcome, end) in zip(ledger.trials("unet-5"), ENDS.items(), strict=True):
        assert (trial.state, trial.value) == end
        assert trial.intermediate_values == {1: 0.1 * trial.number, 3: 0.6}
        assert (trial.user_attrs["outcome"], trial.user_attrs["reason"]) == (outcome, "why")
    ledger.report("unet-5", add(ledger), 1, 0.3)  # and goes on
    add(ledger, "unet-24")
    found = read_trials(tmp_path / "optuna.db", "one")
    assert list(found) == list(ARMS)
    for arm, trials in found.items():
        for ours, optunas in zip(trials, ledger.trials(arm), strict=True):
            assert (ours.number, ours.state, ours.value) == (optunas.number, optunas.state.name, optunas.value)
            assert ours.has_ended == optunas.state.is_finished()
            assert (ours.best, ours.attributes) == (optunas.intermediate_values, optunas.user_attrs)


def test_closed_ledger_is_one_file_that_optuna_reads(ledger, tmp_path):
    add(ledger)
    ledger.end("unet-5", 0, "finished", 0.7, {})
    ledger.close()
    copy = shutil.copy(tmp_path / "optuna.db", tmp_path / "copy.db")
    with sqlite3.connect(copy) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    study = optuna.load_study(study_name="unet-5", storage=f"sqlite:///{copy}")
    assert study.best_value == 0.7
    assert study.user_attrs == {"architecture": "unet (base width 16)", "study_id": "one"}


def test_ledger_goes_from_one_machine_to_several_and_back(ledger, tmp_path):
    add(ledger)
    ledger.close()
    for number, is_shared in enumerate((True, True, False), start=1):
        again = Ledger(tmp_path / "optuna.db", ARMS, study_id="one", is_shared=is_shared)
        assert add(again) == number
        again.close()


def test_epoch_without_a_value_is_kept(ledger, tmp_path):
    ledger.report("unet-5", add(ledger), 1, math.nan)
    ledger.close()
    again = Ledger(tmp_path / "optuna.db", ARMS, study_id="one")
    assert math.isnan(again.trials("unet-5")[0].intermediate_values[1])


def test_tables_are_those_that_are_written(ledger, tmp_path):
    ledger.close()
    with sqlite3.connect(tmp_path / "optuna.db") as connection:
        assert connection.execute("SELECT schema_version FROM version_info").fetchone() == (12,)
    connection.close()


@pytest.mark.parametrize("spoil", [0.1, 0.5, 0.9, b"", b"not a database, but as long as a header of one would be" * 4])
def test_file_that_is_torn_or_no_ledger_is_refused_and_left_alone(ledger, tmp_path, spoil):
    ledger.close()
    path = tmp_path / "optuna.db"
    whole = path.read_bytes()
    spoilt = spoil if isinstance(spoil, bytes) else whole[: int(len(whole) * spoil)]
    path.write_bytes(spoilt)
    with pytest.raises(UserError, match=r"optuna\.db is damaged or no ledger \(.*\): put a whole copy of it back"):
        Ledger(path, ARMS, study_id="one")
    assert path.read_bytes() == spoilt


def test_ledger_of_another_study_is_refused_and_left_alone(ledger, tmp_path):
    ledger.close()
    before = (tmp_path / "optuna.db").read_bytes()
    with pytest.raises(UserError, match=r"is not the ledger of study\.yaml beside it: put that one back"):
        Ledger(tmp_path / "optuna.db", ARMS, study_id="another")
    assert (tmp_path / "optuna.db").read_bytes() == before
