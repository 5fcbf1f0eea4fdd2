"""Forks a process for each line that it is sent, which then runs a script as Python would; and Ray's workers.

It imports before what they need: see forked.py, which starts it, and ray_worker.py, which Ray starts for a worker.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forked import MARK, RAY_PARTS

IMPORTED = (
    *("alembic.command", "matplotlib.figure", "pyarrow", "segmentation_models_pytorch", "sqlalchemy"),
    *("analysis.report.write", "studies.logs.tensorboard", "studies.logs.tracking", "studies.models.evaluation"),
    *("studies.search.ledger_file", "trainables.trial"),
)
"""All that takes long but Ray itself, which looks at the environment of each process when it is imported."""


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
            if listener in ready and (worker := wanted_worker(listener)) is not None:
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


def wanted_worker(listener: socket.socket) -> dict[str, Any] | None:
    """A worker as ray_worker.py tells of it, with the `files` of its output and errors; None where it was killed."""
    with listener.accept()[0] as asking:
        message, files, *_ = socket.recv_fds(asking, 1 << 20, 2)
    return {**json.loads(message), "files": files} if message else None


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
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    random.seed()
    sys.argv = list(request["start"])
    if "files" in request:
        prepare_worker()
    own_temporary_folders()
    sys.path[0] = str(Path(sys.argv[0]).parent)
    if "files" not in request:
        fork_workers()


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
    importlib.reload(sys.modules["studies"])  # sets variables for Ray, and the folder that a study has for its workers
    for folder, suffix in ((MEDIA_TMP, "wandb-media"), (Artifact._TMP_DIR, "wandb-artifacts")):
        folder._finalizer.detach()
        folder.__init__(suffix)  # type: ignore[misc] - other modules hold the same object


def fork_workers() -> None:
    """Has the Ray that this process may start fork its workers, too."""
    from ray._private.parameter import RayParams

    RayParams.__init__ = functools.partialmethod(RayParams.__init__, **RAY_PARTS)  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))  # for scripts that are tests
    gc.disable()
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # whoever is forked would look for garbage in all of it again and again, and copy it by that
    gc.enable()
    atexit.register(gc.unfreeze)  # libraries say what is left of them
    if (asked := serve(sys.argv[1])) is not None:
        become(asked)
        runpy.run_path(sys.argv[0], run_name="__main__")
