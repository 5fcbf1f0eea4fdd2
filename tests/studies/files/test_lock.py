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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


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


def test_second_driver_is_refused_with_the_first_one_s_process_and_host(folder: Path) -> None:
    with other_driver(folder) as process:
        message = refusal(folder)
        since = json.loads((folder / ".lock").read_text())["since"]
        assert message == (
            f"--out {folder} is in use by process {process.pid} on {platform.node()} since {since}: wait for its end, "
            "stop it, or choose another folder"
        )
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", since)
        assert refusal(folder) == message  # a refused driver takes nothing away
        process.communicate()
    with lock.only_driver(folder):
        assert json.loads((folder / ".lock").read_text())["pid"] == os.getpid()


def test_second_driver_in_the_same_process_is_refused(folder: Path) -> None:
    with lock.only_driver(folder):
        assert f"is in use by process {os.getpid()} on {platform.node()} since 20" in refusal(folder)


def test_folder_of_a_killed_driver_is_taken_over(folder: Path) -> None:
    with other_driver(folder) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert json.loads((folder / ".lock").read_text())["pid"] == process.pid  # it could not remove it
        assert lock.holder(folder) is None
        with lock.only_driver(folder):
            assert json.loads((folder / ".lock").read_text())["pid"] == os.getpid()
        assert list(folder.iterdir()) == []


def test_file_goes_when_the_lock_is_given_back(folder: Path) -> None:
    with lock.only_driver(folder):
        assert [path.name for path in folder.iterdir()] == [".lock"]
    assert list(folder.iterdir()) == []
    with pytest.raises(KeyError), lock.only_driver(folder):
        raise KeyError
    assert list(folder.iterdir()) == []


def test_child_that_outlives_its_driver_holds_no_lock(folder: Path) -> None:
    """Ray's and W&B's processes may go on for a while after a driver was killed."""
    with lock.only_driver(folder):
        command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        with lock.only_driver(folder):
            pass
        child.kill()


def test_holder_tells_who_drives_and_none_otherwise(folder: Path) -> None:
    assert lock.holder(folder) is None
    assert lock.holder(folder / "nowhere") is None
    with other_driver(folder) as process:
        content = (folder / ".lock").read_bytes()
        since = json.loads(content)["since"]
        for _ in range(3):
            assert lock.holder(folder) == f"process {process.pid} on {platform.node()} since {since}"
        assert (folder / ".lock").read_bytes() == content
        process.communicate()
    assert lock.holder(folder) is None
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", ["", '{"pid": 1', "{}", "[1]", "3", "\xff"])
def test_holder_of_an_unreadable_file_is_another_process(folder: Path, content: str) -> None:
    """Between taking the lock and writing who has it."""
    (folder / ".lock").write_text(content, encoding="latin-1")
    assert lock.holder(folder) is None
    with (folder / ".lock").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert lock.holder(folder) == "another process"
        assert f"--out {folder} is in use by another process: wait for its end" in refusal(folder)


def test_looking_at_a_killed_driver_s_folder_refuses_nobody(folder: Path) -> None:
    """`status` holds a shared lock for a moment, as it can only ask by trying."""
    (folder / ".lock").write_text('{"pid": 1, "host": "a", "since": "b"}')
    looking = (folder / ".lock").open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    looked = threading.Timer(0.05, looking.close)
    looked.start()
    with lock.only_driver(folder):
        assert lock.holder(folder) is not None
    looked.join()


def test_file_that_its_holder_removes_while_another_waits_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder ends between the other's open and flock: its lock is that of a file that no third one would find."""
    first = contextlib.ExitStack()
    first.enter_context(lock.only_driver(folder))
    flock, inodes = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        first.close()
        inodes.append(os.fstat(descriptor).st_ino)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with lock.only_driver(folder):
        monkeypatch.undo()
        assert len(inodes) == 2
        assert inodes[1] == (folder / ".lock").stat().st_ino
        assert str(os.getpid()) in refusal(folder)
        assert json.loads((folder / ".lock").read_text())["pid"] == os.getpid()
    assert list(folder.iterdir()) == []


def test_lock_of_a_third_one_that_came_in_between_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, but a third driver makes the file anew before the second one has looked."""
    first, third = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(lock.only_driver(folder))
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        first.close()
        third.enter_context(lock.only_driver(folder))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert f"is in use by process {os.getpid()}" in refusal(folder)
    assert (folder / ".lock").exists()
    third.close()
    assert list(folder.iterdir()) == []


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


def test_drivers_that_start_at_once_go_one_after_the_other(folder: Path) -> None:
    (folder / "number").write_text("0")
    with contextlib.ExitStack() as ended:
        command = [sys.executable, "-c", RACER, str(folder)]
        racers = [ended.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE)) for _ in range(3)]
        for racer in racers:
            ended.callback(racer.kill)
        errors = [racer.communicate(timeout=60)[1] for racer in racers]
    assert errors == [b"", b"", b""]
    assert (folder / "number").read_text() == "120"
    assert [path.name for path in folder.iterdir()] == ["number"]


def test_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refusal(nowhere) == (f"--out {nowhere} cannot be written (No such file or directory): choose another folder")


@pytest.mark.parametrize(("name", "number"), [("pwrite", errno.ENOSPC), ("flock", errno.ENOLCK)])
def test_disk_that_takes_no_lock_is_a_user_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl if name == "flock" else os, name, fail)
        assert refusal(folder) == f"--out {folder} cannot be written ({os.strerror(number)}): choose another folder"
    with lock.only_driver(folder):
        pass
    assert list(folder.iterdir()) == []
