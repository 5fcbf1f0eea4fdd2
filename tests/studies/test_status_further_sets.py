"""What `python -m studies.status OUT` says of further test sets."""

import json

import pytest

from studies.files import folder
from tests.studies.begun_study import Study


@pytest.mark.parametrize(("further", "state"), [({}, "complete"), ({"test-b": None}, "not running")])
def test_study_is_complete_when_every_set_was_scored(tmp_path, say, further, state):
    study = Study(tmp_path, phase="phase1_comparison", architectures=["unet"])
    study.finish()
    row = {"test_iou": 0.5, "models": [{}, {}], "further": further}
    folder.write_json(tmp_path / "models.json", {"unet-24": row})
    assert f": {state}; " in say(tmp_path).splitlines()[0]


def test_openings_of_every_set_are_told_with_its_name(tmp_path, say):
    Study(tmp_path)
    about = {"event": "opened", "arm": "unet-24", "attempt": "f0"}
    for name, at, which in (("seal-b", "11:00", {"test_set": "b"}), ("seal", "10:00", {})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**about, "at": at, **which}), encoding="utf-8")
    assert [line for line in say(tmp_path).splitlines() if " tiles: " in line] == [
        "test tiles: opened for unet-24 (attempt f0) at 10:00",
        "test-b tiles: opened for unet-24 (attempt f0) at 11:00",
    ]
