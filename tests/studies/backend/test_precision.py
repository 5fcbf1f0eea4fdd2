"""Which architectures a study on CPUs computes in bf16, asked of a real Ray's nodes."""

import time
from dataclasses import replace
from typing import Any

import pytest
import ray
from rich.console import Console

from studies.backend import precision
from studies.backend.cluster import ray_session
from studies.backend.precision import faster_in_bf16
from studies.backend.slots import Slots
from studies.spec import StudySpec
from trainables.config import Recipe, TrialConfig

ON_CPU = Slots(count=2, cpus=1, gpus=0.0, alone=(2, 0.0))
SPEC = StudySpec(architectures=("unet", "unet_resnet34"), tiles=(2, 4), recipe=Recipe(epochs=1, small=True))


@pytest.fixture
def asked(make_session, tmp_path):
    def ask(slots: Slots = ON_CPU, **recipe: str) -> tuple[str, ...]:
        changes: dict[str, Any] = {name: recipe.pop(name) for name in ("profile", "address") if name in recipe}
        spec = SPEC.model_copy(update=changes | {"recipe": SPEC.recipe.model_copy(update=recipe)})
        return faster_in_bf16(make_session(tmp_path, spec).inputs, slots, Console(quiet=True))

    return ask


def test_nothing_is_measured_where_the_type_is_settled(asked, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda: pytest.fail("it is asked for"))
    assert asked(slots=replace(ON_CPU, gpus=1.0)) == ()
    assert asked(precision="fp32") == asked(precision="bf16") == asked(profile="smoke") == ()


def test_study_takes_bf16_where_every_node_has_it_and_it_is_faster(asked, ray_address, monkeypatch, tmp_path):
    def is_faster(config: TrialConfig, *_: object) -> bool:
        (tmp_path / f"{config.architecture}-{time.time_ns()}").touch()
        if config.architecture != "unet":
            raise RuntimeError("not implemented for BFloat16")
        return True

    monkeypatch.setattr(precision, "_is_faster", ray.remote(is_faster))
    with ray_session(ray_address):
        for here, there, faster in ((True, True, ("unet",)), (True, False, ()), (False, True, ())):
            monkeypatch.setattr(precision, "has_bf16", lambda here=here: here)
            monkeypatch.setattr(precision, "_has_bf16", ray.remote(lambda there=there: there))
            assert asked(address=ray_address) == faster
    asked_of = sorted(path.name.partition("-")[0] for path in tmp_path.glob("unet*"))
    assert asked_of == ["unet", "unet_resnet34"]  # once, whatever the budgets


def test_arms_of_these_architectures_are_configured_so():
    spec = SPEC.model_copy(update={"bf16": ("unet_resnet34",), "tiles": (2,)})
    configs = [arm.config(spec, {"lr": 1e-3}, {}, init_seed=0, draw_seed=5) for arm in spec.arms()]
    assert [config.recipe.precision for config in configs] == ["auto", "bf16"]
    assert {config.recipe.draw_seed for config in configs} == {5}
