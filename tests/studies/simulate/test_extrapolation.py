"""The stop by extrapolation: hand-computed decisions, and what a simulated study has on record of it."""

import pytest

from studies.search.memory_ledger import MemoryLedger
from studies.simulate.clock import Extrapolating, simulate
from studies.simulate.curves import MadeUp
from studies.simulate.extrapolation import Extrapolation
from studies.spec import StudySpec
from trainables.config import Recipe

FINISHED = [(0.25, 0.5, 0.75), (0.5, 0.5, 0.5), (0.5, 0.625, 0.75)]
"""At epochs 1, 2 and 3; from epoch 1 on, they grew by 3, 1 and 1.5 times, and from epoch 2 on by 1.5, 1 and 1.2."""


def stopper(finished=FINISHED, **changes: int) -> Extrapolation:
    found = Extrapolation(**{"epochs": 3, "grace_epochs": 1} | changes)
    for number, curve in enumerate(finished):
        for epoch, best in enumerate(curve, start=1):
            found.record(number, epoch, best)
    return found


@pytest.mark.parametrize(
    ("epoch", "best", "goes_on"),
    [
        (1, 0.25, True),  # 0.25 · 3 = 0.75, as good as the best
        (1, 0.24, False),
        (2, 0.50, True),
        (2, 0.49, False),
        (2, 0.80, True),  # the best already
    ],
)
def test_a_trial_goes_on_while_it_may_still_be_the_best(epoch, best, goes_on):
    found = stopper()
    found.record(9, epoch, best)
    assert found.goes_on(9, epoch) == goes_on
    assert found.why(2) == "below the best even if it grew as no other did from epoch 2"


def test_a_trial_that_never_had_anything_does_not_divide_by_zero():
    found = stopper([(0.0, 0.5, 0.6), *FINISHED[1:]])
    found.record(9, 1, 0.01)
    assert found.goes_on(9, 1)


@pytest.mark.parametrize(
    "others",
    [
        {"finished": FINISHED[:2]},  # of two, nothing is known
        {"grace_epochs": 2},
        {"after_epoch": 1},  # the first epoch was of a frozen encoder
    ],
)
def test_nothing_is_stopped_too_early(others):
    found = stopper(**others)
    found.record(9, 1, 0.01)
    assert found.goes_on(9, 1)


def test_decisions_do_not_depend_on_the_order_of_the_records():
    again = Extrapolation(epochs=3, grace_epochs=1)
    for epoch in (3, 1, 2):
        for number in (2, 0, 1):
            again.record(number, epoch, FINISHED[number][epoch - 1])
            again.record(number, epoch, 0.99)  # the first record stands
    for best in (0.2, 0.24, 0.25, 0.3):
        found = [stopper(), again]
        for one in found:
            one.record(9, 1, best)
        assert found[0].goes_on(9, 1) == found[1].goes_on(9, 1)
        again.rungs[1].pop(9)


def test_a_simulated_study_says_why_trials_were_stopped():
    spec = StudySpec(architectures=("unet",), tiles=(24,), trials=12, grace_epochs=2, recipe=Recipe(epochs=8))
    ledger = MemoryLedger({arm.name: "" for arm in spec.arms()})
    (arm,) = simulate(spec, MadeUp(spec=spec), gpus=1, ledger=ledger, search=Extrapolating).arms.values()
    stopped = [trial for trial in ledger.trials("unet-24") if trial.user_attrs["outcome"] == "stopped"]
    assert arm.trials == {"finished": 12 - len(stopped), "stopped": len(stopped)}
    assert len(stopped) >= 1
    for trial in stopped:
        epochs = trial.user_attrs["epochs"]
        assert epochs >= 2
        assert trial.user_attrs["reason"] == f"below the best even if it grew as no other did from epoch {epochs}"
