"""The ledger: one Optuna study per arm in one SQLite file, the truth about what was tried and what came of it.

A trial appears with its parameters or not at all, and an epoch with the decision that was taken on it: each is one
transaction. So whatever moment a study is killed at, the ledger holds a state that the study can be resumed from.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from searchspace.ranges import Space
from searchspace.spaces import Point
from studies.search.ledger_file import IDENTITY, check_ledger
from studies.search.ledger_tables import LedgerTables
from studies.search.memory_ledger import MemoryLedger
from studies.search.trials import Outcome


class Ledger(MemoryLedger):
    """The trials of every arm, in memory and in a file.

    Study attributes: `architecture`, its label for tables, and `study_id`. Those of trials: see `MemoryLedger`.

    Args:
        path: The file; made where there is none.
        arms: The label of each arm, by its name.
        study_id: Whose ledger it is.
        is_shared: Whether the file lies on storage that several machines share.

    Raises:
        UserError: The file is damaged, or another study's; it is left as it is.
    """

    def __init__(self, path: Path, arms: Mapping[str, str], *, study_id: str, is_shared: bool = False):
        if path.exists():
            check_ledger(path, study_id)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})  # makes the tables
        storage.engine.dispose()  # a file that it holds open cannot change its kind of journal
        self._tables = LedgerTables(path, is_shared=is_shared)
        self._study_id = study_id
        super().__init__(arms)
        for arm in self._tables.arms:
            self._trials[arm] = optuna.load_study(study_name=arm, storage=storage).get_trials(deepcopy=False)
        storage.engine.dispose()

    def add_arms(self, arms: Mapping[str, str]) -> None:
        """Makes room for more arms; known ones keep their trials."""
        with self.transaction():
            for arm, label in arms.items():
                self._tables.add_arm(arm, {"architecture": label, IDENTITY: self._study_id})
        super().add_arms(arms)

    def transaction(self) -> AbstractContextManager[None]:
        """What is written within is written together or, where the driver is killed, not at all."""
        return self._tables.transaction()

    def close(self) -> None:
        """Brings all of it into the one file, so that it can be copied."""
        self._tables.checkpoint("TRUNCATE")
        self._tables.close()

    def add(self, arm: str, point: Point, space: Space, attributes: dict[str, Any]) -> int:
        """Adds a running trial with its parameters; its number in the arm."""
        number = super().add(arm, point, space, attributes)
        self._tables.add_trial(arm, self._trials[arm][number])
        return number

    def note(self, arm: str, number: int, name: str, content: Any) -> None:
        """Adds a trial's attribute, or changes it."""
        super().note(arm, number, name, content)
        self._tables.note(arm, number, {name: content})

    def report(self, arm: str, number: int, epoch: int, best: float) -> None:
        """Adds the best value so far at an epoch."""
        super().report(arm, number, epoch, best)
        self._tables.report(arm, number, epoch, best)

    def end(self, arm: str, number: int, outcome: Outcome, value: float | None, attributes: dict[str, Any]) -> None:
        """Ends a trial."""
        super().end(arm, number, outcome, value, attributes)
        self._tables.end(arm, self._trials[arm][number], attributes | {"outcome": outcome})
