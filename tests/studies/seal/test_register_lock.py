"""A register's file that another process holds: said, waited for with a bound, and refused in one line."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from studies.seal import chained_file
from tests.studies.seal.registers import add
from trainables.common.errors import UserError

HOLDS = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock; a line to it ends it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(chained_file, "SAY_SECONDS", 0.1)
    monkeypatch.setattr(chained_file, "LOCK_SECONDS", 0.5)


@pytest.mark.parametrize("which", ["path", "memory", "own"])
def test_file_that_stays_locked_is_one_line_and_nothing_is_written(which, register, capsys):
    path = getattr(register, which)
    with held(path), pytest.raises(UserError) as refused:
        add(register, "a")
    assert str(refused.value).startswith(f"{path} has been locked by another process for ")
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().err == f"waiting for {path}, which another process has locked\n"
    assert register.read().lines == ()
    assert not any(other.exists() and other.read_bytes() for other in (register.path, register.memory, register.own))


def test_lock_that_is_given_back_is_taken(register, monkeypatch, capsys):
    monkeypatch.setattr(chained_file, "LOCK_SECONDS", 30.0)
    with held(register.path) as process:
        assert process.stdin is not None
        threading.Timer(0.5, lambda: (process.stdin.write("\n"), process.stdin.flush())).start()
        add(register, "a")
    assert len(register.read().lines) == 1
    assert "waiting for" in capsys.readouterr().err
