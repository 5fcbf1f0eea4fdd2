"""What ends a study or a trial from outside, with made trials and a made clock."""

import contextlib
import os
import pickle
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from studies.backend import watch
from studies.backend.watch import (
    CHECK_SECONDS,
    GRACE_SECONDS,
    NO_ROOM_SECONDS,
    STOP_SECONDS,
    NothingRunsError,
    Permit,
    Watch,
    sigterm_as_ctrl_c,
)

HANG_SECONDS = 90.0


@pytest.fixture
def clock(monkeypatch):
    """Stands in for `time` in the module under test."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(watch, "time", clock)
    return clock


# The permit


def test_permit_of_a_killed_driver_is_removed_so_that_its_workers_end(tmp_path):
    killed = [Permit(tmp_path).path, tmp_path / ".permit-of-another"]
    killed[1].touch()
    (tmp_path / "optuna.db").touch()
    permit = Permit(tmp_path)
    assert permit.path not in killed
    assert sorted(tmp_path.iterdir()) == sorted([permit.path, tmp_path / "optuna.db"])
    assert permit.ending is None
    permit.close()
    assert [path.name for path in tmp_path.iterdir()] == ["optuna.db"]
    assert permit.ending is None
    permit.close()  # once more does no harm: the folder may be gone too


def test_first_ending_stands(tmp_path, clock):
    permit = Permit(tmp_path, seconds=10.0)
    clock.now = 1003.0
    permit.withdraw("user error", "a tile is damaged")
    assert not permit.path.exists()
    clock.now = 1020.0
    permit.withdraw("interrupted", "by a signal")
    permit.check_time()
    assert (permit.ending, permit.reason, permit.withdrawn_at) == ("user error", "a tile is damaged", 1003.0)


@pytest.mark.parametrize(
    ("seconds", "passed", "ending"),
    [
        (10.0, 9.9, None),
        (10.0, 10.0, "out of time"),
        (0.0, 0.0, "out of time"),
        (-5.0, 0.0, "out of time"),  # it was over before the first trial
        (None, 1e12, None),
    ],
)
def test_permit_is_withdrawn_when_its_time_is_over(tmp_path, clock, seconds, passed, ending):
    permit = Permit(tmp_path, seconds=seconds)
    looking = Watch(permit, HANG_SECONDS, lambda _: tmp_path)
    looking.on_step_end(iteration=0, trials=[])
    clock.now += passed  # maybe earlier than the watch's next look at the signs of life
    looking.on_step_end(iteration=0, trials=[])
    assert (permit.ending, permit.reason) == (ending, "")
    assert permit.path.exists() == (ending is None)


# Signals


@contextlib.contextmanager
def own_handlers() -> Iterator[dict[int, Any]]:
    """Handlers that stand before; whatever a test leaves behind, those of pytest are put back."""
    mine = {number: lambda *_: None for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: signal.signal(number, handler) for number, handler in mine.items()}
    try:
        yield mine
        assert {number: signal.getsignal(number) for number in mine} == mine
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def receive(number: int) -> None:
    """Sends this process a signal and gives Python the chance to handle it."""
    os.kill(os.getpid(), number)
    time.sleep(0)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_signal_withdraws_the_permit_and_a_second_one_ends_the_driver(tmp_path, first, second):
    permit = Permit(tmp_path)
    with own_handlers(), permit.until_signal():
        receive(first)
        assert (permit.ending, permit.path.exists()) == ("interrupted", False)
        with pytest.raises(KeyboardInterrupt):
            receive(second)


def test_handlers_are_put_back_in_any_case(tmp_path):
    permit = Permit(tmp_path)
    with own_handlers(), permit.until_signal():
        pass
    with own_handlers(), sigterm_as_ctrl_c(), permit.until_signal():
        pass
    with own_handlers(), pytest.raises(KeyError), permit.until_signal():
        raise KeyError
    assert permit.ending is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_outside_of_trials_ends_the_driver_through_its_finally_clauses(tmp_path, number):
    permit = Permit(tmp_path)
    with own_handlers(), sigterm_as_ctrl_c():
        with pytest.raises(KeyboardInterrupt):
            receive(number)
        with permit.until_signal():
            receive(number)
        with pytest.raises(KeyboardInterrupt):
            receive(number)
    assert permit.ending == "interrupted"


# Signs of life


class Workers:
    """Trials with workers that are actors in name only, and the driver's watch over them."""

    def __init__(self, folder: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
        self.folder, self.clock = folder, clock
        self.killed: list[str] = []
        self.trials: list[Any] = []
        self.permit = Permit(folder)
        self.watch = Watch(self.permit, HANG_SECONDS, lambda trial_id: folder / f"beat-{trial_id}")
        monkeypatch.setattr(watch.ray, "kill", self.killed.append)

    def add(self, name: str, status: str = "RUNNING") -> Any:
        actor = f"actor of {name}" if status == "RUNNING" else None
        trial = SimpleNamespace(trial_id=name, status=status, temporary_state=SimpleNamespace(ray_actor=actor))
        self.trials.append(trial)
        if status == "RUNNING":
            self.watch.on_trial_start(iteration=0, trials=self.trials, trial=trial)
        return trial

    def beat(self, name: str, stamp: float) -> None:
        (self.folder / f"beat-{name}").touch()
        os.utime(self.folder / f"beat-{name}", (stamp, stamp))

    def wait(self, seconds: float) -> list[str]:
        """Lets time pass, ten steps a second as Tune does at most; whose workers are dead by then."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now = min(until, self.clock.now + 0.5)
            self.watch.on_step_end(iteration=0, trials=self.trials)
        return self.killed


@pytest.fixture
def workers(tmp_path, clock, monkeypatch):
    return Workers(tmp_path, clock, monkeypatch)


HUNG = "hung: began no batch for 1.5 min"


@pytest.mark.parametrize("has_old_beat", [False, True])
def test_trial_without_a_new_sign_of_life_is_killed_once_after_the_time(workers, has_old_beat):
    if has_old_beat:  # which an earlier try left
        workers.beat("a", 1.7e9)
    workers.add("a")
    assert workers.wait(HANG_SECONDS) == []
    assert workers.wait(3 * CHECK_SECONDS) == ["actor of a"]
    workers.wait(3 * HANG_SECONDS)
    workers.permit.withdraw("interrupted")
    assert workers.wait(3 * STOP_SECONDS) == ["actor of a"]
    assert workers.watch.killed == {"a": HUNG}
    assert workers.watch.started == {"a"}


def test_changing_sign_of_life_keeps_a_trial_alive_until_it_stops_changing(workers):
    workers.add("a")
    for stamp in range(10):
        workers.beat("a", 5000.0 + stamp)
        assert workers.wait(HANG_SECONDS - CHECK_SECONDS) == []
    assert workers.wait(CHECK_SECONDS) == []
    assert workers.wait(2 * CHECK_SECONDS) == ["actor of a"]


@pytest.mark.parametrize("step", [1.0, 0.001, -3600.0], ids=["forward", "a millisecond", "backward"])
@pytest.mark.parametrize("offset", [-1e9, 0.0, 1e9], ids=["long ago", "now", "far ahead"])
def test_clock_of_a_worker_does_not_matter(workers, offset, step):
    workers.add("a")
    workers.add("b")
    for number in range(5):
        workers.beat("a", 1.7e9 + offset + number * step)
        workers.beat("b", 1.7e9 + offset)  # on time by its clock, but always the same
        workers.wait(HANG_SECONDS / 2)
    assert workers.killed == ["actor of b"]


def test_each_trial_has_its_own_time_from_when_a_worker_has_it(workers):
    workers.add("a")
    workers.wait(HANG_SECONDS / 2)
    workers.add("b")
    assert workers.wait(HANG_SECONDS / 2 + 2 * CHECK_SECONDS) == ["actor of a"]
    assert workers.wait(HANG_SECONDS / 2) == ["actor of a", "actor of b"]


def test_trial_that_waits_for_a_worker_is_left_alone(workers):
    trial = workers.add("a", status="PENDING")
    workers.add("b")
    for stamp in range(6):
        workers.beat("b", stamp)
        assert workers.wait(HANG_SECONDS / 2) == []
    assert workers.watch.started == {"b"}
    trial.status, trial.temporary_state.ray_actor = "RUNNING", "late actor"
    workers.watch.on_trial_start(iteration=0, trials=workers.trials, trial=trial)
    workers.permit.withdraw("interrupted")
    assert workers.wait(STOP_SECONDS + 2 * CHECK_SECONDS) == ["actor of b", "late actor"]


@pytest.mark.parametrize(
    ("told", "seconds", "ending"),
    [(None, NO_ROOM_SECONDS, "user error"), ("out of time", GRACE_SECONDS, "out of time")],
)
def test_run_ends_where_trials_wait_and_no_machine_has_room_sooner_where_it_was_told_to_end(
    workers, told, seconds, ending
):
    workers.add("b").status = "TERMINATED"
    workers.add("a", status="PENDING")
    if told:
        workers.permit.withdraw(told)
    workers.wait(seconds - 2 * CHECK_SECONDS)
    assert workers.permit.ending == told
    with pytest.raises(NothingRunsError):
        workers.wait(4 * CHECK_SECONDS)
    assert workers.permit.ending == ending
    assert workers.permit.reason == ("" if told else "no machine had room for a trial for 15 min: free or add one")


def test_signs_of_life_are_not_looked_at_with_every_step(workers):
    """They may lie on a slow shared file system, and Tune steps ten times a second."""
    looks = []
    workers.watch = Watch(workers.permit, HANG_SECONDS, lambda name: looks.append(name) or workers.folder / name)
    workers.add("a")
    workers.wait(20 * CHECK_SECONDS)
    assert 19 <= len(looks) <= 21


# Ending


def test_workers_that_do_not_end_when_they_are_told_to_are_killed(workers):
    workers.add("a")
    stubborn = workers.add("b")
    workers.permit.withdraw("interrupted")
    for stamp in range(int(STOP_SECONDS / CHECK_SECONDS)):
        workers.beat("b", float(stamp))  # it is alive, and trains on
        assert workers.wait(CHECK_SECONDS) == []
        workers.trials[0].status = "TERMINATED"
    assert workers.wait(2 * CHECK_SECONDS) == ["actor of b"]
    assert workers.watch.killed == {stubborn.trial_id: "did not end within 60 s"}


def test_hung_worker_is_killed_while_others_end(workers):
    workers.add("a")
    workers.wait(HANG_SECONDS - STOP_SECONDS / 2)
    workers.permit.withdraw("out of time")
    assert workers.wait(STOP_SECONDS / 2) == []
    assert workers.wait(2 * CHECK_SECONDS) == ["actor of a"]
    assert workers.watch.killed == {"a": HUNG}


def test_watch_leaves_nothing_of_itself_to_tune(workers):
    workers.add("a")
    assert vars(pickle.loads(pickle.dumps(workers.watch))) == {}
