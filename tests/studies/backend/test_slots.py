"""Slots: how many trials fit on a machine or cluster, by its cores and GPUs as Ray counts them."""

import math
from pathlib import Path
from typing import Any

import pytest
import ray._private.utils

from studies.backend.machine import num_cores, this_machine
from studies.backend.slots import Node, Slots, by_memory, fit_slots
from studies.spec import StudySpec
from trainables.common.errors import UserError

LAPTOP = [Node(cpus=2)]
MANY_CORES = [Node(cpus=64)]
H200 = [Node(cpus=16, gpus=1, gpu_gib=139)]
T4 = [Node(cpus=8, gpus=1, gpu_gib=15)]
TWO_GPUS = [Node(cpus=8, gpus=2, gpu_gib=80)]


def spec(**changes: Any) -> StudySpec:
    return StudySpec.model_validate({"tiles": (24,)} | changes)


@pytest.mark.parametrize(
    ("changes", "nodes", "slots"),
    [
        # A CPU machine has a trial per core, or per so many
        ({}, LAPTOP, Slots(count=2, cpus=1, gpus=0.0, alone=(2, 0.0))),
        ({"cpus_per_trial": 4}, [Node(cpus=10)], Slots(count=2, cpus=4, gpus=0.0, alone=(10, 0.0))),
        # A GPU is shared by what the largest architecture needs: 14 GiB, and 0.9 · 139 / 14 = 8.9
        ({}, H200, Slots(count=8, cpus=2, gpus=1 / 8, alone=(2, 1.0))),
        ({}, T4, Slots(count=1, cpus=8, gpus=1.0, alone=(8, 1.0))),
        # Few cores limit the trials of a large GPU
        ({}, [Node(cpus=4, gpus=1, gpu_gib=139)], Slots(count=4, cpus=1, gpus=1 / 4, alone=(1, 1.0))),
        # A given share is kept; without one, trials are on the CPU
        ({"gpus_per_trial": 0.5}, TWO_GPUS, Slots(count=4, cpus=2, gpus=0.5, alone=(2, 1.0))),
        ({"gpus_per_trial": 2}, TWO_GPUS, Slots(count=1, cpus=8, gpus=2.0, alone=(8, 2.0))),
        ({"gpus_per_trial": 0}, H200, Slots(count=16, cpus=1, gpus=0.0, alone=(16, 0.0))),
        # A trial never spans machines: 7 + 6 cores are two trials of four, not floor(13 / 4) = 3
        ({"cpus_per_trial": 4}, [Node(cpus=7), Node(cpus=6)], Slots(count=2, cpus=4, gpus=0.0, alone=(7, 0.0))),
        # A head without a GPU takes none; the smallest GPU counts
        ({}, [Node(cpus=16), *T4], Slots(count=1, cpus=8, gpus=1.0, alone=(8, 1.0))),
        ({}, [*H200, *T4], Slots(count=2, cpus=8, gpus=1.0, alone=(8, 1.0))),
        # There are never more slots than trials
        ({"architectures": ("unet",), "trials": 3}, MANY_CORES, Slots(count=3, cpus=1, gpus=0.0, alone=(64, 0.0))),
    ],
)
def test_trials_fit_on_machines(changes, nodes, slots):
    found = fit_slots(spec(**changes), nodes, lambda: 14.0)
    assert found == slots
    assert found.device == ("cuda" if slots.gpus else "cpu")


@pytest.mark.parametrize(("gib", "count"), [(4.7, 3), (14.4, 1), (14.5, 1), (29.3, 1), (math.inf, 1), (1.2, 12)])
def test_memory_decides_how_many_trials_share_a_gpu(gib, count):
    """0.9 of 16 GiB are 14.4; a trial that needs more, or that nobody knows of, is tried alone."""
    node = Node(cpus=64, gpus=1, gpu_gib=16)
    assert fit_slots(spec(), [node], lambda: gib).count == count
    assert by_memory(16, gib) == (count if gib <= 14.4 else 0)


def test_memory_is_asked_for_only_where_it_decides():
    def ask() -> float:
        raise AssertionError

    fit_slots(spec(), LAPTOP, ask)
    fit_slots(spec(gpus_per_trial=0.5), H200, ask)
    fit_slots(spec(gpus_per_trial=0), H200, ask)


@pytest.mark.parametrize(
    ("changes", "nodes", "words"),
    [
        ({"cpus_per_trial": 3}, LAPTOP, "--cpus-per-trial is 3, but there are 2 cores"),
        ({"cpus_per_trial": 8}, [Node(cpus=4), Node(cpus=4)], "but there are 4 cores"),
        ({"gpus_per_trial": 1}, LAPTOP, "--gpus-per-trial is 1, but there are 0 GPUs"),
        ({"gpus_per_trial": 1.5}, [Node(cpus=4, gpus=2, gpu_gib=80)], "a whole number"),
        ({"cpus_per_trial": 9}, [Node(cpus=16), *T4], "no machine with a GPU has as many"),
    ],
)
def test_what_fits_nowhere_is_refused(changes, nodes, words):
    with pytest.raises(UserError, match=words):
        fit_slots(spec(**changes), nodes, lambda: 14.0)


# What a machine has


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def fake_nvidia_smi(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{text}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_cores_are_those_that_ray_finds():
    assert num_cores() == ray._private.utils.get_num_cpus(override_docker_cpu_warning=True)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "350000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "800000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpuset/cpuset.cpus": "0-3,8\n"}, 5),
        ({"cpuset/cpuset.cpus": "0-3,8\n", "cpu.max": "200000 100000\n"}, 2),
        ({"cpuset/cpuset.cpus": "\n"}, 64),
    ],
)
def test_cores_are_those_that_a_container_may_use(files, cores, tmp_path, monkeypatch):
    monkeypatch.setattr("multiprocessing.cpu_count", lambda: 64)
    assert num_cores(write(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("visible", "gpus", "gib"),
    [
        (None, 2, 40.0),
        ("0", 1, 80.0),
        ("1,0", 2, 40.0),
        ("GPU-bb", 1, 40.0),
        ("", 0, 0.0),
        ("-1", 0, 0.0),
        ("7", 0, 0.0),
    ],
)
def test_gpus_are_those_that_are_visible(visible, gpus, gib, tmp_path, monkeypatch):
    fake_nvidia_smi(tmp_path, "0, GPU-aa, 81920\\n1, GPU-bb, 40960\\n", monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert this_machine() == Node(cpus=num_cores(), gpus=gpus, gpu_gib=gib)


@pytest.mark.parametrize("text", ["NVIDIA-SMI has failed\\n", ""])
def test_no_driver_is_no_gpu(text, tmp_path, monkeypatch):
    fake_nvidia_smi(tmp_path, text, monkeypatch)
    assert this_machine().gpus == 0
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert this_machine().gpus == 0
