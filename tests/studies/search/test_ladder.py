"""ASHA's ladder: hand-computed decisions."""

import pytest

from studies.search.ladder import Ladder


def ladder(**changes: int) -> Ladder:
    return Ladder(**{"epochs": 60, "grace_epochs": 8, "reduction_factor": 3} | changes)


def test_rungs_are_powers_below_the_last_epoch():
    assert list(ladder().rungs) == [8, 24]
    assert list(ladder(epochs=24).rungs) == [8]
    assert list(ladder(epochs=8).rungs) == []


def test_rungs_are_counted_from_the_end_of_the_frozen_stage():
    assert list(ladder(after_epoch=20).rungs) == [28, 44]
    assert list(ladder(after_epoch=52).rungs) == []


@pytest.mark.parametrize(
    ("values", "goes_on"),
    [
        ([0.5], [True]),  # the first to arrive has nobody to be compared with
        ([0.5, 0.4], [True, False]),
        ([0.4, 0.5], [True, True]),
        ([0.5, 0.5], [True, True]),  # a tie goes on
        ([0.1, 0.2, 0.3, 0.25], [True, True, True, True]),  # ceil(4 / 3) = 2 of four go on
        ([0.1, 0.2, 0.3, 0.15], [True, True, True, False]),
    ],
)
def test_trial_goes_on_among_the_best_third(values, goes_on):
    rungs = ladder()
    decisions = []
    for number, value in enumerate(values):
        rungs.record(number, 8, value)
        decisions.append(rungs.goes_on(number, 8))
    assert decisions == goes_on


def test_between_rungs_every_trial_goes_on():
    rungs = ladder()
    for number, value in enumerate((0.9, 0.1)):
        rungs.record(number, 7, value)
        assert rungs.goes_on(number, 7)
    assert rungs.rungs[8] == {}


def test_first_record_at_a_rung_stands():
    rungs = ladder()
    rungs.record(0, 8, 0.5)
    rungs.record(0, 8, 0.9)
    assert rungs.rungs[8] == {0: 0.5}
