"""A ledger in memory: what samplers and coordinators ask for. A study that nobody resumes needs no more."""

import contextlib
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from searchspace.ranges import Space
from searchspace.spaces import Point
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


class MemoryLedger:
    """The trials of every arm as Optuna has them.

    Trial attributes: `signature`, `config` (JSON), `cost` (seconds and best epoch so far; epochs and seconds that were
    lost and repeated), `retry` (see `Coordinator.lose`), and at the end `reason`, `epochs`, `seconds`, `best_epoch` and
    `outcome`. Intermediate values are best-so-far.

    Args:
        arms: The label of each arm, by its name.
    """

    def __init__(self, arms: Mapping[str, str]):
        self._trials: dict[str, list[FrozenTrial]] = {}
        self.add_arms(arms)

    def add_arms(self, arms: Mapping[str, str]) -> None:
        """Makes room for more arms; known ones keep their trials."""
        for arm in arms:
            self._trials.setdefault(arm, [])

    def transaction(self) -> AbstractContextManager[None]:
        """What is written within is written together."""
        return contextlib.nullcontext()

    def trials(self, arm: str) -> list[FrozenTrial]:
        """All trials of an arm, by number."""
        return self._trials[arm]

    def add(self, arm: str, point: Point, space: Space, attributes: dict[str, Any]) -> int:
        """Adds a running trial with its parameters; its number in the arm."""
        trial = create_trial(
            state=TrialState.RUNNING, params=point, distributions=distributions(space), user_attrs=attributes
        )
        trial.number, trial.datetime_start = len(self._trials[arm]), datetime.now()
        self._trials[arm].append(trial)
        return trial.number

    def note(self, arm: str, number: int, name: str, content: Any) -> None:
        """Adds a trial's attribute, or changes it."""
        self._trials[arm][number].user_attrs[name] = content

    def report(self, arm: str, number: int, epoch: int, best: float) -> None:
        """Adds the best value so far at an epoch."""
        self._trials[arm][number].intermediate_values[epoch] = best

    def end(self, arm: str, number: int, outcome: Outcome, value: float | None, attributes: dict[str, Any]) -> None:
        """Ends a trial."""
        trial = self._trials[arm][number]
        trial.user_attrs |= attributes | {"outcome": outcome}
        trial.value = _told_value(trial, outcome, value)
        trial.state, trial.datetime_complete = STATES[outcome], datetime.now()


def _told_value(trial: FrozenTrial, outcome: Outcome, value: float | None) -> float | None:
    """The value that Optuna has of a trial that ended with `value`; None where it failed.

    That of a stopped one is its last, as Optuna's `tell` has it.
    """
    if outcome == "stopped":
        last = trial.last_step
        value = None if last is None else trial.intermediate_values[last]
        return None if value is None or math.isnan(value) else value
    final = {"finished": value, "diverged": WORST}.get(outcome)
    is_unjudged = final is not None and math.isnan(final)  # a final model; Optuna wants a number
    return WORST if is_unjudged else final
