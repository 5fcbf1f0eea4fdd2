"""A storage in memory, and the coordinators over it, one after another as drivers are."""

import pytest
from optuna.storages import InMemoryStorage

from tests.studies.search.in_memory import Begin, coordinate, make_spec


@pytest.fixture
def storage() -> InMemoryStorage:
    return InMemoryStorage()


@pytest.fixture
def begin(storage: InMemoryStorage) -> Begin:
    return lambda **changes: coordinate(make_spec(**changes), storage=storage)
