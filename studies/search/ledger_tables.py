"""Writes the tables of Optuna's relational storage, without its layers: these take 2 to 20 ms a call, for 0.1 ms here.

The tables are those of version 12 of its schema, which Optuna makes and reads: see `optuna.storages`.
"""

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial

PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")
SHARED_PRAGMAS = ("journal_mode=DELETE", "synchronous=FULL")
"""Write-ahead logging makes a write four times cheaper (measured), but needs memory that all readers share, so it is
not for files that several machines see (sqlite.org/wal.html)."""

TIMEOUT_SECONDS = 60.0
"""For a reader, such as a dashboard, to end."""


class LedgerTables:
    """The tables of a file that Optuna has made; each call is a transaction, or part of one.

    Args:
        path: The file.
        is_shared: Whether it lies on storage that several machines share.

    Raises:
        sqlite3.Error: The file cannot be written.
    """

    def __init__(self, path: Path, *, is_shared: bool):
        self._file = sqlite3.connect(path, timeout=TIMEOUT_SECONDS, isolation_level=None)  # no transaction but ours
        for pragma in SHARED_PRAGMAS if is_shared else PRAGMAS:
            self._file.execute(f"PRAGMA {pragma}")
        self._arms: dict[str, int] = dict(self._file.execute("SELECT study_name, study_id FROM studies"))
        rows = self._file.execute("SELECT study_name, number, trial_id FROM trials JOIN studies USING (study_id)")
        self._trials: dict[tuple[str, int], int] = {(arm, number): key for arm, number, key in rows}
        self._has_ended = False

    @property
    def arms(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._arms)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written within is written together, or not at all; within another it is part of that.

        Where a trial ended, it is on the disk afterwards, since checkpoints are removed on it; unless somebody reads an
        older state just then, and it comes there with the next one.
        """
        if self._file.in_transaction:
            yield
            return
        try:
            self._file.execute("BEGIN IMMEDIATE")
            yield
            self._file.execute("COMMIT")
        except BaseException:
            self._file.rollback()
            raise
        if self._has_ended:
            self.checkpoint("PASSIVE")
            self._has_ended = False

    def add_arm(self, arm: str, attributes: Mapping[str, Any]) -> None:
        """Makes an arm where there is none of that name, and writes its attributes."""
        with self.transaction():
            if arm not in self._arms:
                key = self._insert("studies", study_name=arm)
                self._insert("study_directions", study_id=key, objective=0, direction="MAXIMIZE")
                self._arms[arm] = key
            for name, content in attributes.items():
                self._put("study_user_attributes", study_id=self._arms[arm], key=name, value_json=json.dumps(content))

    def add_trial(self, arm: str, trial: FrozenTrial) -> None:
        """Adds a trial that runs, with its parameters and attributes."""
        with self.transaction():
            key = self._insert(
                "trials",
                study_id=self._arms[arm],
                number=trial.number,
                state=trial.state.name,
                datetime_start=_text(trial.datetime_start),
            )
            for name, value in trial.params.items():
                distribution = trial.distributions[name]
                self._insert(
                    "trial_params",
                    trial_id=key,
                    param_name=name,
                    param_value=distribution.to_internal_repr(value),
                    distribution_json=distribution_to_json(distribution),
                )
            self._trials[arm, trial.number] = key
            self.note(arm, trial.number, trial.user_attrs)

    def note(self, arm: str, number: int, attributes: Mapping[str, Any]) -> None:
        """Writes attributes of a trial."""
        key = self._trials[arm, number]
        with self.transaction():
            for name, content in attributes.items():
                self._put("trial_user_attributes", trial_id=key, key=name, value_json=json.dumps(content))

    def report(self, arm: str, number: int, epoch: int, best: float) -> None:
        """Writes the value of an epoch; NaN is one."""
        is_nan = math.isnan(best)
        with self.transaction():
            self._put(
                "trial_intermediate_values",
                trial_id=self._trials[arm, number],
                step=epoch,
                intermediate_value=None if is_nan else best,
                intermediate_value_type="NAN" if is_nan else "FINITE",
            )

    def end(self, arm: str, trial: FrozenTrial, attributes: Mapping[str, Any]) -> None:
        """Writes attributes, the value and the state of a trial that ended."""
        key = self._trials[arm, trial.number]
        with self.transaction():
            self._has_ended = True
            self.note(arm, trial.number, attributes)
            if trial.value is not None:
                self._put("trial_values", trial_id=key, objective=0, value=trial.value, value_type="FINITE")
            self._file.execute(
                "UPDATE trials SET state = ?, datetime_complete = ? WHERE trial_id = ?",
                (trial.state.name, _text(trial.datetime_complete), key),
            )

    def checkpoint(self, kind: str) -> None:
        """Flushes the write-ahead log to the disk, and from it into the file."""
        self._file.execute(f"PRAGMA wal_checkpoint({kind})")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _insert(self, table: str, **values: Any) -> int:
        """Adds a row; its key."""
        return self._write("INSERT", table, values)

    def _put(self, table: str, **values: Any) -> None:
        """Adds a row, in the place of one that has the same unique columns."""
        self._write("INSERT OR REPLACE", table, values)

    def _write(self, how: str, table: str, values: Mapping[str, Any]) -> int:
        marks = ", ".join("?" * len(values))
        written = self._file.execute(f"{how} INTO {table} ({', '.join(values)}) VALUES ({marks})", (*values.values(),))
        return written.lastrowid or 0


def _text(moment: datetime | None) -> str | None:
    """A local time as Optuna has it written into SQLite: in UTC, without saying so."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
