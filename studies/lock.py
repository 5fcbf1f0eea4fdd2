"""One driver per study folder: an advisory lock that the system releases however its holder ends."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from trainables.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows: nothing guards the folder there
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@contextlib.contextmanager
def only_driver(out: Path) -> Iterator[None]:
    """Holds the folder's lock; the file goes when it is given back.

    Raises:
        UserError: Another driver holds it, or the folder cannot be written.
    """
    path = out / NAME
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(f"--out {out} cannot be written ({error.strerror}): choose another folder") from error
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        except BlockingIOError as error:
            os.close(descriptor)
            raise UserError(
                f"--out {out} is in use by {_told(path)}: wait for its end, stop it, or choose another folder"
            ) from error
        os.close(descriptor)  # its holder removed the file in between: take the lock of the new one
    holder = {"pid": os.getpid(), "host": platform.node(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def holder(out: Path) -> str | None:
    """Who drives the study in this folder now, in words; None when nobody does."""
    path = out / NAME
    if fcntl is None or not path.exists():
        return None
    with path.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _told(path)
    return None


def _told(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return f"process {content['pid']} on {content['host']} since {content['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
