"""Checks what a few scores are summed up to: by hand and against scipy."""

import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from analysis.stats.summaries import summarise


def test_summarise_by_hand():
    summary = summarise([0.9, 0.1, 0.5, 0.4, 0.6])
    assert (summary.n, summary.median) == (5, 0.5)
    assert summary.mean == pytest.approx(0.5)
    assert summary.iqm == pytest.approx(0.5)  # .1 and .9 are left out
    assert summary.sd == pytest.approx(np.sqrt((0.16 + 0.16 + 0 + 0.01 + 0.01) / 4))


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=17))
def test_summarise_agrees_with_scipy(values):
    summary = summarise(values)
    assert summary.iqm == pytest.approx(scipy.stats.trim_mean(values, 0.25), abs=1e-12)
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert summary.median == pytest.approx(np.median(values), abs=1e-12)
    if len(values) == 1:
        assert summary.sd is None
    else:
        assert summary.sd == pytest.approx(statistics.stdev(values), abs=1e-12)


@pytest.mark.parametrize("values", [[], [0.5, np.nan], [np.inf]])
def test_summarise_refuses_what_has_no_mean(values):
    with pytest.raises(ValueError, match="must be at least one and finite"):
        summarise(values)
