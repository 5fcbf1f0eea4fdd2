"""Whether a study on CPUs computes in bf16, asked of a real Ray's nodes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import ray
from rich.console import Console

from studies.backend import precision
from studies.backend.cluster import ray_session
from studies.backend.precision import is_faster_in_bf16
from studies.backend.slots import Slots
from studies.spec import StudySpec
from trainables.config import Recipe, TrialConfig

ON_CPU = Slots(count=2, cpus=1, gpus=0.0, alone=(2, 0.0))
SPEC = StudySpec(architectures=("unet", "unet_resnet34"), tiles=(2, 4), recipe=Recipe(epochs=1, small=True))


@pytest.fixture
def asked(make_session, tmp_path):
    def ask(slots: Slots = ON_CPU, **recipe: str) -> bool:
        changes: dict[str, Any] = {name: recipe.pop(name) for name in ("profile", "address") if name in recipe}
        spec = SPEC.model_copy(update=changes | {"recipe": SPEC.recipe.model_copy(update=recipe)})
        return is_faster_in_bf16(make_session(tmp_path, spec).inputs, slots, Console(quiet=True))

    return ask


def test_nothing_is_measured_where_the_type_is_settled(asked, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda: pytest.fail("it is asked for"))
    assert not asked(slots=replace(ON_CPU, gpus=1.0))
    assert not any((asked(precision="fp32"), asked(precision="bf16"), asked(profile="smoke")))


def test_study_takes_bf16_where_every_node_has_it_and_steps_are_clearly_faster_in_it(asked, ray_address, monkeypatch):
    seconds = {"bf16": 0.0, "fp32": 1.0}
    errors = iter((RuntimeError, TypeError))

    def measure(config: TrialConfig, _: object, precisions: Sequence[str], num_threads: int) -> dict[str, float]:
        assert num_threads == ON_CPU.cpus
        if seconds["bf16"] < 0:
            raise next(errors)("not implemented for BFloat16")
        return {name: seconds[name] if config.architecture == "unet" else 3.0 for name in precisions}

    monkeypatch.setattr("trainables.precision.step_seconds", measure)
    with ray_session(ray_address):
        for here, there, half, expected in (
            (True, True, 0.5, True),  # 3.5 s of 4 s
            (True, True, 0.7, False),  # 3.7 s of 4 s
            (True, True, -1, False),
            (True, True, -1, False),  # with an error of another kind
            (True, False, 0.1, False),
            (False, True, 0.1, False),
        ):
            seconds["bf16"] = half
            monkeypatch.setattr(precision, "has_bf16", lambda here=here: here)
            monkeypatch.setattr(precision, "_has_bf16", ray.remote(lambda there=there: there))
            assert asked(address=ray_address) is expected


def test_networks_are_timed_once_whatever_the_budgets_and_adaptations(make_session, monkeypatch, tmp_path):
    seen = []

    def measure(config: TrialConfig, _: object, precisions: Sequence[str], __: int) -> dict[str, float]:
        seen.append((config.architecture, config.tiles, tuple(precisions)))
        return {"bf16": 0.5, "fp32": 1.0}

    names = ("unet:resnet18@scratch", "unet:resnet18@frozen", "fpn:resnet18@scratch", "unet")
    monkeypatch.setattr(precision, "has_bf16", lambda: True)
    monkeypatch.setattr("trainables.precision.step_seconds", measure)
    changes = {"architectures": names, "weights": ("none",)}
    inputs = make_session(tmp_path, SPEC.model_copy(update=changes)).inputs
    assert is_faster_in_bf16(inputs, ON_CPU, Console(quiet=True))
    timed = ("unet:resnet18@scratch", "fpn:resnet18@scratch", "unet")
    assert sorted(seen) == sorted((name, 2, ("bf16", "fp32")) for name in timed)


@pytest.mark.parametrize(
    ("bf16", "asked_for", "expected"),
    [(True, "auto", "bf16"), (False, "auto", "auto"), (None, "auto", "auto"), (True, "fp32", "fp32")],
)
def test_all_arms_are_configured_so(bf16, asked_for, expected):
    recipe = SPEC.recipe.model_copy(update={"precision": asked_for})
    spec = SPEC.model_copy(update={"bf16": bf16, "tiles": (2,), "recipe": recipe})
    configs = [arm.config(spec, {"lr": 1e-3}, {}, init_seed=0, draw_seed=5) for arm in spec.arms()]
    assert {config.recipe.precision for config in configs} == {expected}
    assert {config.recipe.draw_seed for config in configs} == {5}
