"""A study's folder: who may begin in it, what an error or a kill leaves there, and what is said of its disk."""

import contextlib
import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from studies import command_line as cli
from studies.files import folder, lock
from studies.files.disk import disk_errors_in_one_line
from studies.search.coordinator import Coordinator
from studies.search.ledger import Ledger
from studies.search.plans import Search
from studies.spec import StudySpec
from trainables.common.errors import UserError

PROVENANCE: dict[str, Any] = {"study_id": "f00", "segments": []}


def make_spec(**changes: object) -> StudySpec:
    return cli.make_spec({"profile": "smoke", "tiles": [5]} | changes)


def names(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*"))


def refusal(out: Path, *, resume: bool = False) -> str:
    """What is said to who would drive a study in the folder."""
    with pytest.raises(UserError) as refused, folder.hold_folder(out, resume=resume):
        pass
    return str(refused.value)


# Who may begin


@pytest.mark.parametrize("kind", ["missing", "empty", "only a lock"])
def test_free_folder_is_free(tmp_path, kind):
    out = tmp_path / "study"
    if kind != "missing":
        out.mkdir()
    if kind == "only a lock":
        (out / lock.NAME).touch()
    folder.check_free(out)
    assert out.exists() == (kind != "missing")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("a file", "exists and is not empty: choose another folder, or remove it"),
        ("notes", "exists and is not empty: choose another folder, or remove it"),
        ("a study", "holds a study: resume it with --resume, or choose another folder"),
        ("a long name", "cannot be read (File name too long): choose another folder"),
    ],
)
def test_other_folders_are_refused_and_left_alone(tmp_path, kind, words):
    out = tmp_path / ("x" * 300 if kind == "a long name" else "study")
    if kind == "a file":
        out.write_text("a file")
    elif kind == "notes":
        (out / "notes").mkdir(parents=True)
    elif kind == "a study":
        out.mkdir()
        folder.write_study(out, make_spec(), PROVENANCE)
    before = names(tmp_path)
    with pytest.raises(UserError, match=re.escape(f"--out {out} {words}")):
        folder.check_free(out)
    if kind in ("notes", "a study"):
        assert refusal(out) == f"--out {out} {words}"
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "reason"), [("file/study", "Not a directory"), ("new/" + "x" * 300, "File name too long")]
)
def test_folder_that_cannot_be_made_is_refused(tmp_path, name, reason):
    (tmp_path / "file").touch()
    assert refusal(tmp_path / name) == f"--out {tmp_path / name} cannot be made ({reason}): choose another folder"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_folder_of_somebody_else_is_refused(tmp_path):
    """The system asks root for no permission: this looks as nobody."""
    out = tmp_path / "hidden" / "study"
    out.parent.mkdir(mode=0o700)
    words = re.escape(f"--out {out} cannot be read (Permission denied): choose another folder")
    os.seteuid(65534)
    try:
        for look in (folder.check_free, folder.has_study):
            with pytest.raises(UserError, match=words):
                look(out)
    finally:
        os.seteuid(0)


# What an error or a kill leaves


@contextlib.contextmanager
def failing(out: Path) -> Iterator[None]:
    """A driver that holds the folder and ends with an error; which must be the one that comes out."""
    claim, error = folder.hold_folder(out, resume=False), KeyError("what went wrong")
    claim.__enter__()
    yield
    assert claim.__exit__(KeyError, error, None) is False


def leave_beginnings(out: Path) -> Ledger:
    """What a driver leaves that is killed just before the study begins."""
    ledger = Ledger(out / folder.LEDGER, {"unet-5": "unet"}, study_id="f00")
    for name in (".study.yaml.part", ".permit-1", lock.NAME):
        (out / name).touch()
    assert names(out) == [".lock", ".permit-1", ".study.yaml.part", "optuna.db", "optuna.db-shm", "optuna.db-wal"]
    return ledger


@pytest.mark.parametrize("name", ["runs/study", "."])
def test_error_before_the_study_began_leaves_all_as_it_was(tmp_path, name):
    with failing(tmp_path / name):
        leave_beginnings(tmp_path / name)
    assert tmp_path.is_dir()
    assert names(tmp_path) == []


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_driver_left_that_was_killed_before_the_study_began_is_cleared(tmp_path, resume):
    leave_beginnings(tmp_path)
    folder.check_free(tmp_path)
    with folder.hold_folder(tmp_path, resume=resume):
        assert names(tmp_path) == [".lock"]
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"x" * 8, b"x" * 8192])
def test_ledger_that_is_none_is_left_alone_unless_it_is_empty(tmp_path, content):
    (tmp_path / folder.LEDGER).touch()
    folder.check_free(tmp_path)
    (tmp_path / folder.LEDGER).write_bytes(content)
    for resume in (False, True):
        assert "exists and is not empty" in refusal(tmp_path, resume=resume)
    assert (tmp_path / folder.LEDGER).read_bytes() == content


def test_trials_of_a_study_that_lost_its_spec_are_never_cleared(tmp_path):
    spec = make_spec(architectures=["unet"])
    ledger = leave_beginnings(tmp_path)
    Coordinator(spec, ledger, Search(spec)).next()
    ledger.close()
    before = names(tmp_path)
    for resume in (False, True):
        assert "exists and is not empty" in refusal(tmp_path, resume=resume)
    assert set(before) - set(names(tmp_path)) == {lock.NAME}
    assert len(Ledger(tmp_path / folder.LEDGER, {"unet-5": "unet"}, study_id="f00").trials("unet-5")) == 1


def test_error_leaves_what_others_did_meanwhile(tmp_path):
    out = tmp_path / "runs" / "study"
    with failing(out):
        (out / "notes.txt").touch()
    assert names(tmp_path) == ["runs", "runs/study", "runs/study/notes.txt"]
    with failing(tmp_path / "other"):
        shutil.rmtree(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_everything_stays_once_the_study_began(tmp_path):
    out = tmp_path / "study"
    with failing(out):
        (out / folder.LEDGER).write_bytes(b"trials")
        folder.write_study(out, make_spec(), PROVENANCE)
        (out / ".permit-1").touch()
    assert names(out) == [".permit-1", "optuna.db", "study.yaml"]
    assert (out / folder.LEDGER).read_bytes() == b"trials"
    with folder.hold_folder(out, resume=True):
        assert (out / folder.LEDGER).read_bytes() == b"trials"
    assert names(out) == [".permit-1", "optuna.db", "study.yaml"]


def test_folders_of_arms_have_no_colon_and_are_different(tmp_path):
    """Some file systems take no colon, and `scp` reads a host before it."""
    arms = ["unet_resnet34-24", "unet:resnet34-24", "unet:resnet34@frozen-24", "unet:resnet34.a1_in1k-24"]
    for of in (
        folder.trial_folder,
        folder.beat_file,
        lambda out, *trial: folder.predictions_folder(out, "val", *trial),
    ):
        found = [str(of(tmp_path, arm, 0).relative_to(tmp_path)) for arm in arms]
        assert len(set(found)) == len(arms)
        assert not any(":" in path for path in found)


# Errors of the disk, which are said in one line, and others, which are left as the mistakes that they are

OUT = Path("/runs/study")


def os_error(number: int, path: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), None if path is None else str(path))


def sqlite_error(name: str, words: str) -> sqlalchemy.exc.OperationalError:
    return sqlalchemy.exc.OperationalError("INSERT", {}, bare_error(name, words))


def bare_error(name: str, words: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (os_error(errno.ENOSPC), "/runs/study cannot be written or read ([Errno 28] No space left on device): make"),
        (os_error(errno.EROFS, OUT / "a"), "/runs/study/a cannot be written or read ("),
        (os_error(errno.EIO, Path("/tiles/a.tif")), "/tiles/a.tif cannot be written or read ("),
        (sqlite_error("SQLITE_FULL", "database or disk is full"), "/runs/study cannot be written or read (database or"),
        (bare_error("SQLITE_FULL", "database or disk is full"), "/runs/study cannot be written or read (database or"),
        (sqlite_error("SQLITE_IOERR_WRITE", "disk I/O error"), "/runs/study cannot be written or read (disk I/O"),
        (
            sqlite_error("SQLITE_READONLY", "attempt to write"),
            "/runs/study may not be used (attempt to write): make it",
        ),
        (os_error(errno.EACCES, OUT / "b"), "/runs/study/b may not be used ([Errno 13] Permission denied"),
    ],
)
def test_disk_and_its_permissions_are_said_in_one_line(error, words):
    with pytest.raises(UserError) as told, disk_errors_in_one_line(OUT):
        raise error
    assert str(told.value).startswith(words)
    assert str(told.value).endswith("what was done is kept, --resume continues")


@pytest.mark.parametrize(
    "error",
    [
        os_error(errno.ENOENT, OUT / "selection.json"),
        os_error(errno.ENOENT, Path("/opt/fewtile/analysis/web/page.html")),
        os_error(errno.EACCES, Path("/opt/fewtile/analysis/web/page.html")),
        os_error(errno.EMFILE),
        ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)),
        TimeoutError("no answer"),
        sqlite_error("SQLITE_ERROR", "no such table: trials"),
        KeyError("arm"),
    ],
)
def test_all_else_is_no_matter_of_the_disk(error):
    with pytest.raises(type(error)) as raised, disk_errors_in_one_line(OUT):
        raise error
    assert raised.value is error
