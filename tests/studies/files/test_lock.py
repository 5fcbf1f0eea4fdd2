"""One driver per folder: whoever else comes is refused in one line, and nothing a driver leaves behind locks it."""

import contextlib
import errno
import fcntl
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studies.files import lock
from trainables.common.errors import UserError

HOLDER = """
import sys
from pathlib import Path
from studies.files import lock
with lock.only_driver(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other_driver(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def refusal(folder: Path) -> str:
    """The message to one who may not drive."""
    with pytest.raises(UserError) as refused, lock.only_driver(folder):
        pass
    return str(refused.value)


def signed(folder: Path) -> dict[str, Any]:
    """What the file says of its holder."""
    content: dict[str, Any] = json.loads((folder / ".lock").read_text(encoding="utf-8"))
    return content


def test_second_driver_is_refused_and_told_the_first_one_s_process_and_host(tmp_path):
    assert lock.holder(tmp_path) is None
    assert lock.holder(tmp_path / "nowhere") is None
    with other_driver(tmp_path) as process:
        content = (tmp_path / ".lock").read_bytes()
        since = signed(tmp_path)["since"]
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", since)
        driver = f"process {process.pid} on {platform.node()} since {since}"
        for _ in range(2):  # neither who is refused nor who looks takes anything away
            assert refusal(tmp_path) == (
                f"--out {tmp_path} is in use by {driver}: wait for its end, stop it, or choose another folder"
            )
            assert lock.holder(tmp_path) == driver
        assert (tmp_path / ".lock").read_bytes() == content
        process.communicate()
    assert lock.holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_driver_is_taken_over(tmp_path):
    with other_driver(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert signed(tmp_path)["pid"] == process.pid  # it could not remove it
        assert lock.holder(tmp_path) is None
        with lock.only_driver(tmp_path):
            assert signed(tmp_path)["pid"] == os.getpid()
        assert list(tmp_path.iterdir()) == []


def test_child_that_outlives_its_driver_holds_no_lock(tmp_path):
    """Ray's and W&B's processes may go on for a while after a driver was killed."""
    with lock.only_driver(tmp_path):
        command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        with lock.only_driver(tmp_path):
            pass
        child.kill()


@pytest.mark.parametrize("content", ["", '{"pid": 1', "{}", "[1]", "3", "\xff"])
def test_holder_of_an_unreadable_file_is_another_process(tmp_path, content):
    """Between taking the lock and writing who has it."""
    (tmp_path / ".lock").write_text(content, encoding="latin-1")
    assert lock.holder(tmp_path) is None
    with (tmp_path / ".lock").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert lock.holder(tmp_path) == "another process"
        assert f"--out {tmp_path} is in use by another process: wait for its end" in refusal(tmp_path)


def test_looking_at_a_killed_driver_s_folder_refuses_nobody(tmp_path):
    """`status` holds a shared lock for a moment, as it can only ask by trying."""
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "a", "since": "b"}')
    looking = (tmp_path / ".lock").open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    looked = threading.Timer(0.05, looking.close)
    looked.start()
    with lock.only_driver(tmp_path):
        assert lock.holder(tmp_path) is not None
    looked.join()


@pytest.mark.parametrize("has_third", [False, True])
def test_file_that_its_holder_removes_while_another_waits_is_no_lock(has_third, tmp_path, monkeypatch):
    """The holder ends between the other's open and flock: its lock is that of a file that no third one would find.

    That one takes the lock of the new file, unless a third driver has made and taken it before.
    """
    first, third = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(lock.only_driver(tmp_path))
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        first.close()
        if has_third:
            third.enter_context(lock.only_driver(tmp_path))
        flock(descriptor, operation)
        assert not (tmp_path / ".lock").exists() or os.fstat(descriptor).st_ino != (tmp_path / ".lock").stat().st_ino

    monkeypatch.setattr(fcntl, "flock", late)
    if has_third:
        assert f"is in use by process {os.getpid()}" in refusal(tmp_path)
    else:
        with lock.only_driver(tmp_path):
            assert signed(tmp_path)["pid"] == os.getpid()
            assert str(os.getpid()) in refusal(tmp_path)
    assert (tmp_path / ".lock").exists() == has_third
    third.close()
    assert list(tmp_path.iterdir()) == []


RACER = """
import sys
from pathlib import Path
from studies.files import lock
from trainables.common.errors import UserError
folder, left = Path(sys.argv[1]), 40
while left:
    try:
        with lock.only_driver(folder):
            number = int((folder / "number").read_text())
            (folder / "number").write_text(str(number + 1))
        left -= 1
    except UserError as error:
        assert "is in use by" in str(error), error
"""
"""Adds one to a number again and again, where two at once would lose some."""


def test_drivers_that_start_at_once_go_one_after_the_other(tmp_path):
    (tmp_path / "number").write_text("0")
    with contextlib.ExitStack() as ended:
        command = [sys.executable, "-c", RACER, str(tmp_path)]
        racers = [ended.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE)) for _ in range(3)]
        for racer in racers:
            ended.callback(racer.kill)
        errors = [racer.communicate(timeout=60)[1] for racer in racers]
    assert errors == [b"", b"", b""]
    assert (tmp_path / "number").read_text() == "120"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]


@pytest.mark.parametrize(("name", "number"), [("pwrite", errno.ENOSPC), ("flock", errno.ENOLCK)])
def test_disk_that_takes_no_lock_is_a_user_error(tmp_path, monkeypatch, name, number):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl if name == "flock" else os, name, fail)
        assert refusal(tmp_path) == f"--out {tmp_path} cannot be written ({os.strerror(number)}): choose another folder"
    nowhere = tmp_path / "nowhere"
    assert refusal(nowhere) == f"--out {nowhere} cannot be written (No such file or directory): choose another folder"
    with lock.only_driver(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
