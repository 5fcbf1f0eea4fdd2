"""Whether a study on CPUs computes in bfloat16, where `precision` is `auto`."""

from concurrent.futures import ThreadPoolExecutor

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from studies.backend.slots import Slots
from studies.inputs import StudyInputs
from trainables.common.processor import has_bf16
from trainables.config import TrialConfig
from trainables.data.tiles import TrainVal

WORTH = 0.9
"""A step in bfloat16 must take at most so much of the time of one in float32: for less, rounding is not worth it."""


def is_faster_in_bf16(inputs: StudyInputs, slots: Slots, console: Console) -> bool:
    """Whether training steps are faster in bfloat16; measured where every node has it.

    All trials are to be computed in one way, so the study decides, once, before the first. A network is timed with one
    adaptation of its encoder: which type is faster is the same for the others. It is timed in this process, as many
    networks side by side as there will be trials: workers would take seconds to start and to import torch.
    """
    spec = inputs.spec
    if slots.gpus or spec.recipe.precision != "auto" or spec.profile == "smoke":  # whose steps take no time
        return False
    if not has_bf16() or (spec.address is not None and not _all_nodes_have_bf16()):
        return False
    console.print("timing a few training steps in bf16 and in float32", highlight=False)
    arms = {arm.architecture.partition("@")[0]: arm for arm in reversed(spec.arms())}  # the first of each network
    configs = [arm.config(spec, {"lr": 1e-3}, inputs.digests, init_seed=0) for arm in arms.values()]
    try:
        with ThreadPoolExecutor(slots.count) as beside:
            measured = beside.map(lambda config: _seconds(config, inputs.tiles, slots.cpus), configs)
            halves, floats = zip(*measured, strict=True)
    except Exception as error:  # whatever a network, perhaps a person's own, raises in bfloat16
        words = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        console.print(f"computed in float32, since the steps could not be timed ({words})", highlight=False)
        return False
    is_faster = bool(sum(halves) < WORTH * sum(floats))
    if is_faster:
        console.print("computed in bf16, which this CPU is faster in", highlight=False)
    return is_faster


def _all_nodes_have_bf16() -> bool:
    nodes = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes() if node["Alive"]]
    return all(ray.get([_has_bf16.options(scheduling_strategy=node).remote() for node in nodes]))


_has_bf16 = ray.remote(num_cpus=0)(has_bf16)


def _seconds(config: TrialConfig, tiles: TrainVal, num_threads: int) -> tuple[float, float]:
    """Seconds of a training step in bfloat16 and in float32, as one thread computes it."""
    from trainables.precision import step_seconds  # here: it imports torch

    seconds = step_seconds(config, tiles, ("bf16", "fp32"), num_threads)
    return seconds["bf16"], seconds["fp32"]
