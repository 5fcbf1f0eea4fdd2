"""Drivers and Ray's workers as processes that need not import anything: all that a study uses takes many seconds.

Run as a script, this file imports it once and forks a process for each line that it is sent, which then runs a script
as Python would; and for each worker that a Ray asks for, see ray_worker.py. What a driver or a worker imports is
therefore not tested with these; that is left to those tests that start a Python of their own.
"""

import contextlib
import functools
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
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

IMPORTED = (
    *(
        "analysis.report.write",
        "matplotlib.figure",
        "pyarrow",
        "sqlalchemy",
        "studies.logs.tensorboard",
        "studies.models.evaluation",
    ),
    *("studies.logs.tracking", "studies.search.ledger_file", "trainables.trial"),
)
"""All that takes long but Ray itself, which looks at the environment of each process when it is imported."""

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

RAY_PARTS = {"setup_worker_path": str(Path(__file__).with_name("ray_worker.py")), "include_log_monitor": False}
"""What a Ray has that forks its workers; nobody here reads what its log monitor would print."""

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
            [sys.executable, __file__, self._socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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


# The script


def serve(address: str) -> dict[str, Any] | None:
    """Forks; what to run in a process that was forked, None in the server at its end."""
    running: set[int] = set()
    workers: dict[int, dict[str, Any]] = {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        while True:
            ready, _, _ = select.select([sys.stdin, listener], [], [])
            workers = {pid: about for pid, about in workers.items() if os.waitpid(pid, os.WNOHANG)[0] == 0}
            if listener in ready:
                worker = wanted_worker(listener)
                pid = os.fork()
                if pid == 0:
                    return worker
                workers[pid] = {"parent": worker["parent"], "mark": worker["environment"].get(MARK, "")}
                for file in worker["files"]:
                    os.close(file)
            if sys.stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    break
                request, answer = json.loads(line), None
                if "poll" in request:
                    pid, status = os.waitpid(request["poll"], os.WNOHANG)
                    if pid:
                        running.discard(pid)
                        answer = os.waitstatus_to_exitcode(status)
                elif "workers" in request:
                    answer = workers
                else:
                    answer = os.fork()
                    if answer == 0:
                        return request
                    running.add(answer)
                sys.stdout.write(json.dumps(answer) + "\n")
                sys.stdout.flush()
    for pid in (*running, *workers):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return None


def wanted_worker(listener: socket.socket) -> dict[str, Any]:
    """A worker as ray_worker.py tells of it, with the `files` of its output and errors."""
    with listener.accept()[0] as asking:
        message, files, *_ = socket.recv_fds(asking, 1 << 20, 2)
    return {**json.loads(message), "files": files}


def become(request: Mapping[str, Any]) -> None:
    """Makes this process the one that was asked for, up to what it runs."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    output, errors = request.get("files") or [
        os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) for name in ("output", "errors")
    ]
    for number, file in enumerate((nothing, output, errors)):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the old one may hold other requests
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started all this behind itself
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    random.seed()
    sys.argv = list(request["start"])
    if "files" in request:
        prepare_worker()
    else:
        fork_workers()
    own_temporary_folders()
    sys.path[0] = str(Path(sys.argv[0]).parent)


def prepare_worker() -> None:
    """What Ray's setup_worker.py does before it runs what comes next."""
    from ray._private.runtime_env.context import RuntimeEnvContext
    from ray._private.utils import update_envs
    from ray._private.workers.setup_worker import parser

    about, sys.argv = parser.parse_known_args(sys.argv)
    update_envs(RuntimeEnvContext.deserialize(about.serialized_runtime_env_context or "{}").env_vars)


def own_temporary_folders() -> None:
    """Gives this process folders of its own for W&B, which made them on import: whoever ends first removes them."""
    from wandb.sdk.artifacts.artifact import Artifact
    from wandb.sdk.data_types._private import MEDIA_TMP

    tempfile.tempdir = None  # TMPDIR may be another now
    importlib.reload(sys.modules["studies"])  # or the folder that a study has for its workers
    for folder, suffix in ((MEDIA_TMP, "wandb-media"), (Artifact._TMP_DIR, "wandb-artifacts")):
        folder._finalizer.detach()
        folder.__init__(suffix)  # type: ignore[misc] - other modules hold the same object


def fork_workers() -> None:
    """Has the Ray that this process may start fork its workers, too."""
    from ray._private.parameter import RayParams

    RayParams.__init__ = functools.partialmethod(RayParams.__init__, **RAY_PARTS)  # type: ignore[method-assign]


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    if (asked := serve(sys.argv[1])) is not None:
        become(asked)
        runpy.run_path(sys.argv[0], run_name="__main__")
