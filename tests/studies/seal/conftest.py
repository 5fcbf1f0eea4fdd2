"""A folder of tiles, and a user's data folder that is the test's own."""

from pathlib import Path

import pytest

from studies.seal.register import Register
from tests.studies.seal.registers import make


@pytest.fixture(autouse=True)
def user_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.fixture
def root(tmp_path, write_rgb) -> Path:
    return write_rgb(tmp_path / "tiles", counts={"train": 1, "val": 1, "test": 2})


@pytest.fixture
def register(root: Path) -> Register:
    return make(root)
