"""Rules of the house: sizes of folders and files, and which private names of libraries are used.

A folder of product holds about 14 Python files, and at most 18: what is more belongs into a folder of its own.
Each private name is there, and its library is bounded to the versions that were looked at.
"""

import importlib
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PRODUCT = ("analysis", "benchmarks", "searchspace", "studies", "trainables")
MOST_FILES = 18
MOST_LINES = 300


def count_lines(*folders: str) -> dict[str, int]:
    """Lines by file, relative to the project."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_bytes().count(b"\n") for path in paths}


def test_no_folder_of_product_has_too_many_files():
    sizes = Counter(Path(path).parent.as_posix() for path in count_lines(*PRODUCT))
    assert {folder: size for folder, size in sizes.items() if size > MOST_FILES} == {}


def test_no_file_is_too_long():
    assert {path: size for path, size in count_lines(*PRODUCT, "tests").items() if size > MOST_LINES} == {}


def test_tests_are_no_longer_than_the_product():
    page = [path for kind in ("js", "css") for path in (ROOT / "analysis").rglob(f"*.{kind}")]
    product = sum(count_lines(*PRODUCT).values()) + sum(path.read_bytes().count(b"\n") for path in page)
    assert sum(count_lines("tests").values()) <= product


# Private names of libraries

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
    for room in PRODUCT:
        for path in (ROOT / room).rglob("*.py"):
            modules = re.findall(r"^\s*(?:from|import) (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            found |= {m for m in modules if "proto" in m.split(".") or "._" in m}
    assert found == known
