"""Ends a study or a trial from outside: by signals, by the time allowed, and where a worker gives no sign of life."""

import contextlib
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import ray
from ray import tune

STOP_SECONDS = 60.0
"""Workers that have not ended so long after they were asked to are killed; their trials run on when it is resumed."""

CHECK_SECONDS = 2.0
"""Between two looks at the signs of life, which may lie on a slow shared file system."""

GRACE_SECONDS = 10.0
"""For trials that were waiting for a worker when they were asked to end."""

NO_ROOM_SECONDS = 900.0
"""That trials may wait for a first machine with room for one of them, such as one that an autoscaler starts."""

Ending = Literal["interrupted", "out of time", "user error"]


class NothingRunsError(Exception):
    """Trials wait for workers that will not come."""


class Permit:
    """A file whose removal ends all workers of a driver; each driver has its own.

    Args:
        out: The study's folder; what killed drivers left there is removed, so that their workers end themselves.
        seconds: Time after which it is withdrawn; None for ever.
    """

    def __init__(self, out: Path, seconds: float | None = None):
        for old in out.glob(".permit-*"):
            old.unlink(missing_ok=True)
        self.path = out / f".permit-{uuid.uuid4().hex}"
        self.path.touch()
        self.ending: Ending | None = None
        self.reason = ""
        self.withdrawn_at = 0.0
        self._ends_at = None if seconds is None else time.monotonic() + seconds

    def withdraw(self, ending: Ending, reason: str = "") -> None:
        """Asks all workers to end before their next batch; the first reason stands."""
        if self.ending is None:
            self.ending, self.reason, self.withdrawn_at = ending, reason, time.monotonic()
            self.path.unlink(missing_ok=True)

    def check_time(self) -> None:
        """Withdraws it when the time is over."""
        if self._ends_at is not None and time.monotonic() >= self._ends_at:
            self.withdraw("out of time")

    @contextlib.contextmanager
    def until_signal(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM withdraw it; a second one ends the driver at once."""

        asked = 0

        def ask(signum: int, _: Any) -> None:
            nonlocal asked
            asked += 1
            if asked > 1:
                raise KeyboardInterrupt
            self.withdraw("interrupted")

        with _handling(ask):
            yield

    def close(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Makes SIGTERM end the driver through its `finally` clauses, as Ctrl-C does."""

    def interrupt(signum: int, _: Any) -> None:
        raise KeyboardInterrupt

    with _handling(interrupt):
        yield


@contextlib.contextmanager
def _handling(handler: Any) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


class Watch(tune.Callback):  # type: ignore[misc]
    """Kills workers whose trial begins no batch for too long, or that do not end when they are asked to.

    Args:
        permit: The driver's.
        hang_seconds: Time without a sign of life.
        beat_of: A trial's sign of life, by Tune's trial id: a file that its worker touches.
    """

    def __init__(self, permit: Permit, hang_seconds: float, beat_of: Any):
        self._permit, self._hang_seconds, self._beat_of = permit, hang_seconds, beat_of
        self._signs: dict[str, tuple[float, float]] = {}  # the file's time stamp, and when it was seen to change
        self._looked_at = 0.0
        self._without_since = time.monotonic()
        self.started: set[str] = set()
        self.killed: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that Fewtile never makes."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has the trial."""
        self.started.add(trial.trial_id)
        self._signs[trial.trial_id] = (0.0, time.monotonic())

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune about ten times a second."""
        self._permit.check_time()
        now = time.monotonic()
        if now - self._looked_at < CHECK_SECONDS:
            return
        self._looked_at = now
        self._check_room(trials, now)
        is_over = self._permit.ending is not None and now - self._permit.withdrawn_at > STOP_SECONDS
        for trial in trials:
            if trial.status != "RUNNING" or trial.trial_id in self.killed:
                continue
            if is_over:
                self._kill(trial, f"did not end within {STOP_SECONDS:.0f} s")
            elif self._seconds_silent(trial.trial_id, now) > self._hang_seconds:
                self._kill(trial, f"hung: began no batch for {self._hang_seconds / 60:.3g} min")

    def _check_room(self, trials: list[Any], now: float) -> None:
        """Ends the run where trials wait for workers and none has one: Tune itself would wait for ever."""
        states = {trial.status for trial in trials}
        if "RUNNING" in states or "PENDING" not in states:
            self._without_since = now
            return
        waited = now - self._without_since
        if self._permit.ending is not None and waited > GRACE_SECONDS:
            raise NothingRunsError
        if waited > NO_ROOM_SECONDS:
            minutes = f"{NO_ROOM_SECONDS / 60:.3g}"
            self._permit.withdraw("user error", f"no machine had room for a trial for {minutes} min: free or add one")
            raise NothingRunsError

    def _seconds_silent(self, trial_id: str, now: float) -> float:
        """By this machine's clock alone: those of the workers may be off."""
        try:
            stamp = self._beat_of(trial_id).stat().st_mtime
        except OSError:
            stamp = 0.0
        seen, at = self._signs[trial_id]
        if stamp != seen:
            self._signs[trial_id] = (stamp, now)
            return 0.0
        return now - at

    def _kill(self, trial: Any, reason: str) -> None:
        if trial.temporary_state.ray_actor is not None:
            self.killed[trial.trial_id] = reason
            ray.kill(trial.temporary_state.ray_actor)
