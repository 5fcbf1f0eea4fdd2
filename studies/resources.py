"""How many trials run side by side, and what each gets: one shape for all, so that workers stay warm."""

import math
from dataclasses import dataclass

from studies.spec import StudySpec
from trainables.architectures import ARCHITECTURES
from trainables.errors import UserError

REFERENCE_DRAW_PX = 1024 * 1024 * 4
"""Pixels of a batch that `Architecture.gpu_gib` is for: four whole tiles."""

USABLE_GPU_SHARE = 0.9
"""Of a device's memory; the rest is the driver's and the allocator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The shape of every trial and how many fit.

    Attributes:
        count: Trials side by side.
        cpus: Cores of each.
        gpus: GPU share of each; 0 trains on the CPU.
    """

    count: int
    cpus: int
    gpus: float

    def __str__(self) -> str:
        """For the first line of a study."""
        cores = f"{self.cpus} core{'s' if self.cpus > 1 else ''}"
        share = f" and {self.gpus:.2g} GPU" if self.gpus else ""
        return f"{self.count} trial{'s' if self.count > 1 else ''} at a time, each on {cores}{share}"


def needed_gib(spec: StudySpec) -> float:
    """Device memory that the largest of the study's architectures needs for one trial (GiB, estimate)."""
    reference = max(ARCHITECTURES[name].gpu_gib for name in spec.architectures)
    if spec.recipe.window_px is None:
        return reference
    share = spec.recipe.window_px**2 * spec.recipe.batch_size / REFERENCE_DRAW_PX
    return max(1.0, reference * share)


def plan(spec: StudySpec, *, num_cpus: int, num_gpus: int, gpu_gib: float) -> Slots:
    """The slots of a machine or cluster.

    Args:
        spec: The study.
        num_cpus: All cores.
        num_gpus: All GPUs.
        gpu_gib: Memory of the smallest GPU; not read without GPUs.

    Raises:
        UserError: Not even one trial fits.
    """
    if spec.cpus_per_trial > num_cpus:
        raise UserError(
            f"--cpus-per-trial is {spec.cpus_per_trial}, but there are {num_cpus} cores: ask for {num_cpus} or less"
        )
    if spec.gpus_per_trial is not None and spec.gpus_per_trial > num_gpus:
        raise UserError(f"--gpus-per-trial is {spec.gpus_per_trial:g}, but there are {num_gpus} GPUs: ask for less")
    if num_gpus == 0 or spec.gpus_per_trial == 0:
        return Slots(count=num_cpus // spec.cpus_per_trial, cpus=spec.cpus_per_trial, gpus=0.0)
    if spec.gpus_per_trial is None:
        per_gpu = max(1, math.floor(USABLE_GPU_SHARE * gpu_gib / needed_gib(spec)))
        per_gpu = min(per_gpu, max(1, num_cpus // (num_gpus * spec.cpus_per_trial)))
        share, count = 1.0 / per_gpu, num_gpus * per_gpu
    else:
        share = spec.gpus_per_trial
        count = num_gpus * math.floor(1.0 / share) if share <= 1 else math.floor(num_gpus / share)
    count = min(count, num_cpus // spec.cpus_per_trial)
    return Slots(count=count, cpus=max(spec.cpus_per_trial, num_cpus // count), gpus=share)
