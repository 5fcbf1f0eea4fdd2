"""Writing the register: the chain, crashes in the middle of a line, folders that refuse, and many writers."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from studies.seal import chained_file
from studies.seal.register import when
from tests.studies.seal.registers import DIGEST, add, attempts, content, lines_of, make, reseal
from trainables.common.errors import UserError


def write_fails(monkeypatch, *folders: Path, code: int = errno.EROFS) -> None:
    """Files in these folders can be read, but not opened for writing."""
    original = os.open

    def refuse(path, flags, *args, **kwargs):
        if flags & os.O_RDWR and any(Path(path).is_relative_to(folder) for folder in folders):
            raise OSError(code, os.strerror(code), str(path))
        return original(path, flags, *args, **kwargs)

    monkeypatch.setattr(chained_file.os, "open", refuse)


# What is written


def test_append_writes_the_very_same_line_to_all_three_files(register, root, user_data):
    line = register.append(lambda lines: content("a"))
    assert register.memory == user_data / f"fewtile/seals/{DIGEST}.jsonl"
    for path in (root / "seal.jsonl", register.memory, register.own):
        assert lines_of(path) == [json.dumps(line).encode() + b"\n"]
    assert set(line) == {
        *("event", "attempt", "study", "study_id", "arm", "signatures", "tiles_digest", "tiles"),
        *("at", "prev", "hash"),
    }


def test_append_chains_lines_by_the_hash_of_their_canonical_json(register):
    add(register, "a", "b", "c")
    lines = lines_of(register.path)
    prev = ""
    for text in lines:
        line = json.loads(text)
        assert line["prev"] == prev
        assert text == reseal(line)
        prev = line["hash"]
    assert len(lines) == 3


def test_append_keeps_results_whose_json_differs_from_their_python(register):
    result = {10: (1, 2), 9: float("nan"), "é": None}
    register.append(lambda lines: content("a", "result") | {"result": result})
    found = register.read().lines[0]["result"]
    assert found.pop("9") != 0
    assert found == {"10": [1, 2], "é": None}


def test_append_gives_all_lines_to_the_decision_and_writes_nothing_where_it_refuses(register):
    def refuse(lines):
        raise UserError(f"{len(lines)} lines")

    with pytest.raises(UserError, match=r"^0 lines$"):
        register.append(refuse)
    assert not register.path.exists()
    assert not register.memory.exists()
    assert not register.own.exists()
    add(register, "a")
    with pytest.raises(UserError, match=r"^1 lines$"):
        register.append(refuse)
    assert len(lines_of(register.path)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which files were flushed")
def test_append_flushes_files_and_new_names(register, monkeypatch):
    flushed = []
    original = os.fsync
    monkeypatch.setattr(
        chained_file.os,
        "fsync",
        lambda descriptor: flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink()) or original(descriptor),
    )
    files = [register.path, register.memory, register.own]
    add(register, "a")
    assert flushed == [path for file in files for path in (file, file.parent)]
    flushed.clear()
    add(register, "b")
    assert flushed == files


def test_when_is_for_people():
    assert when({"at": "2025-01-31T12:34:56.123456+00:00"}) == "2025-01-31 12:34 UTC"


# Crashes while a line is written


@pytest.mark.parametrize(
    "cut",
    [
        lambda line: line[:1],
        lambda line: line[:40],
        lambda line: line[: len(line) // 2],
        lambda line: line[:-2],
        lambda line: bytes(300),  # as after a power failure
    ],
)
@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_line_that_was_cut_off_is_no_line(register, cut, ending):
    add(register, "a", "b")
    first, second = lines_of(register.path)
    fragment = cut(second)
    for path in (register.path, register.memory, register.own):
        path.write_bytes(first + fragment + ending)
    known = register.read()
    assert attempts(known) == ["a"]
    assert known.notes == tuple(
        f"{path}, line 2: cut off while it was written, so nothing was opened under it"
        for path in (register.own, register.path, register.memory)
    )
    add(register, "c")
    for path in (register.path, register.memory, register.own):
        lines = lines_of(path)
        assert lines[:2] == [first, fragment + b"\n"]
        assert json.loads(lines[2])["prev"] == json.loads(first)["hash"]
    add(register, "d")
    known = register.read()
    assert attempts(known) == ["a", "c", "d"]
    assert len(known.notes) == 3


def test_a_first_line_that_was_cut_off_is_no_line(register):
    register.path.write_bytes(b'{"event": "ope')
    add(register, "a")
    assert attempts(register.read()) == ["a"]
    assert json.loads(lines_of(register.path)[1])["prev"] == ""


def test_a_whole_line_counts_without_its_newline(register):
    add(register, "a", "b")
    register.path.write_bytes(register.path.read_bytes()[:-1])
    assert register.read().notes == ()
    add(register, "c")
    assert attempts(register.read()) == ["a", "b", "c"]
    assert [json.loads(line)["attempt"] for line in lines_of(register.path)] == ["a", "b", "c"]


# Folders that cannot be written


def test_append_goes_to_the_users_file_alone_where_the_tiles_cannot_be_written(register, root, monkeypatch):
    write_fails(monkeypatch, root)
    add(register, "a", "b")
    assert not register.path.exists()
    lines = [json.loads(line) for line in lines_of(register.memory)]
    assert [line["prev"] for line in lines] == ["", lines[0]["hash"]]
    known = register.read()
    assert attempts(known) == ["a", "b"]
    assert known.notes == (f"2 openings of these tiles are recorded in {register.memory} but not in {register.path}",)


def test_append_does_without_the_users_file(register, monkeypatch, user_data):
    user_data.write_text("no folder")
    add(register, "a", "b")
    register.remember(register.read())
    assert attempts(register.read()) == ["a", "b"]


def test_append_refuses_where_neither_register_can_be_written(register, root, monkeypatch, user_data):
    write_fails(monkeypatch, root)
    user_data.write_text("no folder")
    with pytest.raises(UserError) as error:
        add(register, "a")
    refused = f"neither {register.path} (Read-only file system) nor {register.memory} (Not a directory) can be written"
    assert str(error.value).startswith(refused)
    assert not register.own.exists()


@pytest.fixture
def fill(monkeypatch):
    """Fills the disk of a file, or of all files, as long as a block runs."""
    original = os.write

    @contextlib.contextmanager
    def full(path: Path | None = None) -> Iterator[None]:
        def write(descriptor, content):
            is_full = path is None or os.fstat(descriptor).st_ino == path.stat().st_ino
            return original(descriptor, content[:50] if is_full else content)

        with monkeypatch.context() as patch:
            patch.setattr(chained_file.os, "write", write)
            yield

    return full


def test_append_goes_on_where_the_disk_of_the_tiles_is_full(register, fill):
    add(register, "a")
    with fill(register.path):
        add(register, "b")
    assert attempts(register.read()) == ["a", "b"]
    add(register, "c")
    assert attempts(register.read()) == ["a", "b", "c"]


def test_append_refuses_where_all_disks_are_full(register, fill):
    words = r"seal.jsonl \(No space left on device\) nor .* can be written, but an opening"
    with fill(), pytest.raises(UserError, match=words):
        add(register, "a")
    assert register.read().lines == ()
    add(register, "b")
    assert attempts(register.read()) == ["b"]


def test_append_refuses_before_anything_is_on_record_where_the_study_cannot_be_written(register, monkeypatch):
    write_fails(monkeypatch, register.own.parent, code=errno.EACCES)
    with pytest.raises(UserError) as error:
        add(register, "a")
    assert str(error.value) == f"{register.own} cannot be written (Permission denied): make room, or make it writable"
    assert register.read().lines == ()


def test_check_writable_asks_before_anything_is_written(register, root, monkeypatch, user_data):
    register.check_writable()
    assert not user_data.exists()
    assert not register.own.parent.exists()
    monkeypatch.setattr(chained_file.os, "access", lambda path, mode: not Path(path).is_relative_to(root))
    register.check_writable()
    user_data.write_text("no folder")
    with pytest.raises(UserError) as error:
        register.check_writable()
    assert str(error.value).startswith(f"neither {register.path} nor {register.memory} can be written")


def test_check_writable_asks_for_the_studys_folder(register):
    register.own.parent.parent.write_text("no folder")
    with pytest.raises(UserError) as error:
        register.check_writable()
    assert str(error.value) == f"{register.own} cannot be written: make it writable, or choose another --out"


# Many writers

WRITER = """
import sys
from pathlib import Path
from studies.seal.register import Register

root, study = Path(sys.argv[1]), sys.argv[2]
register = Register(root, "d" * 64, own=root.parent / "runs" / study / "seal.jsonl")
print("ready", flush=True)
sys.stdin.readline()
for number in range(8):
    register.append(lambda lines: {
        "event": "opened", "attempt": f"{study}-{number}", "study": study, "study_id": study, "arm": "unet",
        "signatures": [str(len(lines))], "tiles_digest": "d" * 64, "tiles": {"t": "x" * 5000},
    })
"""


def test_append_takes_turns_with_other_processes(root):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), study], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for study in ("x", "y", "z")
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    known = make(root).read()
    assert known.notes == ()
    assert sorted(attempts(known)) == sorted(f"{study}-{number}" for study in "xyz" for number in range(8))
    assert [line["signatures"] for line in known.beside] == [[str(number)] for number in range(24)]
    assert lines_of(make(root).memory) == lines_of(make(root).path)
    assert [len(lines_of(make(root, study).own)) for study in "xyz"] == [8, 8, 8]
