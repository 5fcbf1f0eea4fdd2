"""Cores and GPUs of this machine, counted as Ray counts them."""

from pathlib import Path

import pytest
import ray._private.utils

from studies.backend.machine import num_cores, this_machine
from studies.backend.slots import Node


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


TWO_GPUS = "0, GPU-aa, 81920\\n1, GPU-bb, 40960\\n"


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
    fake_nvidia_smi(tmp_path, TWO_GPUS, monkeypatch)
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
