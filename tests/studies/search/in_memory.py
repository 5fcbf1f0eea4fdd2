"""Coordinators over a ledger without a file, which costs less: what a file does is tested in `test_ledger`."""

from collections.abc import Callable
from typing import Any

from studies.search.coordinator import Coordinator
from studies.search.memory_ledger import MemoryLedger
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


def coordinate(spec: StudySpec, plan: Plan | None = None, ledger: MemoryLedger | None = None) -> Coordinator:
    """A coordinator of the study's search, or of another plan, that knows what is in the ledger."""
    plan, ledger = plan or Search(spec), ledger or MemoryLedger({})
    ledger.add_arms({arm.name: arm.architecture for arm in plan.arms})
    return Coordinator(spec, ledger, plan)


def take(coordinator: Coordinator) -> Trial:
    """The next trial, where there must be one."""
    trial = coordinator.next()
    assert trial is not None
    return trial
