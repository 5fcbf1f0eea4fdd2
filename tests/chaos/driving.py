"""Drivers of a study as processes: started, awaited with a deadline, found in the process table, and ended."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RECORDED = Path(__file__).with_name("recorded.py")

PATIENCE_SECONDS = 120.0
"""Without a word or a write of the study: a worker takes 10 s to start on two quiet cores, and they may be busy."""

TOTAL_SECONDS = 1500.0
"""For everything; whatever runs then is ended, and the check has failed."""

INJECTING_SECONDS = 600.0
"""After this, nothing more is injected: the studies are brought to their end."""

POLL_SECONDS = 0.1

RUN = uuid.uuid4().hex[:12]
MARK = "FEWTILE_CHAOS"
_BEGAN = time.monotonic()
_said = threading.Lock()


class ChaosError(Exception):
    """A study did not do what it must; the message tells what was awaited and what it said last."""


def say(who: str, what: str) -> None:
    """A progress line."""
    seconds = int(time.monotonic() - _BEGAN)
    with _said:
        sys.stdout.write(f"{seconds // 60}:{seconds % 60:02d} {who}  {what}\n")
        sys.stdout.flush()


def may_inject() -> bool:
    """Whether there is time for more faults."""
    return time.monotonic() - _BEGAN < INJECTING_SECONDS


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    command: str


def processes(mark: str = RUN) -> list[Process]:
    """All living processes of this check, or of one of its studies or drivers; read from /proc.

    They are known by a mark in the environment that they inherit, as some of them leave their parent and its session.
    """
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            if f"{MARK}={mark}".encode() not in (folder / "environ").read_bytes():
                continue
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if fields[0] != "Z":
                found.append(Process(int(folder.name), int(fields[1]), command))
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
    while left := processes():
        for process in left:
            send(process.pid, signal.SIGKILL)
        time.sleep(0.1)


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
        self.mark = f"{RUN}-{study}-{uuid.uuid4().hex[:8]}"
        self.log, self._signs = log, (log, *signs)
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, str(RECORDED), *flags],
                env={**os.environ, **environment, MARK: self.mark},
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.began = time.monotonic()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: int) -> bool:
        """Sends a signal; whether the driver was there."""
        return self.is_running and send(self.pid, number)

    def until(self, condition: Callable[[], object], what: str, *, poll_seconds: float = POLL_SECONDS) -> bool:
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
            if now - got_on > PATIENCE_SECONDS or now - _BEGAN > TOTAL_SECONDS:
                raise ChaosError(
                    f"waited for {what}, and nothing happened for {now - got_on:.0f} s; the driver said:\n{self.tail()}"
                )
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
        code = self._process.wait()
        if code not in codes:
            raise ChaosError(f"a driver ended with {code} instead of {codes}; it said:\n{self.tail()}")
        return code

    def tail(self, num_lines: int = 15) -> str:
        """The last lines of its output."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-num_lines:])
