"""Simulated studies: time and epochs by hand, the production ledger beside the one in memory, recorded curves."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks import record
from searchspace.spaces import Point
from studies.files import folder
from studies.search.ledger import Ledger
from studies.settings.arms import Arm
from studies.simulate.__main__ import main
from studies.simulate.clock import simulate
from studies.simulate.curves import MadeUp, Recorded, place
from studies.simulate.recording import Recording
from studies.spec import StudySpec
from trainables.common.errors import UserError
from trainables.config import Recipe

EPOCHS = 4


def make_spec(**changes: Any) -> StudySpec:
    settings = {"architectures": ("unet",), "tiles": (5, 24), "trials": 6, "grace_epochs": 1, "reduction_factor": 2}
    return StudySpec.model_validate(settings | {"recipe": Recipe(epochs=EPOCHS)} | changes)


class Rising:
    """Curves of which each is under the one before, in epochs of two minutes: a ladder stops what comes later."""

    def __init__(self) -> None:
        self._count = 0

    def values(self, arm: Arm, point: Point) -> Sequence[float]:
        self._count += 1
        return [(epoch + 1) / (EPOCHS * self._count) for epoch in range(EPOCHS)]

    def epoch_seconds(self, arm: Arm) -> float:
        return 120.0


def test_without_a_ladder_time_and_epochs_are_those_of_all_trials():
    spec = make_spec(grace_epochs=EPOCHS)
    one = simulate(spec, Rising(), gpus=1)
    assert [arm.epochs for arm in one.arms.values()] == [6 * EPOCHS] * 2
    assert one.hours == pytest.approx(2 * 6 * EPOCHS * 120 / 3600)
    assert (one.utilisation, one.num_trials) == (pytest.approx(1.0), 12)
    assert [arm.best for arm in one.arms.values()] == [1.0, 0.5]
    many = simulate(spec, Rising(), gpus=8)
    assert many.hours == pytest.approx(2 * EPOCHS * 120 / 3600)  # 12 trials: two turns of eight
    assert many.utilisation == pytest.approx(12 / 16)


def test_a_ladder_stops_what_is_worse():
    """Of each arm, the first runs its course, the second is half as good at the first rung: so are all others."""
    one = simulate(make_spec(tiles=(24,)), Rising(), gpus=1)
    (arm,) = one.arms.values()
    assert arm.trials == {"finished": 1, "stopped": 5}
    assert arm.epochs == EPOCHS + 5
    assert (arm.epochs_until(1.0), arm.epochs_until(1.1)) == (EPOCHS, None)


def test_the_ledger_in_memory_gives_the_study_of_the_one_in_a_file(tmp_path):
    spec = make_spec(trials=14)
    ledger = Ledger(tmp_path / "optuna.db", {arm.name: arm.name for arm in spec.arms()}, study_id="one")
    written, kept = (simulate(spec, MadeUp(spec=spec), gpus=3, ledger=one) for one in (ledger, None))
    ledger.close()
    assert written == kept
    assert {outcome for arm in kept.arms.values() for outcome in arm.trials} == {"finished", "stopped"}


def test_made_up_curves_follow_from_seed_and_point():
    spec, other = make_spec(), make_spec()
    arm, point = spec.arms()[0], {"lr": 1e-3, "augmentation": "MEDIUM", "decoder_dropout": 0.3, "bce_weight": 0.5}
    point = {name: point[name] for name in spec.arms()[0].space(spec)}
    assert MadeUp(spec=spec, seed=1).values(arm, point) == MadeUp(spec=other, seed=1).values(arm, point)
    assert MadeUp(spec=spec, seed=1).values(arm, point) != MadeUp(spec=spec, seed=2).values(arm, point)
    assert all(0 <= value <= 1 for value in MadeUp(spec=spec, seed=1).values(arm, point))


def test_places_are_where_a_point_lies_in_each_range():
    spec = make_spec(architectures=("unet_resnet34",))
    space = spec.arms()[0].space(spec)
    point = {"lr": 1e-3, "augmentation": "MEDIUM", "decoder_dropout": 0.5, "bce_weight": 0.1}
    places = dict(zip(space, place(space, point), strict=True))
    assert places == pytest.approx({"lr": 0.5, "augmentation": 1 / 3, "decoder_dropout": 1.0, "bce_weight": 0.0})


@pytest.fixture
def recorded(tmp_path):
    """The folder of a study whose ledger was simulated, with no trial stopped early."""
    spec = make_spec(grace_epochs=EPOCHS)
    provenance = {"study_id": "one", "weights_digests": {}, "num_train_tiles": 24, "segments": []}
    folder.write_study(tmp_path, spec, provenance, slots="", versions={})
    ledger = Ledger(tmp_path / folder.LEDGER, {arm.name: arm.name for arm in spec.arms()}, study_id="one")
    simulate(spec, MadeUp(spec=spec), gpus=1, ledger=ledger)
    ledger.close()
    return tmp_path, spec


def test_recorded_curves_are_those_of_the_nearest_trial(recorded):
    out, spec = recorded
    found, made_up = Recorded(Recording.read(out), spec), MadeUp(spec=spec)
    again = simulate(spec, found, gpus=1)
    assert again == simulate(spec, made_up, gpus=1)  # the same points, each nearest to itself
    assert found.epoch_seconds(spec.arms()[0]) == 60.0
    with pytest.raises(UserError, match="no trial of unet-5 that ran 5 epochs: record some with --grace-epochs 5"):
        Recorded(Recording.read(out), make_spec(recipe=Recipe(epochs=5)))


def test_a_row_per_case_and_what_it_takes(recorded, capsys):
    flags = ["--recorded", str(recorded[0]), "--gpus", "1", "3", "--stoppers", "none", "--repeats", "1"]
    assert main(flags) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("tpe")]
    assert [row[:4] for row in rows] == [["tpe", "none", "1", "0.80"], ["tpe", "none", "3", "0.27"]]
    assert rows[0][4:7] == ["100", "%", "48"]
    assert not math.isnan(float(rows[0][7]))


def test_a_folder_becomes_a_file_that_simulates_the_same(recorded, tmp_path, capsys):
    path = tmp_path / "curves.json"
    assert record.main([str(recorded[0]), str(path)]) == 0
    shown = []
    for source in (recorded[0], path):
        assert main(["--recorded", str(source), "--stoppers", "asha", "extrapolate", "--repeats", "1"]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("tpe")]
        shown.append([row[:-2] for row in rows])  # but for the seconds that it took
    assert len(shown[0]) == 2
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gpus", "0"], "it is 0, but must be a whole number of 1 or more"),
        (["--architectures", "unett"], "did you mean"),
        (["--recorded", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_simulated_is_refused(flags, message):
    with pytest.raises(UserError, match=message):
        main(flags)
