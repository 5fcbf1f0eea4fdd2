"""Registers that were tampered with, moved, lost or locked: what is refused, remembered and waited for."""

import fcntl
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from studies.seal import chained_file
from studies.seal.register import Known, Register, when
from tests.studies.seal.registers import add, attempts, content, lines_of, make, reseal
from trainables.common.errors import UserError


def refusal(register: Register) -> str:
    with pytest.raises(UserError) as error:
        register.read()
    return str(error.value)


# What was tampered with


EDITED = "its hash does not fit what it says"
FOREIGN = [b'{"event": "opened"}', b"[1]", b"17", b"null", b'{"hash": ""}']


def edit(line: bytes) -> bytes:
    return line.replace(b'"unet"', b'"umet"')


def forge(line: bytes) -> bytes:
    """A line that follows `line`, with a hash of its own."""
    before = json.loads(line)
    return reseal(before, attempt="z", prev=before["hash"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a, b, c: edit(a) + b + c, f"line 1: {EDITED}"),
        (lambda a, b, c: a + edit(b) + c, f"line 2: {EDITED}"),
        (lambda a, b, c: a + b + edit(c), f"line 3: {EDITED}"),
        *((lambda a, b, c, its=line: a + its + b"\n", f"line 2: {EDITED}") for line in FOREIGN),
        (lambda a, b, c: b + c, "line 1 does not follow the line before it"),
        (lambda a, b, c: a + c, "line 2 does not follow the line before it"),
        (lambda a, b, c: a + forge(a) + b, "line 3 does not follow the line before it"),
        (lambda a, b, c: a + b"x\xff" + b + c, "line 2 is no JSON, and line 3 does not follow"),
    ],
)
def test_read_refuses_a_file_whose_lines_were_edited_removed_or_put_in(register, change, words):
    add(register, "a", "b", "c")
    register.path.write_bytes(change(*lines_of(register.path)))
    assert refusal(register).startswith(f"{register.path}, {words}")


@pytest.mark.parametrize("file", ["memory", "own"])
def test_read_refuses_an_edited_line_in_the_other_files(register, file):
    add(register, "a")
    path = getattr(register, file)
    path.write_bytes(edit(path.read_bytes()))
    assert refusal(register).startswith(f"{path}, line 1: {EDITED}")


@pytest.mark.parametrize("num_left", [2, 1, 0])
def test_lines_removed_from_the_end_are_remembered(register, num_left):
    add(register, "a", "b", "c")
    register.path.write_bytes(b"".join(lines_of(register.path)[:num_left]))
    known = register.read()
    assert attempts(known) == ["a", "b", "c"]
    count = {2: "1 opening of these tiles is", 1: "2 openings of these tiles are", 0: "3 openings of these tiles are"}
    assert known.notes == (f"{count[num_left]} recorded in {register.memory} but not in {register.path}",)


def test_a_removed_file_is_remembered_and_a_new_one_starts_a_chain(register):
    add(register, "a", "b")
    register.path.unlink()
    add(register, "c")
    assert attempts(register.read()) == ["a", "b", "c"]
    assert [json.loads(line)["prev"] for line in lines_of(register.path)] == [""]


def test_removed_results_are_told_as_results(register):
    add(register, "a")
    register.append(lambda lines: content("a", "result"))
    register.path.write_bytes(lines_of(register.path)[0])
    assert register.read().notes == (
        f"1 result of these tiles is recorded in {register.memory} but not in {register.path}",
    )


def test_a_line_that_only_the_study_holds_is_refused_until_it_is_put_back(register):
    add(register, "a", "b")
    time = when(register.read().lines[1])
    for path in (register.path, register.memory):
        path.write_bytes(lines_of(path)[0])
    assert refusal(register).startswith(f"{register.own} holds a line (opened {time})")
    with pytest.raises(UserError, match="holds a line"):
        add(register, "c")
    with register.memory.open("ab") as file:
        file.write(register.own.read_bytes())
    assert attempts(register.read()) == ["a", "b"]


def test_a_file_that_cannot_be_read_is_refused(register):
    register.path.mkdir()
    assert refusal(register).startswith(f"{register.path} cannot be read (Is a directory)")


# What the user's file is for


def test_other_tiles_know_nothing_of_these(root, tmp_path):
    add(make(root), "a")
    (tmp_path / "other").mkdir()
    other = Register(tmp_path / "other", "e" * 64, own=tmp_path / "runs/two/seal.jsonl")
    assert other.read() == Known((), (), (), ())


def test_lines_from_another_machine_are_remembered_once_seen(register):
    add(register, "a", "b")
    register.memory.unlink()
    register.remember(register.read())
    assert lines_of(register.memory) == lines_of(register.path)
    register.remember(register.read())
    assert lines_of(register.memory) == lines_of(register.path)
    register.memory.unlink()
    add(register, "c")
    assert lines_of(register.memory) == lines_of(register.path)


def test_lines_removed_under_changed_tiles_are_remembered(root):
    add(make(root), "a", "b", "c")
    path = make(root).path
    path.write_bytes(lines_of(path)[0])
    changed = make(root, "two", digest="e" * 64)
    assert attempts(changed.read()) == ["a", "b", "c"]
    assert changed.read().notes == (f"2 openings of these tiles are recorded in {make(root).memory} but not in {path}",)


# What another process holds


@contextmanager
def held(path: Path) -> Iterator[TextIO]:
    """Somebody has the lock until the file is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


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
    with held(register.path) as file:
        threading.Timer(0.5, file.close).start()
        add(register, "a")
    assert len(register.read().lines) == 1
    assert "waiting for" in capsys.readouterr().err
