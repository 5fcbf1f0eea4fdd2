"""Which errors inside a study are said in one line, and which are left as the mistakes that they are."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy

from studies.files.disk import disk_errors_in_one_line
from trainables.common.errors import UserError

OUT = Path("/runs/study")


def os_error(number: int, path: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), None if path is None else str(path))


def sqlite_error(name: str, words: str) -> sqlalchemy.exc.OperationalError:
    original = sqlite3.OperationalError(words)
    original.sqlite_errorname = name
    return sqlalchemy.exc.OperationalError("INSERT", {}, original)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (os_error(errno.ENOSPC), "/runs/study cannot be written or read ([Errno 28] No space left on device): make"),
        (os_error(errno.EROFS, OUT / "a"), "/runs/study/a cannot be written or read ("),
        (os_error(errno.EIO, Path("/tiles/a.tif")), "/tiles/a.tif cannot be written or read ("),
        (sqlite_error("SQLITE_FULL", "database or disk is full"), "/runs/study cannot be written or read (database or"),
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
