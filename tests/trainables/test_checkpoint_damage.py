"""Checkpoints after a kill or on a bad disk: what is refused, what is skipped, and what stays to go on from."""

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables import checkpoints as ckpt
from trainables.checkpoints import BEST, NEWEST, PREVIOUS, KeptBest, kept_best, load, newest_valid, save

TRAILER = 8 + 32
"""Bytes of the magic and of a SHA-256."""


class KilledError(BaseException):
    """Ends the process, as far as the code under test can tell."""


def damaged(path: Path) -> str:
    return f"{path} is damaged or no checkpoint: use another one"


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


# One file


@pytest.mark.parametrize("mmap", [False, True])
def test_save_writes_what_torch_itself_reads(whole, scratch, mmap):
    scratch.write_bytes(whole)
    content = torch.load(scratch, weights_only=True, mmap=mmap)
    assert torch.equal(content["tensor"], torch.arange(1000))
    assert torch.equal(load(scratch)["tensor"], content["tensor"])


@pytest.mark.parametrize("length", [0, 1, 7, 39, 40, 41, -1, -16, -32, -33, -40, -41, -48, -100])
def test_load_refuses_a_file_cut_anywhere(whole, scratch, length, refusal):
    scratch.write_bytes(whole[:length])
    assert refusal(lambda: load(scratch)) == damaged(scratch)


def test_load_refuses_torchs_own_file(scratch, refusal):
    torch.save({"tensor": torch.arange(1000)}, scratch)
    assert refusal(lambda: load(scratch)) == damaged(scratch)


@pytest.mark.parametrize("more", [b"\0", b"FEWTILE1", bytes(TRAILER)])
def test_load_refuses_a_file_with_something_behind_it(whole, scratch, more, refusal):
    scratch.write_bytes(whole + more)
    assert refusal(lambda: load(scratch)) == damaged(scratch)


@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_load_refuses_a_flipped_bit_anywhere(whole, scratch, share, bit, refusal):
    content = bytearray(whole)
    content[int(share * len(content))] ^= 1 << bit
    scratch.write_bytes(content)
    assert refusal(lambda: load(scratch)) == damaged(scratch)


def test_load_refuses_a_flipped_byte_of_the_trailer(whole, scratch, refusal):
    for position in range(1, TRAILER + 1):
        content = bytearray(whole)
        content[-position] ^= 0xFF
        scratch.write_bytes(content)
        assert refusal(lambda: load(scratch)) == damaged(scratch)


def test_load_unpickles_nothing_of_a_damaged_file(whole, scratch, monkeypatch, refusal):
    unpickled = []
    monkeypatch.setattr(ckpt.torch, "load", lambda *_, **__: unpickled.append(1) or {})
    scratch.write_bytes(whole)
    assert (load(scratch), unpickled) == ({}, [1])
    content = bytearray(whole)
    content[-100] ^= 1
    scratch.write_bytes(content)
    assert refusal(lambda: load(scratch)) == damaged(scratch)
    assert unpickled == [1]


def test_memory_that_is_too_small_is_no_damage(whole, scratch, monkeypatch):
    def load_much(*_: Any, **__: Any) -> None:
        torch.empty(2**50)

    scratch.write_bytes(whole)
    monkeypatch.setattr(ckpt.torch, "load", load_much)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load(scratch)
    monkeypatch.setattr(ckpt.torch, "save", load_much)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        save(scratch, {})
    assert [path.name for path in scratch.parent.iterdir()] == [NEWEST]


def test_a_device_that_fails_is_no_full_disk(scratch, monkeypatch):
    def fail(*_: Any) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(ckpt.torch, "save", fail)
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        save(scratch, {})


# A folder


def test_save_is_not_disturbed_by_another_writer(tmp_path, monkeypatch):
    # A dying process of an earlier run writes the same file in the middle of this one's write
    path, torch_save = tmp_path / NEWEST, torch.save

    def slowly(content: Any, stream: Any) -> None:
        stream.write(b"")
        monkeypatch.setattr(ckpt.torch, "save", torch_save)
        save(path, {"run": "earlier"})
        assert load(path) == {"run": "earlier"}
        torch_save(content, stream)

    monkeypatch.setattr(ckpt.torch, "save", slowly)
    save(path, {"run": "later"})
    assert load(path) == {"run": "later"}
    assert [file.name for file in tmp_path.iterdir()] == [NEWEST]


def test_save_removes_what_dead_processes_left_of_the_same_file(tmp_path):
    ages = {
        ".newest.pt.dead.partial": 7200,
        ".newest.pt.alive.partial": 60,
        ".best.pt.dead.partial": 7200,
        "mine": 7200,
    }
    for name, age in ages.items():
        (tmp_path / name).write_bytes(b"half a checkp")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    save(tmp_path / NEWEST, {})
    assert {path.name for path in tmp_path.iterdir()} == ages.keys() - {".newest.pt.dead.partial"} | {NEWEST}


def test_save_makes_the_file_and_then_its_renames_durable(tmp_path, monkeypatch):
    steps, path = [], tmp_path / NEWEST
    replace, fsync = Path.replace, os.fsync

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        steps.append(f"rename to {target.name}")
        return replace(self, target)

    save(path, {"epoch": 1})
    monkeypatch.setattr(ckpt.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    save(path, {"epoch": 2}, previous=tmp_path / PREVIOUS)
    assert steps == ["file", "rename to previous.pt", "rename to newest.pt", "folder"]


def test_save_works_where_folders_cannot_be_synced(tmp_path, monkeypatch):
    fsync = os.fsync

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(ckpt.os, "fsync", refused)
    save(tmp_path / NEWEST, {"epoch": 1})
    assert load(tmp_path / NEWEST) == {"epoch": 1}


def test_save_keeps_the_one_before(tmp_path):
    newest, previous = tmp_path / NEWEST, tmp_path / PREVIOUS
    for epoch in (1, 2, 3):
        save(newest, {"epoch": epoch}, previous=previous)
        assert load(newest) == {"epoch": epoch}
        assert previous.exists() == (epoch > 1)
        assert epoch == 1 or load(previous) == {"epoch": epoch - 1}
    assert {path.name for path in tmp_path.iterdir()} == {NEWEST, PREVIOUS}


def test_save_that_fails_moves_nothing(tmp_path, monkeypatch, refusal):
    newest, previous = tmp_path / NEWEST, tmp_path / PREVIOUS
    for epoch in (1, 2):
        save(newest, {"epoch": epoch}, previous=previous)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(content: Any, stream: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ckpt.torch, "save", full)
    assert "No space left" in refusal(lambda: save(newest, {"epoch": 3}, previous=previous))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_save_killed_between_its_renames_leaves_the_one_before(tmp_path, monkeypatch):
    newest, previous, replace = tmp_path / NEWEST, tmp_path / PREVIOUS, Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target == newest:
            raise KilledError
        return replace(self, target)

    save(newest, {"epoch": 1}, previous=previous)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KilledError):
            save(newest, {"epoch": 2}, previous=previous)
    assert not newest.exists()
    assert load(previous) == {"epoch": 1}
    save(newest, {"epoch": 3}, previous=previous)
    assert (load(newest), load(previous)) == ({"epoch": 3}, {"epoch": 1})


# Which one to go on from


@pytest.fixture
def checkpoint(make_config):
    """Writes the checkpoint of a configuration, as far as it is looked at."""

    def write(path: Path, **changes: Any) -> None:
        parts = dict.fromkeys(("records", "frozen_digest", "model", "ema", "optimizer", "schedule", "scaler"))
        save(path, parts | {"config": make_config(**changes).model_dump_json()})

    return write


def test_newest_valid_of_nothing_is_none(make_config, tmp_path):
    assert newest_valid(tmp_path / "nowhere", make_config()) is None
    assert newest_valid(tmp_path, make_config()) is None


@pytest.mark.parametrize("case", ["whole", "missing", "empty", "cut", "flipped", "of another", "a best", "of then"])
def test_newest_valid_skips_what_is_of_no_use(make_config, checkpoint, tmp_path, case):
    config, newest, previous = make_config(), tmp_path / NEWEST, tmp_path / PREVIOUS
    checkpoint(newest)
    checkpoint(previous)
    content = newest.read_bytes()
    if case == "missing":  # killed between two renames
        newest.unlink()
    elif case == "empty":
        newest.write_bytes(b"")
    elif case == "cut":
        newest.write_bytes(content[:-1])
    elif case == "flipped":
        newest.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif case == "of another":
        checkpoint(newest, lr=2e-3)
    elif case == "a best":
        save(newest, {key: load(newest).get(key) for key in ("config", "frozen_digest", "model", "metrics")})
    elif case == "of then":  # with a setting that there is no more
        settings = json.loads(load(newest)["config"]) | {"momentum": 0.9}
        save(newest, load(newest) | {"config": json.dumps(settings)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert newest_valid(tmp_path, config) == (newest if case == "whole" else previous)
    previous.unlink()
    assert newest_valid(tmp_path, config) == (newest if case == "whole" else None)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        name: content for name, content in before.items() if name != PREVIOUS
    }


def test_newest_valid_skips_a_previous_of_no_use(make_config, checkpoint, tmp_path):
    checkpoint(tmp_path / PREVIOUS, init_seed=5)
    assert newest_valid(tmp_path, make_config()) is None
    assert newest_valid(tmp_path, make_config(init_seed=5)) == tmp_path / PREVIOUS


def test_kept_best_is_that_of_the_same_configuration(make_config, tmp_path):
    config = make_config(val_center_px=32)
    content = {"config": config.model_dump_json(), "info": "", "epoch": 7, "frozen_digest": "", "model": {}}
    nothing = KeptBest()
    assert kept_best(tmp_path, config) == nothing
    assert nothing.judged == -np.inf
    save(tmp_path / BEST, content | {"metrics": {"val/iou_center32": 0.25, "val/f1_center32": 0.5}})
    assert kept_best(tmp_path, config) == (7, 0.25)
    assert kept_best(tmp_path, make_config()) == nothing
    (tmp_path / BEST).write_bytes((tmp_path / BEST).read_bytes()[:-1])
    assert kept_best(tmp_path, config) == nothing
