"""What Ray needs of the machine: found out at once, and said in one line."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from studies.backend import environment
from studies.backend.environment import check_machine, temporary_folder
from trainables.common.errors import UserError

ROOT = Path(__file__).parents[3]


def test_this_machine_will_do():
    before = threading.active_count()
    assert check_machine().is_dir()
    assert threading.active_count() == before


@pytest.fixture
def short():
    """A folder whose path is as short as Ray's sockets need it; pytest's own are longer."""
    with tempfile.TemporaryDirectory(prefix="f-", dir="/tmp") as folder:
        yield Path(folder)


def test_folder_of_the_environment_is_taken_where_it_will_do(short, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(short))
    assert temporary_folder() == short
    assert list(short.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / ("x" * 60), "has a path of more than "),
        (lambda folder: folder / "gone", r"cannot be written \(No such file or directory\)"),
        (lambda folder: Path("tmp"), "is no absolute path"),
    ],
)
def test_another_folder_is_taken_where_it_will_not_do(make, reason, short, monkeypatch):
    folder = make(short)
    if folder.name != "gone":
        (short / folder).mkdir(exist_ok=True) if folder.is_absolute() else None
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    assert temporary_folder() != folder
    monkeypatch.setattr(environment, "_usual_folders", lambda: [folder])
    with pytest.raises(UserError, match=f"^no folder for temporary files will do: {folder} {reason}.*set TMPDIR"):
        temporary_folder()


def test_full_folder_will_not_do(short, monkeypatch):
    monkeypatch.setattr(environment, "_usual_folders", lambda: [short])
    full = shutil.disk_usage(short)._replace(free=3 * 2**20)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: full)
    with pytest.raises(UserError, match="has 3 MiB left, of 64 that are needed"):
        temporary_folder()


def test_rays_longest_socket_fits_into_a_folder_that_will_do():
    longest = Path("/" + "x" * (environment.SOCKET_BYTES - environment.SESSION_BYTES - 1))
    path = f"{longest}/ray/session_2026-11-29_17-58-34_992000_{2**22}/sockets/plasma_store"
    assert len(path) <= environment.SOCKET_BYTES


def test_limit_of_processes_is_one_line():
    class Limited(threading.Thread):
        started = 0

        def start(self) -> None:
            if Limited.started >= 10:
                raise RuntimeError("can't start new thread")
            Limited.started += 1
            super().start()

    before = threading.active_count()
    with pytest.raises(UserError, match=r"^10 more threads and processes can be started here, but Ray needs about 64"):
        environment._check_threads(64, thread=Limited)
    assert threading.active_count() == before


def test_machine_without_a_loopback_interface_is_one_line(monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(UserError, match=r"^this machine cannot reach itself at 127.0.0.1 \(Network is unreachable\)"):
        check_machine()


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"], check=False).returncode != 0,
    reason="no namespace without a loopback interface can be made here",
)
def test_real_namespace_without_a_loopback_interface_is_told():
    script = "from studies.backend.environment import check_machine; check_machine()"
    command = ["unshare", "-n", sys.executable, "-c", script]
    ended = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert "UserError: this machine cannot reach itself at 127.0.0.1 (Network is unreachable)" in ended.stderr
