"""Several coordinators share the slots: trials of a later one run where an earlier one has none to hand out."""

from collections.abc import Sequence

from studies.search.coordinator import Coordinator
from studies.search.trials import Trial, TrialKey


class Relay:
    """Coordinators in the order in which they are asked for trials, such as those of a search and of its final models.

    Args:
        coordinators: No two have an arm in common.
    """

    def __init__(self, coordinators: Sequence[Coordinator]):
        self._coordinators = coordinators

    def of(self, key: TrialKey) -> Coordinator:
        """The one that has a trial."""
        return next(one for one in self._coordinators if key in one.trials)

    def next(self) -> Trial | None:
        """The next trial of the first that has one to hand out; None where none has."""
        return next((trial for one in self._coordinators if (trial := one.next()) is not None), None)

    @property
    def num_running(self) -> int:
        """Trials that workers have."""
        return sum(one.num_running for one in self._coordinators)

    @property
    def is_final(self) -> bool:
        """Whether only the last one has trials that have not ended, so that no other can lead to more."""
        return all(one.is_complete for one in self._coordinators[:-1])

    @property
    def is_complete(self) -> bool:
        """Whether every allowance is spent and every trial ended."""
        return all(one.is_complete for one in self._coordinators)
