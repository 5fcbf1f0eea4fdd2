"""Checks rows of history against the values that went into their records, whatever keys and values these have."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wandb.proto.wandb_internal_pb2 import Record

from analysis.logs.record_log import join_records
from analysis.logs.wandb_run import read_run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "run-a.wandb"


def read(path: Path, *records: Any) -> list[dict[str, Any]]:
    """Returns the rows of a file with these records."""
    head = Record()
    head.run.run_id, head.run.job_type = "a", "trial"
    path.write_bytes(join_records(record.SerializeToString() for record in (head, *records)))
    notes: list[str] = []
    run = read_run(path, notes)
    assert run is not None
    assert notes == []
    return run.rows


def history(row: dict[str, Any], *, num: int = 0, step: int | None = None, flat: bool = False) -> Any:
    record = Record()
    record.num = num
    record.history.SetInParent()
    for key, value in row.items():
        about = {"key": key} if flat else {"nested_key": [key]}
        record.history.item.add(**about, value_json=json.dumps(value, ensure_ascii=False))
    if step is not None:
        record.history.step.num = step
    return record


keys = st.one_of(
    st.sampled_from(["epoch", "val/iou", "_step", "a b", "val/iou/tile.1-2"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=150),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
)
numbers = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False))
values = st.one_of(numbers, st.booleans(), st.none(), st.text(max_size=140), st.lists(numbers, max_size=3))
nums = st.integers(1, 2**40)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(keys, numbers, max_size=25), nums, st.none() | nums | st.just(0), st.booleans())
@example({"k" * 127: 1, "k" * 128: 2}, 1, 0, False)
@example({"\n": 1, "\x12": 2, "\x82\x01": 3}, 1, 0, False)
def test_rows_of_numbers_are_read_as_they_were_logged(path: Path, row, num: int, step: int | None, flat: bool):
    (found,) = read(path, history(row, num=num, step=step, flat=flat))
    assert (found, list(map(type, found.values()))) == (row, list(map(type, row.values())))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(keys, values, max_size=6), max_size=4), nums)
def test_rows_of_anything_are_read_as_they_were_logged(path: Path, rows, num: int):
    assert read(path, *(history(row, num=num + i, step=i) for i, row in enumerate(rows))) == rows


def test_values_that_json_does_not_know_are_read(path: Path):
    row = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1e300, "e": 1e-7}
    (found,) = read(path, history(row, num=300, step=70000))
    assert math.isnan(found.pop("a"))
    assert found == {"b": math.inf, "c": -math.inf, "d": 1e300, "e": 1e-7}


def test_keys_that_are_paths_are_nested_beside_numbers_and_summaries_are_no_rows(path: Path):
    summary = Record()
    summary.num = 6
    summary.summary.update.add(nested_key=["epoch"], value_json="1")
    record = history({"epoch": 1, "lr": 0.5}, num=7)
    record.history.item.add(nested_key=["overlays", "count"], value_json="4")
    record.history.item.add(nested_key=["overlays", "format"], value_json='"png"')
    assert read(path, summary, record) == [{"epoch": 1, "lr": 0.5, "overlays": {"count": 4, "format": "png"}}]
