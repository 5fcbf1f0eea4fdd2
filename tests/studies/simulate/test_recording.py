"""Recorded curves in a small file: what it keeps of a study, and what it leaves out."""

import json

import pytest

from benchmarks.search import RECORDING, recorded_spec
from studies.simulate.__main__ import main
from studies.simulate.curves import Recorded, best_known
from studies.simulate.recording import Curve, Recording
from trainables.common.errors import UserError


def test_a_file_has_points_curves_and_what_decided_them_but_no_paths(tmp_path):
    settings = {"data": "/home/me/tiles", "weights": ["/home/me/w.pt"], "cpus_per_trial": 4, "trials": 7, "epochs": 60}
    curve = Curve({"lr": 0.00123456, "augmentation": "LIGHT"}, [0.123456, 0.5], 1.23456)
    path = tmp_path / "curves.json"
    Recording(tmp_path, settings, {"unet-5": [curve, curve]}).write(path)
    assert "/home" not in path.read_text()
    again = Recording.read(path)
    assert again.settings == {"trials": 7}  # 60 epochs are the default
    assert again.curves["unet-5"][1] == Curve({"lr": 0.001235, "augmentation": "LIGHT"}, [0.1235, 0.5], 1.23)


@pytest.mark.parametrize("content", ["[1", "{}", '{"settings": {}, "curves": {"unet-5": [{"lr": 1}]}}', "[]"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "curves.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"holds no recorded curves .* give the folder of a study, or a file"):
        main(["--recorded", str(path)])


def test_the_curves_that_benchmarks_have_are_of_every_arm():
    recording = Recording.read(RECORDING)
    spec = recorded_spec(recording, seed=1)
    assert [arm.name for arm in spec.arms()] == list(recording.curves)
    for arm in spec.arms():
        whole = [curve.best[-1] for curve in recording.curves[arm.name] if len(curve.best) == spec.recipe.epochs]
        assert len(whole) >= 10
        assert max(whole) >= best_known(spec, Recorded(recording, spec), arm) >= sorted(whole)[-2]
    assert len(RECORDING.read_bytes()) < 40_000
    assert "/" not in json.dumps(recording.settings)
