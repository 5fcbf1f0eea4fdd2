"""The ledger's file, read without Optuna: whether it is whole and this study's, and what was tried so far.

Optuna takes a second to import and more to open a storage, which a person who asks how a study is doing would wait for.
The tables are those of Optuna's relational storage.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.common.errors import UserError

IDENTITY = "study_id"
"""The attribute of every arm that says whose ledger it is."""

_TIMEOUT_SECONDS = 60.0
"""For a driver that writes to end its transaction."""

_FINISHED = ("COMPLETE", "PRUNED", "FAIL")


@dataclass(slots=True)
class StoredTrial:
    """A trial as it is on record.

    Attributes:
        number: In its arm, from 0.
        state: Optuna's word for it, such as `COMPLETE` or `RUNNING`.
        value: Its final value; None where it has not ended or failed.
        best: The best value so far by epoch.
        attributes: See `MemoryLedger`.
    """

    number: int
    state: str
    value: float | None = None
    best: dict[int, float] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.state in _FINISHED


def check_ledger(path: Path, study_id: str) -> None:
    """Refuses a ledger that is gone, torn or not this study's, without changing it.

    Raises:
        UserError: The file does not exist, is damaged, or is another study's.
    """
    with _opened(path, study_id):
        pass


def read_trials(path: Path, study_id: str) -> dict[str, list[StoredTrial]]:
    """The trials of every arm by number, all as of one moment.

    Raises:
        UserError: As `check_ledger`.
    """
    with _opened(path, study_id) as connection:
        arms = dict(connection.execute("SELECT study_id, study_name FROM studies ORDER BY study_id"))
        found: dict[str, list[StoredTrial]] = {name: [] for name in arms.values()}
        trials: dict[int, StoredTrial] = {}
        rows = connection.execute("SELECT trial_id, study_id, number, state FROM trials ORDER BY study_id, number")
        for key, arm, number, state in rows:
            trials[key] = StoredTrial(number, state)
            found[arms[arm]].append(trials[key])
        for key, value in connection.execute("SELECT trial_id, value FROM trial_values"):
            trials[key].value = value
        for key, epoch, best in connection.execute(
            "SELECT trial_id, step, intermediate_value FROM trial_intermediate_values"
        ):
            trials[key].best[epoch] = best
        for key, name, text in connection.execute("SELECT trial_id, key, value_json FROM trial_user_attributes"):
            trials[key].attributes[name] = json.loads(text)
        return found


@contextmanager
def _opened(path: Path, study_id: str) -> Iterator[sqlite3.Connection]:
    """A transaction that reads the ledger, which was found to be whole and this study's."""
    if not path.exists():
        raise UserError(f"{path} is gone, but holds what was done: put it back, or start in another folder")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_TIMEOUT_SECONDS)
        try:
            connection.execute("BEGIN")
            # Reading comes after SQLite's own recovery from the write-ahead log
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            found = connection.execute(
                "SELECT DISTINCT value_json FROM study_user_attributes WHERE key = ?", (IDENTITY,)
            ).fetchall()
            if found != [(f'"{study_id}"',)]:
                raise UserError(
                    f"{path} is not the ledger of study.yaml beside it: put that one back, or start in another folder"
                )
            yield connection
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
            raise UserError(
                f"{path} cannot be read or written now ({error}), and may well be whole: make room, mend the disk "
                "or its permissions"
            ) from error
        raise UserError(
            f"{path} is damaged or no ledger ({error}): put a whole copy of it back, or start in another folder"
        ) from error
