"""Private names of libraries: each is there, and its library is bounded to the versions that were looked at."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

PRIVATE = {
    "ray._private.utils:read_ray_address": "ray",
    "ray.air.execution._internal.actor_manager:RayActorManager._actor_task_failed": "ray",
    "ray.air.execution._internal.actor_manager:RayActorManager._actor_start_failed": "ray",
    "torch._subclasses.fake_tensor:FakeTensorMode": "torch",
    "torch.utils._python_dispatch:TorchDispatchMode": "torch",
    "torch.utils._pytree:tree_map_only": "torch",
    "torchvision.models._utils:IntermediateLayerGetter": "torchvision",
    "wandb.proto.wandb_internal_pb2:Record": "wandb",
}
"""Module, name, and the library whose versions are bounded for it."""


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {line.name: line for line in map(Requirement, project["dependencies"])}


@pytest.mark.parametrize("name", PRIVATE)
def test_private_name_is_there(name):
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    assert callable(found)


@pytest.mark.parametrize("library", sorted(set(PRIVATE.values())))
def test_library_with_private_names_has_an_upper_bound(library):
    assert any(bound.operator in ("<", "<=", "==") for bound in requirements()[library].specifier)


def test_no_other_private_module_is_imported():
    known = {name.partition(":")[0] for name in PRIVATE}
    found = set()
    for room in ("trainables", "searchspace", "studies", "analysis", "benchmarks"):
        for path in (ROOT / room).rglob("*.py"):
            modules = re.findall(r"^\s*(?:from|import) (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            found |= {m for m in modules if "proto" in m.split(".") or "._" in m}
    assert found == known
