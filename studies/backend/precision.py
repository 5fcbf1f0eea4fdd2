"""Which architectures a study on CPUs computes in bfloat16, where `precision` is `auto`."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from studies.backend.slots import Slots
from studies.inputs import StudyInputs
from trainables.common.processor import has_bf16
from trainables.config import TrialConfig
from trainables.data.tiles import TrainVal


def faster_in_bf16(inputs: StudyInputs, slots: Slots, console: Console) -> tuple[str, ...]:
    """The architectures whose training steps are faster in bfloat16; measured where every node has it.

    All trials of an architecture are to be computed in one way, so the study decides, once, before the first.
    """
    spec = inputs.spec
    if slots.gpus or spec.recipe.precision != "auto" or spec.profile == "smoke":  # whose steps take no time
        return ()
    if not has_bf16() or (spec.address is not None and not _all_nodes_have_bf16()):
        return ()
    console.print("timing a few training steps of each architecture in bf16 and in float32", highlight=False)
    tiles = ray.put(inputs.tiles)
    measured = {
        name: _is_faster.options(num_cpus=slots.cpus).remote(
            arm.config(spec, {"lr": 1e-3}, inputs.digests, init_seed=0), tiles, slots.cpus
        )
        for name, arm in {arm.architecture: arm for arm in spec.arms()}.items()
    }
    faster = tuple(name for name, reference in measured.items() if _answer(reference))
    if faster:
        console.print(f"computed in bf16, which this CPU is faster in: {', '.join(faster)}", highlight=False)
    return faster


def _answer(reference: Any) -> bool:
    """Whether a network is faster in it; not where it cannot be computed in it, or its worker was lost."""
    try:
        return bool(ray.get(reference))
    except ray.exceptions.RayError:
        return False


def _all_nodes_have_bf16() -> bool:
    nodes = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes() if node["Alive"]]
    return all(ray.get([_has_bf16.options(scheduling_strategy=node).remote() for node in nodes]))


_has_bf16 = ray.remote(num_cpus=0)(has_bf16)


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def _is_faster(config: TrialConfig, tiles: TrainVal, num_threads: int) -> bool:
    from trainables.device import use_threads  # here: it imports torch
    from trainables.precision import is_faster_in_bf16

    use_threads(num_threads)
    return is_faster_in_bf16(config, tiles)
