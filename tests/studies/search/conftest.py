"""A ledger in memory, and the coordinators over it, one after another as drivers are."""

import pytest

from studies.search.memory_ledger import MemoryLedger
from tests.studies.search.in_memory import Begin, coordinate, make_spec


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger({})


@pytest.fixture
def begin(ledger: MemoryLedger) -> Begin:
    return lambda **changes: coordinate(make_spec(**changes), ledger=ledger)
