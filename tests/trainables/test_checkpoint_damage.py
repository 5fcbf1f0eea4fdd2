"""Checkpoints on a bad disk or after a kill: what is left, and that a damaged file is refused."""

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables import checkpoints as ckpt
from trainables.checkpoints import NEWEST, PREVIOUS, load, save

TRAILER = 8 + 32
"""Bytes of the magic and of a SHA-256."""


class KilledError(BaseException):
    """Ends the process, as far as the code under test can tell."""


def is_refused_as_damaged(path: Path, refusal: Any) -> bool:
    return bool(refusal(lambda: load(path)) == f"{path} is damaged or no checkpoint: use another one")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The bytes of a checkpoint."""
    path = tmp_path_factory.mktemp("whole") / NEWEST
    save(path, {"tensor": torch.arange(1000), "text": "ä"})
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    """A file to write to again and again."""
    return tmp_path_factory.mktemp("scratch") / NEWEST


@pytest.fixture
def torch_saves(monkeypatch):
    """Lets `torch.save` do something else."""
    return lambda function: monkeypatch.setattr(ckpt.torch, "save", function)


# What a kill or a bad disk leaves


def test_save_keeps_the_one_before_and_loses_neither_on_a_full_disk(tmp_path, monkeypatch, torch_saves, refusal):
    newest, previous = tmp_path / NEWEST, tmp_path / PREVIOUS
    for epoch in (1, 2):
        save(newest, {"epoch": epoch}, previous=previous)
        assert (load(newest), previous.exists()) == ({"epoch": epoch}, epoch == 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(content: Any, stream: Any) -> None:
        stream.write(b"half a checkp")
        raise OSError(28, "No space left on device")

    torch_saves(full)
    assert refusal(lambda: save(newest, {"epoch": 3}, previous=previous)) == (
        f"{newest} cannot be written ([Errno 28] No space left on device): make room, or choose another folder"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    save(newest, {"epoch": 3}, previous=previous)
    assert (load(newest), load(previous)) == ({"epoch": 3}, {"epoch": 2})


def test_save_says_what_the_disk_said_where_torch_says_something_else(tmp_path, torch_saves, refusal):
    # Torch ends in an error of its own about positions; the disk's is behind it
    def save_over_limit(content: Any, stream: Any) -> None:
        try:
            raise OSError(27, "File too large")
        except OSError:
            raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 768 vs 662")  # noqa: B904

    torch_saves(save_over_limit)
    message = refusal(lambda: save(tmp_path / NEWEST, {}))
    assert "([Errno 27] File too large): make room" in message
    (tmp_path / "file").touch()  # where no room would help
    message = refusal(lambda: save(tmp_path / "file" / NEWEST, {}))
    assert message.startswith(f"{tmp_path / 'file' / NEWEST} cannot be written ([Errno ")
    assert "make room" not in message


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
)
def test_errors_that_are_not_the_disks_pass(whole, tmp_path, monkeypatch, torch_saves, error):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    torch_saves(fail)
    with pytest.raises(type(error)) as caught:
        save(tmp_path / NEWEST, {})
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []
    if "memory" in str(error) and "illegal" not in str(error):  # a file is not damaged where memory is too small for it
        (tmp_path / NEWEST).write_bytes(whole)
        monkeypatch.setattr(ckpt.torch, "load", fail)
        with pytest.raises(type(error)):
            load(tmp_path / NEWEST)


def test_save_is_not_disturbed_by_another_writer(tmp_path, torch_saves):
    # A dying process of an earlier run writes the same file in the middle of this one's write
    path, torch_save = tmp_path / NEWEST, torch.save

    def slowly(content: Any, stream: Any) -> None:
        stream.write(b"")
        torch_saves(torch_save)
        save(path, {"run": "earlier"})
        assert load(path) == {"run": "earlier"}
        torch_save(content, stream)

    torch_saves(slowly)
    save(path, {"run": "later"})
    assert load(path) == {"run": "later"}
    assert [file.name for file in tmp_path.iterdir()] == [NEWEST]


def test_save_removes_what_dead_processes_left_of_the_same_file(tmp_path):
    dead, others = ".newest.pt.dead.partial", {".newest.pt.alive.partial": 60, ".best.pt.dead.partial": 7200, "a": 7200}
    for name, age in ({dead: 7200} | others).items():
        (tmp_path / name).write_bytes(b"half a checkp")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    save(tmp_path / NEWEST, {})
    assert {path.name for path in tmp_path.iterdir()} == {*others, NEWEST}


def test_save_makes_the_file_and_then_its_renames_durable(tmp_path, monkeypatch):
    steps, newest, previous = [], tmp_path / NEWEST, tmp_path / PREVIOUS
    replace, fsync = Path.replace, os.fsync
    is_killed = False

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        if is_killed and target == newest:
            raise KilledError
        steps.append(f"rename to {target.name}")
        return replace(self, target)

    save(newest, {"epoch": 1})
    monkeypatch.setattr(ckpt.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    save(newest, {"epoch": 2}, previous=previous)
    assert steps == ["file", "rename to previous.pt", "rename to newest.pt", "folder"]
    is_killed = True  # between the two renames
    with pytest.raises(KilledError):
        save(newest, {"epoch": 3}, previous=previous)
    assert (newest.exists(), load(previous)) == (False, {"epoch": 2})
    is_killed = False
    save(newest, {"epoch": 4}, previous=previous)
    assert (load(newest), load(previous)) == ({"epoch": 4}, {"epoch": 2})


# What is refused


CUTS = (0, 1, 7, 39, 40, 41, 300, -1, -16, -32, -33, -40, -41, -48, -100)
BEHIND = (b"\0", b"FEWTILE1", bytes(TRAILER))
OTHERS = (b"hello world", b"GIF89a", b"\x89PNG\r\n", b"PK\x03\x04", b"{}")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_load_refuses_files_cut_anywhere_or_with_more_or_of_another_kind(whole, scratch, refusal):
    for content in (*(whole[:length] for length in CUTS), *(whole + more for more in BEHIND), *OTHERS):
        scratch.write_bytes(content)
        assert is_refused_as_damaged(scratch, refusal)
    save(scratch, {"path": Path("x")})  # code
    assert is_refused_as_damaged(scratch, refusal)
    torch.save({"tensor": torch.arange(1000)}, scratch)  # torch's own file has no checksum
    assert is_refused_as_damaged(scratch, refusal)


@given(share=st.floats(0, 1, exclude_max=True), from_end=st.integers(1, TRAILER), bit=st.integers(0, 7))
def test_load_refuses_a_flipped_bit_anywhere_and_in_the_trailer(whole, scratch, share, from_end, bit, refusal):
    for position in (int(share * len(whole)), -from_end):
        content = bytearray(whole)
        content[position] ^= 1 << bit
        scratch.write_bytes(content)
        assert is_refused_as_damaged(scratch, refusal)


def test_save_writes_what_torch_itself_reads_and_load_unpickles_nothing_of_a_damaged_file(
    whole, scratch, monkeypatch, refusal
):
    scratch.write_bytes(whole)
    for content in (load(scratch), *(torch.load(scratch, weights_only=True, mmap=mmap) for mmap in (False, True))):
        assert torch.equal(content["tensor"], torch.arange(1000))
    unpickled = []
    monkeypatch.setattr(ckpt.torch, "load", lambda *_, **__: unpickled.append(1) or {})
    assert (load(scratch), unpickled) == ({}, [1])
    scratch.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    assert is_refused_as_damaged(scratch, refusal)
    assert unpickled == [1]


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], None])
def test_load_refuses_content_that_is_no_dict_and_a_missing_file(tmp_path, content, refusal):
    path = tmp_path / NEWEST
    if content is None:
        assert refusal(lambda: load(path)) == f"{path} does not exist, but must be a checkpoint: check the path"
    else:
        save(path, content)
        assert refusal(lambda: load(path)) == f"{path} is no checkpoint of a trial: use another one"
