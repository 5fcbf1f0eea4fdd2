"""Slots: how many trials fit on a machine or cluster."""

from typing import Any

import pytest

from studies.resources import Slots, needed_gib, plan
from studies.spec import StudySpec
from trainables.config import Recipe
from trainables.errors import UserError


def spec(**changes: Any) -> StudySpec:
    return StudySpec.model_validate(changes)


def test_cpu_machine_gets_a_trial_per_core() -> None:
    assert plan(spec(), num_cpus=2, num_gpus=0, gpu_gib=0) == Slots(count=2, cpus=1, gpus=0.0)
    assert plan(spec(cpus_per_trial=4), num_cpus=10, num_gpus=0, gpu_gib=0) == Slots(count=2, cpus=4, gpus=0.0)


def test_gpu_is_shared_by_what_the_largest_architecture_needs() -> None:
    """U-Net needs 14 GiB: 0.9 · 139 / 14 = 8.9, so eight trials share the device."""
    assert plan(spec(), num_cpus=16, num_gpus=1, gpu_gib=139) == Slots(count=8, cpus=2, gpus=1 / 8)


def test_small_gpu_takes_one_trial() -> None:
    assert plan(spec(), num_cpus=8, num_gpus=1, gpu_gib=15) == Slots(count=1, cpus=8, gpus=1.0)


def test_few_cores_limit_the_trials_of_a_large_gpu() -> None:
    slots = plan(spec(), num_cpus=4, num_gpus=1, gpu_gib=139)
    assert slots == Slots(count=4, cpus=1, gpus=1 / 4)


def test_given_share_is_kept() -> None:
    assert plan(spec(gpus_per_trial=0.5), num_cpus=8, num_gpus=2, gpu_gib=80) == Slots(count=4, cpus=2, gpus=0.5)
    assert plan(spec(gpus_per_trial=0), num_cpus=8, num_gpus=2, gpu_gib=80).gpus == 0.0


def test_windows_need_less_memory() -> None:
    whole, window = spec(), spec(recipe=Recipe(window_px=512))
    assert needed_gib(window) == pytest.approx(needed_gib(whole) / 4)
    assert needed_gib(spec(architectures=("unet_resnet34",))) < needed_gib(whole)


@pytest.mark.parametrize("changes", [{"cpus_per_trial": 3}, {"gpus_per_trial": 1}])
def test_more_than_there_is_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="but there are"):
        plan(spec(**changes), num_cpus=2, num_gpus=0, gpu_gib=0)
