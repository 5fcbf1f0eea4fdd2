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
        # A GPU is shared by what the largest architecture needs: U-Net 14 GiB, and 0.9 · 139 / 14 = 8.9
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
def test_trials_fit_on_machines(changes: dict[str, Any], nodes: list[Node], slots: Slots) -> None:
    found = fit_slots(spec(**changes), nodes, 1024)
    assert found == slots
    assert found.device == ("cuda" if slots.gpus else "cpu")


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
