"""Inria's sources and the folder made of them, made once."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainables.made_up_sources import INRIA_SIDE, SOME_INRIA, write_inria
from trainables.datasets import inria_crops
from trainables.datasets.inria_crops import prepare_inria


def patched() -> Iterator[None]:
    """Some of Inria's tiles, and an overview of them that is drawn quickly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inria_crops, "_CELL_PX", 16)
        patch.setattr(inria_crops, "SPLITS", SOME_INRIA)
        yield


small_inria = pytest.fixture(patched)


@pytest.fixture(scope="session")
def inria_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs that no test changes."""
    return write_inria(tmp_path_factory.mktemp("inria"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, inria_sources: Path) -> Path:
    """The folder made of them, which no test changes."""
    dst = tmp_path_factory.mktemp("prepared") / "austin"
    with contextlib.contextmanager(patched)():
        prepare_inria(inria_sources, dst, side_px=INRIA_SIDE)
    return dst


@pytest.fixture
def src(tmp_path: Path, inria_sources: Path) -> Path:
    """Sources that a test may change."""
    return shutil.copytree(inria_sources, tmp_path / "src")


@pytest.fixture
def dst(tmp_path: Path, prepared: Path) -> Path:
    """A finished folder that a test may change."""
    return shutil.copytree(prepared, tmp_path / "dst")
