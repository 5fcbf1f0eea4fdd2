"""Checks the columns of epochs against dictionaries of rows, which say the same at more length."""

import math
from typing import Any

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.logs.epochs import Epochs, epochs_of, history_frame, joined

NAMES = ["lr", "val/iou", "val/loss", "val/iou/a.b"]
numbers = st.one_of(st.integers(-5, 5), st.floats(allow_nan=False), st.booleans())
values = st.one_of(numbers, st.none(), st.just("text"), st.just([1, 2]), st.just({"_type": "image-file"}))
rows = st.builds(
    lambda epoch, row: {"epoch": epoch} | row if epoch else row,
    st.integers(0, 6),
    st.dictionaries(st.sampled_from([*NAMES, "_step", "_runtime"]), values),
)


def expected(runs: list[list[dict[str, Any]]]) -> list[dict[str, float]]:
    """What the runs of one trial hold, an epoch's first record standing, in plain words."""
    epochs: dict[int, dict[str, float]] = {}
    for run in runs:
        for row in run:
            if "epoch" in row:
                kept = {k: float(v) for k, v in row.items() if k[0] != "_" and isinstance(v, int | float)}
                epochs.setdefault(row["epoch"], kept)
    return [epochs[epoch] for epoch in sorted(epochs)]


def as_rows(epochs: Epochs) -> list[dict[str, float]]:
    return [
        {name: value for name, value in zip(epochs.names, row, strict=True) if not math.isnan(value)}
        for row in epochs.numbers.tolist()
    ]


@settings(deadline=None)
@given(st.lists(st.lists(rows, max_size=6), max_size=4))
def test_joined_epochs_are_those_of_the_rows(runs: list[list[dict[str, Any]]]):
    assert as_rows(joined([epochs_of(run) for run in runs])) == expected(runs)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(rows, max_size=6), max_size=5))
def test_history_frame_has_the_rows_of_each_trial_under_its_own_name(trials: list[list[dict[str, Any]]]):
    runs = pd.DataFrame({"arm": [f"arm{i}" for i in range(len(trials))], "number": range(len(trials))})
    frame = history_frame(runs, [joined([epochs_of(trial)]) for trial in trials])
    wanted = [{"arm": f"arm{i}", "number": i} | row for i, trial in enumerate(trials) for row in expected([trial])]
    found = [{k: v for k, v in row.items() if not pd.isna(v)} for row in frame.to_dict("records")]
    assert found == wanted
    others = {key for trial in trials for row in trial if "epoch" in row for key in expected([[row]])[0]} - {"epoch"}
    assert list(frame.columns) == ["arm", "number", "epoch", *sorted(others)]
    assert frame["epoch"].dtype == "int64"


def test_epochs_of_leaves_out_a_row_without_an_epoch_and_a_column_that_was_never_logged_is_missing():
    rows = [{"epoch": epoch, "lr": 1.0} for epoch in (0, -1, None, "1", math.nan)]
    found = epochs_of([*rows, {"lr": 3.0}, {"epoch": 1, "lr": 2.0}, {"epoch": 2}])
    assert as_rows(found) == [{"epoch": 1.0, "lr": 2.0}, {"epoch": 2.0}]
    assert [math.isnan(value) for value in found.column("val/iou")] == [True, True]
