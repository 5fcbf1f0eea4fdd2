"""Slots: how many trials fit on a machine or cluster."""

from dataclasses import replace
from typing import Any

import pytest

from studies.backend.slots import Node, Slots, fit_slots, needed_gib
from studies.spec import StudySpec
from trainables.common.errors import UserError
from trainables.config import Recipe
from trainables.models.architectures import ARCHITECTURES

LAPTOP = [Node(cpus=2)]
H200 = [Node(cpus=16, gpus=1, gpu_gib=139)]
T4 = [Node(cpus=8, gpus=1, gpu_gib=15)]


def spec(**changes: Any) -> StudySpec:
    return StudySpec.model_validate({"tiles": (24,)} | changes)


def test_cpu_machine_gets_a_trial_per_core() -> None:
    assert fit_slots(spec(), LAPTOP, 1024) == Slots(count=2, cpus=1, gpus=0.0, alone=(2, 0.0))
    assert fit_slots(spec(cpus_per_trial=4), [Node(cpus=10)], 1024) == Slots(count=2, cpus=4, gpus=0.0, alone=(10, 0.0))


def test_gpu_is_shared_by_what_the_largest_architecture_needs() -> None:
    """U-Net needs 14 GiB: 0.9 · 139 / 14 = 8.9, so eight trials share the device."""
    assert fit_slots(spec(), H200, 1024) == Slots(count=8, cpus=2, gpus=1 / 8, alone=(2, 1.0))


def test_small_gpu_takes_one_trial() -> None:
    assert fit_slots(spec(), T4, 1024) == Slots(count=1, cpus=8, gpus=1.0, alone=(8, 1.0))


def test_few_cores_limit_the_trials_of_a_large_gpu() -> None:
    assert fit_slots(spec(), [Node(cpus=4, gpus=1, gpu_gib=139)], 1024) == Slots(
        count=4, cpus=1, gpus=1 / 4, alone=(1, 1.0)
    )


def test_given_share_is_kept() -> None:
    nodes = [Node(cpus=8, gpus=2, gpu_gib=80)]
    assert fit_slots(spec(gpus_per_trial=0.5), nodes, 1024) == Slots(count=4, cpus=2, gpus=0.5, alone=(2, 1.0))
    assert fit_slots(spec(gpus_per_trial=2), nodes, 1024) == Slots(count=1, cpus=8, gpus=2.0, alone=(8, 2.0))


def test_no_share_trains_on_the_cpu() -> None:
    slots = fit_slots(spec(gpus_per_trial=0), H200, 1024)
    assert (slots.device, slots.count) == ("cpu", 16)


def test_cluster_sums_what_fits_on_each_machine() -> None:
    """A trial never spans machines: 7 + 6 cores are two trials of four, not floor(13 / 4) = 3."""
    assert fit_slots(spec(cpus_per_trial=4), [Node(cpus=7), Node(cpus=6)], 1024).count == 2
    head_without_gpu = Node(cpus=16)
    assert fit_slots(spec(), [head_without_gpu, *T4], 1024) == Slots(count=1, cpus=8, gpus=1.0, alone=(8, 1.0))
    smallest_counts = [*H200, *T4]
    assert fit_slots(spec(), smallest_counts, 1024) == Slots(count=2, cpus=8, gpus=1.0, alone=(8, 1.0))


def test_never_more_slots_than_trials() -> None:
    assert fit_slots(spec(architectures=("unet",), trials=3), [Node(cpus=64)], 1024).count == 3


def test_memory_follows_windows_and_tiles() -> None:
    whole, window = spec(), spec(recipe=Recipe(window_px=512))
    assert needed_gib(window, 1024) == pytest.approx(needed_gib(whole, 1024) / 4)
    assert needed_gib(whole, 2048) == pytest.approx(needed_gib(whole, 1024) * 4)
    assert needed_gib(spec(architectures=("unet_resnet34",)), 1024) < needed_gib(whole, 1024)


@pytest.mark.parametrize(
    ("architectures", "batch_size", "gib"),
    [
        # Each architecture's own batch: 14 GiB for 4 draws, 8 GiB for 2 draws
        (("unet",), None, 14),
        (("sam_unet",), None, 8),
        (("unet", "sam_unet"), None, 14),
        # One for all: 14 / 4 and 8 / 2 GiB per draw, so that the one that needs most is another
        (("unet",), 16, 56),
        (("sam_unet",), 16, 64),
        (("unet", "sam_unet"), 16, 64),
        (("unet", "sam_unet"), 4, 16),
        (("unet",), 2, 7),
    ],
)
def test_memory_follows_the_batch(
    architectures: tuple[str, ...], batch_size: int | None, gib: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, gpu_gib, own in (("unet", 14, 4), ("sam_unet", 8, 2)):
        monkeypatch.setitem(ARCHITECTURES, name, replace(ARCHITECTURES[name], gpu_gib=gpu_gib, batch_size=own))
    study = spec(architectures=architectures, recipe=Recipe(batch_size=batch_size))
    assert needed_gib(study, 1024) == pytest.approx(gib)
    assert needed_gib(study, 512) == pytest.approx(gib / 4)


def test_memory_is_for_the_larger_of_training_and_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small windows train in little memory, but whole tiles are predicted at once: half of 14 / 4 GiB for one."""
    monkeypatch.setitem(ARCHITECTURES, "unet", replace(ARCHITECTURES["unet"], gpu_gib=14, batch_size=4))
    windows = spec(architectures=("unet",), recipe=Recipe(window_px=128))
    assert needed_gib(windows, 2048) == 1.0
    assert needed_gib(windows, 2048, scored_px=1024) == pytest.approx(14 / 4 / 2)
    assert needed_gib(windows, 2048, scored_px=2048) == pytest.approx(4 * 14 / 4 / 2)
    assert needed_gib(spec(architectures=("unet",)), 1024, scored_px=1024) == pytest.approx(14)
    node = Node(cpus=64, gpus=1, gpu_gib=24)
    assert fit_slots(windows, [node], 2048, 128).count == 21
    assert fit_slots(windows, [node], 2048, 2048).count == 3


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
def test_what_fits_nowhere_is_refused(changes: dict[str, Any], nodes: list[Node], words: str) -> None:
    with pytest.raises(UserError, match=words):
        fit_slots(spec(**changes), nodes, 1024)
