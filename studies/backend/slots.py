"""How many trials run side by side, and what each gets: one shape for all, so that workers stay warm."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from studies.spec import StudySpec
from trainables.common.errors import UserError

USABLE_GPU_SHARE = 0.9
"""Of a device's memory; the rest is the driver's and the allocator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine: its cores, its GPUs and the memory of each of them (GiB)."""

    cpus: int
    gpus: int = 0
    gpu_gib: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The shape of every trial and how many fit.

    Attributes:
        count: Trials side by side.
        cpus: Cores of each.
        gpus: GPU share of each; 0 trains on the CPU.
        alone: Cores and GPUs that leave no room for another trial on the same device.
    """

    count: int
    cpus: int
    gpus: float
    alone: tuple[int, float]

    @property
    def has_company(self) -> bool:
        """Whether trials share their devices."""
        return self.alone != (self.cpus, self.gpus)

    @property
    def device(self) -> str:
        """The torch device of every trial."""
        return "cuda" if self.gpus else "cpu"

    def __str__(self) -> str:
        """For the first line of a study."""
        cores = f"{self.cpus} core{'s' if self.cpus > 1 else ''}"
        share = f" and {self.gpus:.2g} GPU" if self.gpus else ""
        return f"{self.count} trial{'s' if self.count > 1 else ''} at a time, each on {cores}{share}"


def by_memory(gpu_gib: float, needed_gib: float) -> int:
    """How many trials' memory a GPU has, each of which needs so much of it (GiB)."""
    return math.floor(USABLE_GPU_SHARE * gpu_gib / needed_gib)


def fit_slots(spec: StudySpec, nodes: Sequence[Node], needed_gib: Callable[[], float]) -> Slots:
    """The slots of a machine or cluster; a trial never spans nodes.

    Args:
        spec: The study.
        nodes: The machines. Where any has GPUs, trials run on those only.
        needed_gib: The GPU memory of the largest trial (GiB), see `memory.needed_gib`; it takes seconds, and is asked
            only where trials on GPUs have no share that was given.

    Raises:
        UserError: Not even one trial fits.
    """
    needed_cpus, share = spec.cpus_per_trial, spec.gpus_per_trial
    most_cpus, most_gpus = max(n.cpus for n in nodes), max(n.gpus for n in nodes)
    if needed_cpus > most_cpus:
        raise UserError(
            f"--cpus-per-trial is {needed_cpus}, but there are {most_cpus} cores in a machine: ask for no more"
        )
    if share is not None and share > most_gpus:
        raise UserError(f"--gpus-per-trial is {share:g}, but there are {most_gpus} GPUs in a machine: ask for no more")
    if share is not None and share > 1 and share % 1:
        raise UserError(f"--gpus-per-trial is {share:g}, but must be a share up to 1 or a whole number of GPUs")
    total = len(spec.arms()) * spec.most_trials
    if most_gpus == 0 or share == 0:
        count = min(total, sum(n.cpus // needed_cpus for n in nodes))
        return Slots(count=count, cpus=needed_cpus, gpus=0.0, alone=(most_cpus if count > 1 else needed_cpus, 0.0))
    with_gpus = [n for n in nodes if n.gpus and n.cpus >= needed_cpus]
    if not with_gpus:
        raise UserError(f"--cpus-per-trial is {needed_cpus}, but no machine with a GPU has as many: ask for fewer")
    if share is None:
        least_gib = min(n.gpu_gib for n in with_gpus)
        by_cores = min(n.cpus // (n.gpus * needed_cpus) for n in with_gpus)
        share = 1.0 / max(1, min(by_memory(least_gib, needed_gib()), by_cores))
    per_node = [
        min(n.gpus * math.floor(1.0 / share + 1e-9) if share <= 1 else n.gpus // int(share), n.cpus // needed_cpus)
        for n in with_gpus
    ]
    cpus = min(n.cpus // count for n, count in zip(with_gpus, per_node, strict=True) if count)
    count = min(total, sum(per_node))
    return Slots(count=count, cpus=cpus, gpus=share, alone=(cpus, 1.0 if share < 1 and count > 1 else share))
