"""Drivers and Ray's workers as processes that need not import anything: all that a study uses takes many seconds.

fork_server.py imports it once, and forks whatever is asked for. What a driver or a worker imports is therefore not
tested with these; that is left to those tests that start a Python of their own.
"""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

RECORDED = Path(__file__).with_name("recorded.py")
"""Phase 2 with recorded learning curves in place of training."""

PATIENT_RAY = {"RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "120"}
"""Variables for a Ray on a busy machine.

By itself it gives its workers a niceness of 15, so that others keep them from starting for minutes, and it gives up a
node that is not there in 30 s.
"""

MARK = "FEWTILE_CHAOS"
"""Variable by which the processes of one driver are told from others."""

SOCKET = "FEWTILE_FORKS"
"""Variable that tells workers where to ask."""

SERVER = Path(__file__).with_name("fork_server.py")

RAY_PARTS = {
    "setup_worker_path": str(Path(__file__).with_name("ray_worker.py")),
    "include_log_monitor": False,
    "no_monitor": True,
}
"""What a Ray has that forks its workers; nobody here reads what its log monitor would print, and it does not scale."""

SOON = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
"""Settings of a Ray that knows a dead node as such within seconds."""

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
    """The process that forks drivers and workers; those that still run at the end are killed."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        self._socket = str(Path(self._folder.name) / "workers")
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), self._socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "DriverServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._process:  # waits for it
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._folder.cleanup()

    def workers(self) -> dict[int, dict[str, Any]]:
        """The living workers by their process id: their raylet as `parent`, as of others, and their `mark`."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            return {}
        return {int(pid): about for pid, about in self.ask(workers=True).items()}

    @contextlib.contextmanager
    def ray(self, **head: Any) -> Iterator[Any]:
        """A Ray cluster with a head of those arguments; its address is for drivers or for this process itself."""
        from ray._private.parameter import RayParams
        from ray.cluster_utils import Cluster

        self.workers()  # it may still import, and a Ray whose first workers do not start waits for ever
        variables = {"RAY_AUTH_MODE": "disabled", **PATIENT_RAY, SOCKET: self._socket}
        parts = functools.partialmethod(RayParams.__init__, **RAY_PARTS)
        with mock.patch.dict(os.environ, variables), mock.patch.object(RayParams, "__init__", parts):
            cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **head})
            try:
                yield cluster
            finally:
                cluster.shutdown()

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
        variables = {**PATIENT_RAY, **os.environ, SOCKET: self._socket, **(environment or {})}
        errors = errors or output
        for path in (output, errors):  # the process may take a while to be there, and is read meanwhile
            path.touch()
        about = {"cwd": str(cwd), "output": str(output), "errors": str(errors), "environment": variables}
        return ForkedDriver(self, self.ask(start=[str(script), *flags], **about), output, errors)
