"""The GPU memory of a study's trials, by architecture: of the largest trial that its hyperparameters make."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from searchspace.ranges import Choices
from studies.inputs import StudyInputs
from studies.search.plans import Plan, first_plan
from studies.settings.arms import Arm
from trainables.models.composed.names import get_architecture

if TYPE_CHECKING:
    from trainables.memory import Memory


def trial_memory(inputs: StudyInputs, console: Console) -> dict[str, "Memory | None"]:
    """The memory of the largest trial of each architecture, None where it cannot be traced; takes seconds for each.

    Args:
        inputs: The study's.
        console: Where is said what cannot be traced.
    """
    from trainables.memory import UntraceableError  # here: it imports torch

    plan = first_plan(inputs.spec, inputs.digests, len(inputs.tiles.train))
    found: dict[str, Memory | None] = {}
    for name, arm in {arm.architecture: arm for arm in plan.arms}.items():
        try:
            found[name] = _largest(plan, arm, inputs)
        except UntraceableError as error:
            found[name] = None
            line = f"Note: the memory of {name} cannot be traced ({error}): one trial runs on a GPU at a time"
            console.print(f"{line}, unless --gpus-per-trial says how many", highlight=False, soft_wrap=True)
    return found


def needed_gib(memories: "Mapping[str, Memory | None]") -> float:
    """What a trial of any of the architectures takes on a GPU (GiB); infinite where that of one is not known."""
    return max(math.inf if memory is None else memory.gib for memory in memories.values())


def _largest(plan: Plan, arm: Arm, inputs: StudyInputs) -> "Memory":
    """Tries the losses and the values of the architecture's own settings, each where the others take most."""
    from trainables.memory import trace_memory

    space = plan.space(arm)
    point = {name: its.choices[-1] if isinstance(its, Choices) else its.high for name, its in space.items()}

    def traced(**values: Any) -> "Memory":
        config = plan.config(arm, 0, point | values)
        return trace_memory(config, inputs.tiles.info, train_px=inputs.train_px, tiles_px=inputs.scored_sizes)

    for name in ("loss", *get_architecture(arm.architecture).settings):
        values = space.get(name)
        if isinstance(values, Choices):
            point[name] = max(values.choices, key=lambda value: traced(**{name: value}).gib)
    return traced()
