"""A file of JSON lines that only grows: each line carries its own hash and that of the line before it.

Lines are appended under a lock and flushed to the disk, so that a crash can only cut the last one off.
"""

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from trainables.common.errors import UserError
from trainables.common.whole_files import text_digest

SAY_SECONDS = 5.0
"""That another process may hold a register's file before a message says so."""

LOCK_SECONDS = 60.0
"""That it may hold it at all."""

Line = dict[str, Any]
"""One line: event, attempt, study, study_id, arm, signatures, tiles_digest, at (ISO time, UTC), prev and hash; for an
opening also tiles (id to digest), for a reopening why, for a result result; of a further test set also test_set."""


def seal_line(content: Line, prev: str) -> Line:
    """A line with its time, the hash of the line before it (empty for the first) and its own."""
    whole = content | {"at": datetime.now(UTC).isoformat(timespec="microseconds"), "prev": prev}
    line: Line = json.loads(json.dumps(whole))  # the hash is of what a reader will find: keys of text, lists for tuples
    return line | {"hash": _hash(line)}


def _hash(line: Line) -> str:
    content = {key: value for key, value in line.items() if key != "hash"}
    return text_digest(json.dumps(content, sort_keys=True, separators=(",", ":")))


def read_lines(path: Path, *, is_chained: bool = False) -> tuple[list[Line], list[str]]:
    """Reads the whole lines of a file, with notes on the others; nothing where there is no such file.

    A line that is no JSON was cut off by a crash, and nothing was decoded under it, since lines are flushed before
    tiles are read. Where the lines are chained, it can be no former line: the next one would not follow.
    """
    try:
        texts = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}), but it tells who opened the test tiles: make it readable"
        ) from error
    lines: list[Line] = []
    notes = []
    unreadable = None
    for number, text in enumerate(texts[:-1] if texts[-1] == b"" else texts, start=1):
        try:
            line = json.loads(text)
        except ValueError:
            notes.append(f"{path}, line {number}: cut off while it was written, so nothing was opened under it")
            unreadable = number
            continue
        if not (isinstance(line, dict) and line.get("hash") == _hash(line)):
            raise UserError(
                f"{path}, line {number}: its hash does not fit what it says, but a line must stay as it was written: "
                "put the file back as it was"
            )
        if is_chained and line["prev"] != (lines[-1]["hash"] if lines else ""):
            wrong = (
                f"{path}, line {number} does not follow the line before it: one was removed or put in"
                if unreadable is None
                else f"{path}, line {unreadable} is no JSON, and line {number} does not follow the one before it"
            )
            raise UserError(f"{wrong}; put the file back as it was")
        lines.append(line)
        unreadable = None
    return lines, notes


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """A descriptor that appends to `path`, while no other process holds one.

    Raises:
        UserError: Another process holds one for longer than the milliseconds that a line takes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)  # ends the lock


def _acquire(descriptor: int, path: Path) -> None:
    """Acquires the lock of an open file; says on stderr what it waits for."""
    began, has_said = time.monotonic(), False
    while not lock_descriptor(descriptor, blocking=False):
        waited = time.monotonic() - began
        if waited >= LOCK_SECONDS:
            raise UserError(
                f"{path} has been locked by another process for {waited:.0f} s, but a line takes milliseconds: end "
                f"what holds it (`lsof {path}` names it), then continue"
            )
        if waited >= SAY_SECONDS and not has_said:
            has_said = True
            sys.stderr.write(f"waiting for {path}, which another process has locked\n")
        time.sleep(0.05)


def append_lines(descriptor: int, path: Path, lines: list[Line]) -> None:
    """Appends lines in one write, after the end of a line that was cut off, and waits until the disk has them."""
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    size = os.fstat(descriptor).st_size
    if size:
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        if os.read(descriptor, 1) != b"\n":
            content = b"\n" + content
    if os.write(descriptor, content) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)
    if not size and sys.platform != "win32":  # the name of a new file is the folder's to keep
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_writable(path: Path) -> bool:
    """Whether lines could be appended to a file, or it could be made."""
    if path.exists():
        return path.is_file() and os.access(path, os.W_OK)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return folder.is_dir() and os.access(folder, os.W_OK)
