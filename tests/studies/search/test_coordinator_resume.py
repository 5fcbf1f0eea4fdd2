"""Going on from the ledger, without Ray: whatever write a study is killed at, it decides what it would have decided."""

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from studies.search.coordinator import Coordinator
from studies.search.ledger import Ledger
from studies.search.plans import Search
from studies.settings.arms import Arm
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import EPOCHS, coordinate, make_spec, take
from trainables.common.errors import UserError
from trainables.config import Recipe


class KilledError(BaseException):
    """What a kill looks like to a test: nothing after it is written, and of its transaction nothing at all."""


class FragileLedger(Ledger):
    """A ledger in a file whose driver is killed before its write number `dies_at`, counted over all kinds of writes."""

    writes, dies_at = 0, math.inf

    def __init__(self, folder: Path, arms: Iterable[Arm], dies_at: float = math.inf):
        super().__init__(folder / "optuna.db", {arm.name: "" for arm in arms}, study_id="one")
        self.dies_at = dies_at

    def add(self, *of: Any) -> int:
        self._live()
        return super().add(*of)

    def note(self, *of: Any) -> None:
        self._live()
        super().note(*of)

    def report(self, *of: Any) -> None:
        self._live()
        super().report(*of)

    def end(self, *of: Any) -> None:
        self._live()
        super().end(*of)

    def _live(self) -> None:
        self.writes += 1
        if self.writes >= self.dies_at:
            raise KilledError


def judged(coordinator: Coordinator, arm: Arm, number: int, epoch: int) -> float:
    """A curve that rises with the epochs and crosses those of other trials."""
    lr = coordinator.trials[arm, number].config.lr
    return round(0.8 - 0.2 * abs(math.log10(lr / 2e-3)) - (0.1 + 0.05 * (number % 3)) / epoch, 6)


def run(coordinator: Coordinator, num_epochs: float = math.inf) -> None:
    """One worker, which takes trials up after their last checkpoint, one every two epochs, and repeats what follows."""
    while (job := coordinator.next()) is not None:
        for epoch in range(job.epoch // 2 * 2 + 1, EPOCHS + 1):
            if num_epochs == 0:
                return
            num_epochs -= 1
            best = max(judged(coordinator, job.arm, job.number, e) for e in range(1, epoch + 1))
            if coordinator.report(job.key, epoch_report(epoch, best, ended="epochs" if epoch == EPOCHS else "")):
                break


def written(coordinator: Coordinator) -> list[Any]:
    """All that decides what a study comes to."""
    return [
        (
            arm.name,
            trial.number,
            trial.params,
            trial.intermediate_values,
            trial.state,
            trial.value if trial.state == TrialState.COMPLETE else None,
            *(trial.user_attrs[name] for name in ("outcome", "reason", "epochs")),
        )
        for arm in coordinator.arms
        for trial in coordinator.ledger.trials(arm.name)
    ]


def comes_to(coordinator: Coordinator) -> list[Any]:
    """What was written, what is on the rungs, and what is selected."""
    rungs = [coordinator.ladders[arm].rungs for arm in coordinator.arms]
    found = [coordinator.selection(arm) for arm in coordinator.arms]
    selected = [(one.number, one.config, one.best, one.best_epoch) for one in found if one]
    return [coordinator.is_complete, written(coordinator), rungs, selected]


@pytest.fixture(scope="module")
def reference():
    coordinator = coordinate(make_spec())
    run(coordinator)
    assert coordinator.is_complete
    outcomes = {progress.outcome for progress in coordinator.trials.values()}
    assert outcomes == {"finished", "stopped"}
    return coordinator


def open_file(folder: Path, dies_at: float = math.inf) -> tuple[Coordinator, FragileLedger]:
    plan = Search(make_spec())
    ledger = FragileLedger(folder, plan.arms, dies_at)
    return Coordinator(make_spec(), ledger, plan), ledger


# The writes of the reference lie between 70 and 100
@pytest.mark.parametrize("dies_at", [*range(1, 12), *range(12, 100, 9)])
def test_study_killed_at_any_write_comes_to_the_same(reference, dies_at, tmp_path):
    coordinator, ledger = open_file(tmp_path, dies_at)
    try:
        run(coordinator)
    except KilledError:
        pass
    else:
        assert ledger.writes < dies_at, "it wrote so often and was not killed"
    ledger.close()
    again, ledger = open_file(tmp_path)
    run(again)
    ledger.close()
    assert comes_to(again) == comes_to(reference)


def test_study_killed_over_and_over_comes_to_the_same(reference, tmp_path):
    """Each driver gets a few writes further only."""
    for _ in range(50):
        coordinator, ledger = open_file(tmp_path, dies_at=12)
        try:
            run(coordinator)
            break
        except KilledError:
            continue
        finally:
            ledger.close()
    assert comes_to(coordinator) == comes_to(reference)


FIELDS = ("number", "state", "values", "params", "distributions", "user_attrs", "intermediate_values")
FIELDS += ("datetime_start", "datetime_complete")


@pytest.fixture(params=["UTC", "Asia/Tokyo"])
def _clock(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_clock")
def test_what_is_in_the_file_is_what_is_in_memory(tmp_path):
    """So a coordinator decides the same before and after it was killed."""
    coordinator, ledger = open_file(tmp_path)
    run(coordinator, num_epochs=11)
    ledger.close()
    again, ledger = open_file(tmp_path)
    ledger.close()
    for arm in coordinator.arms:
        for stored, kept in zip(again.ledger.trials(arm.name), coordinator.ledger.trials(arm.name), strict=True):
            assert {name: getattr(stored, name) for name in FIELDS} == {name: getattr(kept, name) for name in FIELDS}
    assert {key: replace(trial, is_running=False) for key, trial in coordinator.trials.items()} == again.trials


def test_resumed_complete_study_writes_nothing(tmp_path):
    for is_complete in (False, True):
        coordinator, ledger = open_file(tmp_path)
        run(coordinator)
        ledger.close()
        assert (ledger.writes == 0) is is_complete


def test_interrupted_trials_go_on_before_new_ones_and_in_their_order(begin):
    first = begin()
    started = [take(first).key for _ in range(3)]
    first.report(started[1], epoch_report(1, 0.5, seconds=2.0))
    again = begin()
    resumed = [take(again) for _ in range(4)]
    assert [job.key for job in resumed[:3]] == started
    assert [job.epoch for job in resumed] == [0, 1, 0, 0]
    assert resumed[3].key not in started
    assert again.trials[started[1]].seconds == 2.0


def test_repeated_epochs_are_booked_as_lost_and_their_first_record_stands(begin):
    coordinator = begin()
    job = take(coordinator)
    for epoch, best in ((1, 0.3), (2, 0.5)):
        coordinator.report(job.key, epoch_report(epoch, best, seconds=10.0))
    again = begin()
    again.next()
    for epoch, best in ((1, 0.3), (2, 0.4), (3, 0.45)):  # another device repeats it a little worse
        again.report(job.key, epoch_report(epoch, best, seconds=7.0))
    progress = again.trials[job.key]
    assert (progress.epoch, progress.best, progress.best_epoch) == (3, 0.5, 2)
    assert (progress.seconds, progress.lost_epochs, progress.lost_seconds) == (27.0, 2, 14.0)
    assert again.ledger.trials(job.arm.name)[0].intermediate_values == {1: 0.3, 2: 0.5, 3: 0.5}
    assert begin().trials[job.key].lost_seconds == 14.0
    again.report(job.key, epoch_report(4, 0.6, best_epoch=2))  # the repeated epoch became the best one
    assert begin().trials[job.key].best_epoch == 2


def test_trial_that_ends_earlier_when_repeated_ends_with_what_is_on_record(begin):
    coordinator = begin()
    job = take(coordinator)
    for epoch in (1, 2, 3):
        coordinator.report(job.key, epoch_report(epoch, 0.5, best_epoch=1))
    again = begin()
    again.next()
    assert again.report(job.key, epoch_report(2, 0.5, best_epoch=1, ended="early stopping"))
    progress = again.trials[job.key]
    assert (progress.outcome, progress.epoch) == ("finished", 3)


def test_allowance_that_grows_extends_every_arm(begin, reference):
    run(begin())
    extended = begin(trials=7)
    run(extended)
    assert [len(extended.of_arm(arm)) for arm in extended.arms] == [7, 7]
    before = {row[:2]: row for row in written(reference)}
    after = {row[:2]: row for row in written(extended)}
    assert {key: after[key] for key in before} == before


def test_ledger_of_other_settings_is_refused(begin):
    begin().next()
    with pytest.raises(
        UserError, match=r"trial 0 of unet-5 has the signature \w{16} in the ledger, but \w{16} by this"
    ):
        begin(recipe=Recipe(epochs=EPOCHS, weight_decay=0.5))
