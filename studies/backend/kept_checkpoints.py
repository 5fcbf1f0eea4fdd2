"""Which checkpoints of a study are kept: each takes some 100 MB."""

import shutil
from collections.abc import Collection
from pathlib import Path

from studies.files.folder import trial_folder
from studies.models.evaluation import VAL_SCORES
from studies.search.coordinator import Coordinator
from studies.search.trials import Trial
from studies.settings.arms import Arm
from trainables.checkpoints import BEST


class Checkpoints:
    """Keeps the best checkpoint of each arm's leader and what open trials need; removes all others.

    Final models all keep theirs, since all of them are tested; and so do those of a grid, until it is known which
    value is best over all of its seeds.
    """

    def __init__(self, coordinator: Coordinator, out: Path):
        self._coordinator, self._out = coordinator, out
        self._leaders: dict[Arm, Trial] = {}
        self._remove_unneeded(coordinator.trials.values())  # also what a killed driver left

    @property
    def _keeps_all(self) -> bool:
        plan = self._coordinator.plan
        return plan.stage == "final" or (plan.keeps_all and not self._coordinator.is_complete)

    def trial_ended(self, trial: Trial) -> None:
        """Removes what is no longer needed now that a trial has ended."""
        if self._coordinator.plan.keeps_all and self._coordinator.is_complete:
            self._remove_unneeded(self._coordinator.trials.values())
        former = self._leaders.get(trial.arm)
        self._remove_unneeded([trial, *([former] if former is not None else [])])

    def _remove_unneeded(self, trials: Collection[Trial]) -> None:
        leaders = {arm: self._coordinator.selection(arm) for arm in {trial.arm for trial in trials}}
        for trial in trials:
            if trial.outcome is None:
                continue
            folder = trial_folder(self._out, trial.arm.name, trial.number)
            if trial is leaders[trial.arm]:
                self._leaders[trial.arm] = trial
            elif not (self._keeps_all and trial.outcome == "finished"):
                shutil.rmtree(folder, ignore_errors=True)
            for path in folder.glob("*"):
                if path.name not in (BEST, VAL_SCORES):
                    path.unlink(missing_ok=True)
