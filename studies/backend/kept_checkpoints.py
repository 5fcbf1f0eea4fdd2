"""Which checkpoints of a study are kept: each takes some 100 MB."""

import shutil
from pathlib import Path

from studies.backend.worker import trial_folder
from studies.models.evaluation import VAL_SCORES
from studies.search.coordinator import Coordinator
from studies.search.trials import Progress
from studies.spec import Arm
from trainables.checkpoints import BEST


class Checkpoints:
    """Keeps the best checkpoint of each arm's leader and what open trials need.

    Final models all keep theirs, since all of them are tested; and so do those of a grid, until it is known which
    value is best over all of its seeds.
    """

    def __init__(self, coordinator: Coordinator, out: Path):
        self._coordinator, self._out = coordinator, out
        self._leaders: dict[Arm, Progress] = {}
        for arm in coordinator.arms:
            leader = coordinator.selection(arm)
            for progress in coordinator.of_arm(arm):  # also what a driver left that was killed before it did so
                self._tidy(progress, leader)

    @property
    def _keeps_all(self) -> bool:
        plan = self._coordinator.plan
        return plan.stage == "final" or (plan.keeps_all and not self._coordinator.is_complete)

    def tidy(self, ended: Progress) -> None:
        """Removes what is no longer needed now that a trial has ended."""
        if self._coordinator.plan.keeps_all and self._coordinator.is_complete:
            for progress in self._coordinator.trials.values():
                self._tidy(progress, self._coordinator.selection(progress.assignment.arm))
        arm = ended.assignment.arm
        leader, before = self._coordinator.selection(arm), self._leaders.get(arm)
        self._tidy(ended, leader)
        if before is not None and before is not leader:
            self._tidy(before, leader)

    def _tidy(self, progress: Progress, leader: Progress | None) -> None:
        arm, number = progress.assignment.arm, progress.assignment.number
        if progress.outcome is None:
            return
        folder = trial_folder(self._out, arm.name, number)
        if progress is leader:
            self._leaders[arm] = leader
        elif not (self._keeps_all and progress.outcome == "finished"):
            shutil.rmtree(folder, ignore_errors=True)
        for path in folder.glob("*"):
            if path.name not in (BEST, VAL_SCORES):
                path.unlink(missing_ok=True)
