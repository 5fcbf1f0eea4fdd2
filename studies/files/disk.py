"""Turns errors of a full, failing or read-only disk into one line; all other errors pass unchanged."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError

from trainables.common.errors import UserError, is_disk_trouble

DISK = ("SQLITE_FULL", "SQLITE_IOERR")
FORBIDDEN = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")
"""How SQLite's names for a full or failing disk, and for a file that may not be used, begin.

Source: sqlite.org/rescode.html.
"""


@contextlib.contextmanager
def disk_errors_in_one_line(out: Path) -> Iterator[None]:
    """Raises UserError for a full, failing or read-only disk, and for a file of the study that the user may not use.

    All other errors pass unchanged: they may be our own mistakes.

    Args:
        out: The study's folder.
    """
    try:
        yield
    except (sqlite3.OperationalError, sqlalchemy.exc.OperationalError, StorageInternalError, OSError) as error:
        cause = getattr(error.__cause__ or error, "orig", error)
        where = Path(getattr(error, "filename", None) or out)
        name = str(getattr(cause, "sqlite_errorname", ""))
        kept = "what was done is kept, --resume continues"
        if is_disk_trouble(cause) or name.startswith(DISK):
            raise UserError(
                f"{where} cannot be written or read ({cause}): make room or mend the disk; {kept}"
            ) from error
        if name.startswith(FORBIDDEN) or (isinstance(cause, PermissionError) and where.is_relative_to(out)):
            raise UserError(f"{where} may not be used ({cause}): make it readable and writable; {kept}") from error
        raise
