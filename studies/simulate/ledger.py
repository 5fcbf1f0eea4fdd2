"""A ledger in memory, for a study that nobody resumes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from searchspace.ranges import Space
from searchspace.spaces import Point
from studies.search.ledger import STATES, Ledger, told_value
from studies.search.sampler import distributions
from studies.search.trials import Outcome

_STARTED = datetime(2000, 1, 1)
"""Of all trials: Optuna wants one."""


class MemoryLedger(Ledger):
    """What samplers ask for, without a file; attributes of trials are not kept."""

    def __init__(self, arms: Mapping[str, str]):
        self._trials: dict[str, list[FrozenTrial]] = {}
        self.add_arms(arms)

    def add_arms(self, arms: Mapping[str, str]) -> None:
        """Makes room for more arms; known ones stay unchanged."""
        for arm in arms:
            self._trials.setdefault(arm, [])

    def close(self) -> None:
        """There is nothing to close."""

    def trials(self, arm: str) -> list[FrozenTrial]:
        """All trials of an arm, by number."""
        return self._trials[arm]

    def add(self, arm: str, point: Point, space: Space, attributes: dict[str, Any]) -> int:
        """Adds a running trial with its parameters; its number in the arm."""
        trial = create_trial(state=TrialState.RUNNING, params=point, distributions=distributions(space))
        trial.number, trial.datetime_start = len(self._trials[arm]), _STARTED
        self._trials[arm].append(trial)
        return trial.number

    def note(self, arm: str, number: int, name: str, content: Any) -> None:
        """Keeps nothing."""

    def report(self, arm: str, number: int, epoch: int, best: float) -> None:
        """Keeps the best value so far at an epoch."""
        self._trials[arm][number].intermediate_values[epoch] = best

    def end(self, arm: str, number: int, outcome: Outcome, value: float | None, attributes: dict[str, Any]) -> None:
        """Ends a trial."""
        trial = self._trials[arm][number]
        trial.state, trial.datetime_complete = STATES[outcome], _STARTED
        trial.value = told_value(outcome, value)
        if outcome == "stopped":  # as Optuna tells a pruned trial: by its last value
            trial.value = trial.intermediate_values[max(trial.intermediate_values)]
