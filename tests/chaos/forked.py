"""Drivers as processes of their own that need not import anything: an import of all that a study uses takes seconds.

Run as a script, this file imports it once and forks a process for each line that it is sent, which then runs a script
as Python would. What a driver imports is therefore not tested with these; that is left to those tests that start a
Python of their own.
"""

import contextlib
import importlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

IMPORTED = ("studies.phases", "studies.study", "studies.backend.worker", "analysis.report.write")

RECORDED = Path(__file__).with_name("recorded.py")
"""Phase 2 with recorded learning curves in place of training."""

PATIENT_RAY = {"RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "120"}
"""Variables for a Ray on a busy machine.

By itself it gives its workers a niceness of 15, so that others keep them from starting for minutes, and it gives up a
node that is not there in 30 s.
"""

POLL_SECONDS = 0.02

DEADLINE_SECONDS = 600.0
"""Ends what hangs; a study takes a minute at most on two quiet cores."""


class ForkedDriver:
    """A process that runs a script; its output and its errors are in files.

    Attributes:
        pid: Its process id.
        output: The file with its standard output.
        errors: The file with its standard error, which may be the same.
    """

    def __init__(self, server: "DriverServer", pid: int, output: Path, errors: Path):
        self._server, self._code = server, None
        self.pid, self.output, self.errors = pid, output, errors

    def poll(self) -> int | None:
        """Its exit code, a signal's being negative; None while it runs."""
        if self._code is None:
            self._code = self._server.ask(poll=self.pid)
        return self._code

    def wait(self, timeout: float = DEADLINE_SECONDS) -> int:
        """Its exit code.

        Raises:
            TimeoutError: It still runs after so many seconds.
        """
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"process {self.pid} still runs after {timeout:.0f} s; it said:\n{self.said()}")
            time.sleep(POLL_SECONDS)
        return code

    def ends(self, code: int = 0, timeout: float = DEADLINE_SECONDS) -> str:
        """Waits until it ends, with that exit code; its output and its errors."""
        assert self.wait(timeout) == code, self.said()
        return self.said()

    def until(self, happened: Callable[[], object], timeout: float = DEADLINE_SECONDS) -> None:
        """Waits for something that happens while it runs.

        Raises:
            TimeoutError: It did not happen.
        """
        until = time.monotonic() + timeout
        while not happened():
            if self.poll() is not None or time.monotonic() > until:
                raise TimeoutError(f"it did not happen in {timeout:.0f} s, or before its end; it said:\n{self.said()}")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """Ends it as a power cut would, if it is still there."""
        self.send(signal.SIGKILL)
        while self.poll() is None:
            time.sleep(POLL_SECONDS)

    def send(self, number: int) -> bool:
        """Sends a signal; whether the process was there."""
        if self.poll() is not None:
            return False
        os.kill(self.pid, number)  # it is there until it is polled
        return True

    def said(self) -> str:
        """Its output and its errors so far."""
        files = dict.fromkeys((self.output, self.errors))
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


class DriverServer:
    """The process that forks drivers; those that still run at the end are killed."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "DriverServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._process:  # waits for it
            assert self._process.stdin is not None
            self._process.stdin.close()

    def ask(self, **request: Any) -> Any:
        """The answer to a request."""
        with self._asking:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def start(
        self,
        script: Path,
        *flags: str,
        cwd: Path,
        output: Path,
        errors: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ForkedDriver:
        """Starts a script in a folder, with variables besides those of this process."""
        variables = {**PATIENT_RAY, **os.environ, **(environment or {})}
        errors = errors or output
        for path in (output, errors):  # the process may take a while to be there, and is read meanwhile
            path.touch()
        about = {"cwd": str(cwd), "output": str(output), "errors": str(errors), "environment": variables}
        return ForkedDriver(self, self.ask(start=[str(script), *flags], **about), output, errors)


# The script


def serve() -> dict[str, Any] | None:
    """Forks; what to run in a process that was forked, None in the server at its end."""
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = None
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            if pid:
                running.discard(pid)
                answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                return request
            running.add(answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return None


def become(request: Mapping[str, Any]) -> None:
    """Makes this process the one that was asked for, up to what it runs."""
    os.setsid()
    for number, name in ((1, "output"), (2, "errors")):
        file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the old one may hold other requests
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started all this behind itself
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    random.seed()
    own_temporary_folders()
    sys.argv = list(request["start"])
    sys.path[0] = str(Path(sys.argv[0]).parent)


def own_temporary_folders() -> None:
    """Gives this process folders of its own for W&B, which made them on import: whoever ends first removes them."""
    from wandb.sdk.artifacts.artifact import Artifact
    from wandb.sdk.data_types._private import MEDIA_TMP

    tempfile.tempdir = None  # TMPDIR may be another now
    for folder, suffix in ((MEDIA_TMP, "wandb-media"), (Artifact._TMP_DIR, "wandb-artifacts")):
        folder._finalizer.detach()
        folder.__init__(suffix)  # type: ignore[misc] - other modules hold the same object


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    if (asked := serve()) is not None:
        become(asked)
        runpy.run_path(sys.argv[0], run_name="__main__")
