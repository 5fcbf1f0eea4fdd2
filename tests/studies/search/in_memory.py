"""Coordinators over a ledger without a file, which costs a hundredth: what a file does is tested in `test_ledger`."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from optuna.storages import InMemoryStorage

from studies.search.coordinator import Coordinator
from studies.search.ledger import Ledger
from studies.search.plans import Plan, Search
from studies.search.trials import Trial
from studies.spec import StudySpec
from trainables.config import Recipe

EPOCHS = 4

Begin = Callable[..., Coordinator]
"""Makes a coordinator of a small search, with changes of its spec, that knows what those before it wrote."""


def make_spec(**changes: Any) -> StudySpec:
    """A search over one architecture and two budgets."""
    settings = {"architectures": ("unet",), "tiles": (5, 24), "trials": 5, "grace_epochs": 1, "reduction_factor": 2}
    return StudySpec.model_validate(settings | {"recipe": Recipe(epochs=EPOCHS)} | changes)


class StorageLedger(Ledger):
    """The ledger of whatever drivers are given one storage, one after another."""

    def __init__(self, arms: Mapping[str, str], storage: InMemoryStorage | None = None):
        self._storage: Any = storage or InMemoryStorage()
        self._study_id, self._studies, self._ids = "one", {}, {}
        self.add_arms(arms)

    def note(self, arm: str, number: int, name: str, content: Any) -> None:
        super().note(arm, number, name, json.loads(json.dumps(content)))  # as it is read from a file

    def _checkpoint(self, kind: str) -> None:
        """There is no file to bring it to."""


def coordinate(spec: StudySpec, plan: Plan | None = None, storage: InMemoryStorage | None = None) -> Coordinator:
    """A coordinator of the study's search, or of another plan, that knows what is in the storage."""
    plan = plan or Search(spec)
    return Coordinator(spec, StorageLedger({arm.name: arm.architecture for arm in plan.arms}, storage), plan)


def take(coordinator: Coordinator) -> Trial:
    """The next trial, where there must be one."""
    trial = coordinator.next()
    assert trial is not None
    return trial
