"""The ledger: one Optuna study per arm in one storage, the truth about what was tried and what came of it.

Each call is one transaction where it matters: a trial appears with its parameters or not at all, and a decision to
stop is written before the value that it was taken on. So whatever moment a study is killed at, the ledger holds a
state that the study can be resumed from.
"""

import functools
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from searchspace.ranges import Space
from searchspace.spaces import Point
from studies.search.ledger_file import IDENTITY, check_ledger
from studies.search.sampler import distributions
from studies.search.trials import Outcome

WORST = 0.0
"""The worst IoU: the value of a diverged trial, so that the sampler stays away from it."""

STATES: dict[Outcome, TrialState] = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.COMPLETE,
    "out of memory": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


class Ledger:
    """The trials of every arm in an SQLite file.

    Study attributes: `architecture`, its label for tables, and `study_id`. Trial attributes: `signature`, `config`
    (JSON), `cost` (seconds so far; epochs and seconds that were lost and repeated), `retry` (see
    `Coordinator.lose`), `stop` ([epoch, outcome, reason], written ahead of that epoch's value), and at the end
    `reason`, `epochs`, `seconds`, `best_epoch` and, last, `outcome`. Intermediate values are best-so-far.

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
        self._storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})
        # Write-ahead logging makes a report 4 times cheaper (0.6 instead of 2.2 ms, measured), but needs memory that
        # all readers share, so it is not for files that several machines see (sqlite.org/wal.html)
        pragmas = (
            ("journal_mode=DELETE", "synchronous=FULL") if is_shared else ("journal_mode=WAL", "synchronous=NORMAL")
        )
        sqlalchemy.event.listens_for(self._storage.engine, "connect")(functools.partial(_set_pragmas, pragmas))
        self._storage.engine.dispose()
        self._study_id = study_id
        self._studies: dict[str, optuna.Study] = {}
        self._ids: dict[tuple[str, int], int] = {}
        self.add_arms(arms)

    def add_arms(self, arms: Mapping[str, str]) -> None:
        """Makes room for more arms; known ones stay unchanged."""
        for arm, label in arms.items():
            study = optuna.create_study(
                study_name=arm, storage=self._storage, direction="maximize", load_if_exists=True
            )
            study.set_user_attr("architecture", label)
            study.set_user_attr(IDENTITY, self._study_id)
            self._studies[arm] = study
            self._ids |= {(arm, trial.number): trial._trial_id for trial in study.get_trials(deepcopy=False)}

    def close(self) -> None:
        """Brings all of it into the one file, so that it can be copied."""
        self._checkpoint("TRUNCATE")
        self._storage.engine.dispose()

    def _checkpoint(self, kind: str) -> None:
        """Flushes the write-ahead log to the disk, and from it into the file."""
        with self._storage.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA wal_checkpoint({kind})")

    def trials(self, arm: str) -> list[FrozenTrial]:
        """All trials of an arm, by number."""
        return self._studies[arm].get_trials(deepcopy=False)

    def add(self, arm: str, point: Point, space: Space, attributes: dict[str, Any]) -> int:
        """Adds a running trial with its parameters, in one transaction; its number in the arm."""
        study = self._studies[arm]
        trial = create_trial(
            state=TrialState.RUNNING, params=point, distributions=distributions(space), user_attrs=attributes
        )
        trial.datetime_start = datetime.now()
        study.add_trial(trial)
        added = study.get_trials(deepcopy=False)[-1]
        self._ids[arm, added.number] = added._trial_id
        return added.number

    def note(self, arm: str, number: int, name: str, content: Any) -> None:
        """Writes a trial's attribute."""
        self._storage.set_trial_user_attr(self._ids[arm, number], name, content)

    def decide(self, arm: str, number: int, epoch: int, outcome: Outcome, reason: str) -> None:
        """Writes the decision to end a trial with `epoch`, before that epoch's value."""
        self.note(arm, number, "stop", [epoch, outcome, reason])

    def report(self, arm: str, number: int, epoch: int, best: float) -> None:
        """Writes the best value so far at an epoch."""
        self._storage.set_trial_intermediate_value(self._ids[arm, number], epoch, best)

    def end(self, arm: str, number: int, outcome: Outcome, value: float | None, attributes: dict[str, Any]) -> None:
        """Ends a trial: its cost and reason first, then its state; on the disk, since checkpoints are removed on it."""
        for name, content in (attributes | {"outcome": outcome}).items():
            self.note(arm, number, name, content)
        self._studies[arm].tell(number, told_value(outcome, value), state=STATES[outcome])
        self._checkpoint("PASSIVE")


def told_value(outcome: Outcome, value: float | None) -> float | None:
    """What Optuna is told of a trial that ended with `value`; None where it is pruned or failed."""
    final = {"finished": value, "diverged": WORST}.get(outcome)
    is_unjudged = final is not None and math.isnan(final)  # a final model; Optuna wants a number
    return WORST if is_unjudged else final


def _set_pragmas(pragmas: tuple[str, ...], connection: Any, _: Any) -> None:
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
