"""Drivers of a study as processes: started, awaited with a deadline, found in the process table, and ended."""

import contextlib
import functools
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forked import MARK, RECORDED, DriverServer

PATIENCE_SECONDS = 120.0
"""Without a word or a write of the study, on cores that no more than two processes each want."""

RUN = uuid.uuid4().hex[:12]
_BEGAN = time.monotonic()
_said = threading.Lock()


@dataclass(slots=True)
class Schedule:
    """How long a check injects faults before it brings its studies to their end.

    Attributes:
        minutes: For all of it, on two idle cores.
        num_hits: Faults that hit a study so far.
    """

    minutes: float = 3.0
    num_hits: int = 0

    @property
    def is_short(self) -> bool:
        """Whether there is no time for all faults of a scenario: the seed chooses among them."""
        return self.minutes < 10

    @property
    def least_faults(self) -> int:
        """So many must hit a study."""
        return 8 if self.is_short else 30

    @property
    def may_inject(self) -> bool:
        """For two fifths of a short time, else three quarters, so that studies end; longer where too few hit so far.

        Half of them will do in a short one: faults inside of trials and scorings are counted when their study is over.
        """
        share, least = (0.4, self.least_faults // 2) if self.is_short else (0.75, self.least_faults)
        return time.monotonic() - _BEGAN < share * 60 * self.minutes or (self.num_hits < least and not self.is_over)

    @property
    def is_over(self) -> bool:
        """Whether whatever runs is to be ended, and the check has failed: machines may be busy, but not for ever."""
        return time.monotonic() - _BEGAN > 60 * (5 * self.minutes + 10)


SCHEDULE = Schedule()


class ChaosError(Exception):
    """A study did not do what it must; the message tells what was awaited and what it said last."""


def say(who: str, what: str) -> None:
    """A progress line."""
    seconds = int(time.monotonic() - _BEGAN)
    with _said:
        sys.stdout.write(f"{seconds // 60}:{seconds % 60:02d} {who}  {what}\n")
        sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    command: str


def processes(mark: str = RUN) -> list[Process]:
    """All living processes that drivers of this check started, or those of one of its studies; read from /proc.

    They are known by a mark in the environment that they inherit, as some of them leave their parent and its session.
    """
    found, workers = [], server().workers()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            worker = workers.get(int(folder.name), {})
            its = f"{MARK}={worker['mark']}".encode() if worker else (folder / "environ").read_bytes()
            if f"{MARK}={mark}".encode() not in its:
                continue
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if fields[0] != "Z":
                found.append(Process(int(folder.name), worker.get("parent") or int(fields[1]), command))
    return found


def send(pid: int, number: int) -> bool:
    """Sends a signal; whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def end_all() -> None:
    """Kills whatever this check started and is still there."""
    server().__exit__(None, None, None)
    while left := processes():
        for process in left:
            send(process.pid, signal.SIGKILL)
        time.sleep(0.1)


@functools.cache
def server() -> DriverServer:
    """The one that forks all drivers; asked for first before there are threads."""
    return DriverServer().__enter__()


def busyness() -> float:
    """How much longer things may take here than where at most two processes want each core."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) / 2)


class Driver:
    """One start of a study.

    Args:
        study: Which of the check's studies; part of the mark.
        flags: Of the command line.
        environment: Set besides this process's own.
        log: Where its output goes.
        signs: Other files that it writes while it gets on.
    """

    def __init__(
        self, study: str, flags: Sequence[str], environment: Mapping[str, str], *, log: Path, signs: Sequence[Path]
    ):
        self.mark = mark_of(study, uuid.uuid4().hex[:8])
        self.log, self._signs = log, (log, *signs)
        self._process = server().start(
            RECORDED, *flags, cwd=log.parent, output=log, environment={**environment, MARK: self.mark}
        )
        self.pid = self._process.pid
        self.began = time.monotonic()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: int) -> bool:
        """Sends a signal; whether the driver was there."""
        return self._process.send(number)

    def until(self, condition: Callable[[], object], what: str, *, poll_seconds: float = 0.1) -> bool:
        """Waits until something is so; False when the driver ended before.

        Raises:
            ChaosError: Nothing happens for too long, or all of this does.
        """
        got_on, signs = time.monotonic(), None
        while not condition():
            if not self.is_running:
                return bool(condition())
            now, before = time.monotonic(), signs
            signs = [path.stat().st_mtime_ns for path in self._signs if path.exists()]
            if signs != before:
                got_on = now
            if now - got_on > PATIENCE_SECONDS * busyness() or SCHEDULE.is_over:
                raise ChaosError(f"waited for {what}, and nothing happened for {now - got_on:.0f} s")
            time.sleep(poll_seconds)
        return True

    def wait(self, *codes: int) -> int:
        """Its exit code, a signal's being negative.

        Args:
            codes: Those that are allowed.

        Raises:
            ChaosError: It takes too long, or is another one.
        """
        self.until(lambda: False, "the driver to end")
        code = self._process.poll()
        assert code is not None
        if code not in codes:
            raise ChaosError(f"a driver ended with {code} instead of {codes}")
        return code

    def tail(self) -> str:
        """The last lines of its output, without what Ray says of a node that died: that takes a page."""
        return tail(self.log, said_by=lambda line: not line.startswith((" ", "[")) and "(raylet)" not in line)


def mark_of(study: str, part: str = "") -> str:
    """The mark of a study, or of a part of it."""
    return f"{RUN}-{study}.{part}"


def tail(path: Path, num_lines: int = 15, said_by: Callable[[str], bool] = bool) -> str:
    """The last lines of a file that are of somebody, indented."""
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if said_by(line)]
    return "\n".join(f"    {line}" for line in lines[-num_lines:])
