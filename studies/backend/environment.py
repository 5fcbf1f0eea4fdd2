"""What Ray needs of this machine, found out in a second: Ray itself would try for minutes, or end the process."""

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from trainables.common.errors import UserError
from trainables.common.network import check_port

SOCKET_BYTES = 107
"""Longest path of a Unix socket. Source: unix(7), `sun_path` without its closing zero."""

SESSION_BYTES = len("/ray/session_2025-01-31_12-00-00_123456_12345678/sockets/plasma_store")
"""What Ray adds to its folder for the longest of its sockets, with a process id of 8 digits."""

LEAST_FREE_MIB = 64
"""For Ray's logs and sockets."""

THREADS = 160, 32
"""Threads and processes of a private Ray and two workers: a part of their own, and one per core (2 cores: 197)."""

MOST_THREADS = 4096


def check_machine() -> Path:
    """Checks this machine, and gives the folder for temporary files that Ray can use.

    Raises:
        UserError: No folder will do, Ray's processes could not reach each other, or too few may be started.
    """
    folder = temporary_folder()
    _check_loopback()
    base, per_core = THREADS
    _check_threads(min(MOST_THREADS, base + per_core * (os.cpu_count() or 1)))
    return folder


def temporary_folder() -> Path:
    """The first of the usual folders for temporary files that is there, writable, roomy, and short enough for sockets.

    Raises:
        UserError: None is.
    """
    problems = []
    for folder in dict.fromkeys(_usual_folders()):
        problem = _problem_of(folder)
        if problem is None:
            return folder
        problems.append(f"{folder} {problem}")
    raise UserError(f"no folder for temporary files will do: {'; '.join(problems)}: set TMPDIR to one that does")


def _usual_folders() -> Iterator[Path]:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    for text in ("/tmp", "/var/tmp", "/dev/shm"):
        yield Path(text)


def _problem_of(folder: Path) -> str | None:
    if not folder.is_absolute():
        return "is no absolute path"
    most = SOCKET_BYTES - SESSION_BYTES
    if len(os.fsencode(folder)) > most:
        return f"has a path of more than {most} characters, too long for Ray's sockets"
    try:
        with tempfile.TemporaryDirectory(prefix="fewtile-", dir=folder) as scratch:
            (Path(scratch) / "probe").write_bytes(b"x")
        free_mib = shutil.disk_usage(folder).free / 2**20
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return None if free_mib >= LEAST_FREE_MIB else f"has {free_mib:.0f} MiB left, of {LEAST_FREE_MIB} that are needed"


def _check_loopback() -> None:
    """Connects to itself, as Ray's processes do to each other."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            check_port(*server.getsockname())
    except OSError as error:
        raise UserError(
            f"this machine cannot reach itself at 127.0.0.1 ({error.strerror or error}), but Ray's processes talk to "
            "each other there: bring up its loopback interface (ip link set lo up)"
        ) from error


def _check_threads(num_needed: int, *, thread: Callable[..., threading.Thread] = threading.Thread) -> None:
    """Starts as many threads as Ray would: limits of the user, of a container and of the system all show."""
    end, started = threading.Event(), []
    try:
        for _ in range(num_needed):
            one = thread(target=end.wait, daemon=True)
            one.start()
            started.append(one)
    except RuntimeError as error:
        raise UserError(
            f"{len(started)} more threads and processes can be started here, but Ray needs about {num_needed}: raise "
            "the limit (ulimit -u, or that of the container), or end what holds the others"
        ) from error
    finally:
        end.set()
        for one in started:
            one.join()
