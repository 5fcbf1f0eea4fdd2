"""The cores and GPUs of this machine, as Ray would find them, without Ray and without torch."""

import multiprocessing
import os
import subprocess
from pathlib import Path

from studies.backend.slots import Node

_CGROUP = Path("/sys/fs/cgroup")
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")
_NVIDIA_SMI_SECONDS = 20.0


def this_machine() -> Node:
    """This machine, with the GPUs that CUDA_VISIBLE_DEVICES leaves; `gpu_gib` is the smallest one's memory."""
    memories = _gpus_gib()
    return Node(cpus=num_cores(), gpus=len(memories), gpu_gib=min(memories, default=0.0))


def num_cores(cgroup: Path = _CGROUP) -> int:
    """Cores, or as many as a container may use.

    Args:
        cgroup: Where Linux says what a container may use.

    Source: `ray._private.utils.get_num_cpus`.
    """
    cores = multiprocessing.cpu_count()
    if os.environ.get("RAY_USE_MULTIPROCESSING_CPU_COUNT"):
        return cores
    limits = [limit for limit in (_quota(cgroup), _cpuset(cgroup)) if limit is not None]
    return max(1, int(min(limits))) if limits else cores


def _quota(cgroup: Path) -> float | None:
    """Cores by the time that a container may use: version 1 of control groups, else version 2."""
    try:
        quota = float((cgroup / "cpu/cpu.cfs_quota_us").read_text()) / float(
            (cgroup / "cpu/cpu.cfs_period_us").read_text()
        )
    except (OSError, ValueError):
        try:
            allowed, period = (cgroup / "cpu.max").read_text().split()
            quota = float(allowed) / float(period)
        except (OSError, ValueError):  # of which "max" is one: no limit
            return None
    return None if quota < 0 else quota or 1.0


def _cpuset(cgroup: Path) -> int | None:
    """Cores by the list of those that a container may use, such as `0-3,8`."""
    try:
        parts = (cgroup / "cpuset/cpuset.cpus").read_text().strip().split(",")
        edges = [[int(edge) for edge in part.split("-")] for part in parts]
    except (OSError, ValueError):
        return None
    return sum(edge[-1] - edge[0] + 1 for edge in edges)


def _gpus_gib() -> list[float]:
    """The memory of each GPU (GiB) by NVIDIA's own program, which comes with the driver; empty without one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return []
    try:
        output = subprocess.run(
            _NVIDIA_SMI, capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = [[cell.strip() for cell in line.split(",")] for line in output.splitlines() if line.count(",") == 2]
    found = {name: float(mib) / 1024 for index, uuid, mib in gpus for name in (index, uuid)}
    names = [index for index, _, _ in gpus] if visible is None else [name.strip() for name in visible.split(",")]
    return [found[name] for name in names if name in found]
