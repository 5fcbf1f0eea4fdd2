"""One driver per study folder: an advisory lock that the system releases however its holder ends."""

import contextlib
import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import lock_descriptor

from trainables.common.errors import UserError

try:
    import fcntl  # for the shared lock of those who only look, which filelock does not have
except ImportError:  # not on Windows: nobody is told there who drives
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"

LOOK_SECONDS = 0.2
"""`holder` has the lock for less than that while it looks; a driver that starts meanwhile waits for it."""


@contextlib.contextmanager
def only_driver(out: Path) -> Iterator[None]:
    """Holds the folder's lock; the file goes when it is given back.

    Raises:
        UserError: Another driver holds it, or the folder cannot be written.
    """
    path = out / NAME
    try:
        descriptor = _take(path)
    except BlockingIOError as error:
        raise UserError(
            f"--out {out} is in use by {_describe_holder(path)}: wait for its end, stop it, or choose another folder"
        ) from error
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({error.strerror}): choose another folder") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def holder(out: Path) -> str | None:
    """Describes the process that runs the study in this folder now; None when none does."""
    path = out / NAME
    if fcntl is None or not path.exists():
        return None
    try:
        with path.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _describe_holder(path)
    return None


def _take(path: Path) -> int:
    """A descriptor with the lock of the file that is there now, which tells who has it."""
    give_up_at = time.monotonic() + LOOK_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not lock_descriptor(descriptor, blocking=False):
                if time.monotonic() >= give_up_at:
                    raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(path))
                time.sleep(LOOK_SECONDS / 10)
            elif _is_at(path, descriptor):  # else its holder removed it in between: take the lock of the new one
                _sign(path, descriptor)
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _sign(path: Path, descriptor: int) -> None:
    holder = {"pid": os.getpid(), "host": platform.node(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _describe_holder(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return f"process {content['pid']} on {content['host']} since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
