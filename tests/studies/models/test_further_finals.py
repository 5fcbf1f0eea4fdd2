"""The scores of final models on further test sets, without Ray: one opening per arm and set, and what is left of it."""

import pytest

from tests.studies.models.made_up_finals import Study
from trainables.common.errors import UserError

REGISTERS = ("seal.jsonl", "seal-b.jsonl")
ONCE = ["opened", "result"] * 2


@pytest.fixture
def study(tmp_path, monkeypatch, write_rgb, make_session):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    study = Study(tmp_path, write_rgb, make_session, **{"test-b": 3})
    study.train()
    return study


def test_every_arm_opens_each_set_once_test_first_and_keeps_its_predictions(study):
    assert study.score() == {}
    assert [study.events_in(name) for name in REGISTERS] == [ONCE, ONCE]
    arms = [arm.name for arm in study.plan.arms]
    looks = [look for look in study.seen if look[1] != tuple(study.ids("val"))]
    assert looks == [(arm, tuple(study.ids(split))) for split in ("test", "test-b") for arm in arms]
    folder = study.out / "predictions" / "test-b" / arms[0] / "model-1"
    assert {path.name for path in folder.iterdir()} == {f"{tile}_beside.jpg" for tile in study.ids("test-b")}
    row = study.content["unet-1"]
    assert row["test_iou"] == pytest.approx(0.445)
    found = row["further"]["test-b"]
    assert found["test_iou"] == pytest.approx(0.44)  # of three tiles, the last is .01 below the second
    assert [model["test_iou"] for model in found["models"]] == pytest.approx([0.39, 0.49])
    assert (found["opening"]["event"], found["opening"]["test_set"]) == ("opened", "b")


def test_rows_carry_the_name_of_the_set(study):
    study.score()
    rows = study.log.under("further/")
    assert [(row["arm"], row["number"], row["test_set"]) for row in rows] == [
        (arm, number, "b") for arm in ("unet-1", "unet-2") for number in (0, 1)
    ]
    assert rows[1]["test_tiles"] == study.ids("test-b")
    assert rows[1]["test_tile_iou"] == pytest.approx([0.5, 0.49, 0.48])
    models = {row["number"]: row["signature"] for row in study.log.under("model/") if row["arm"] == "unet-1"}
    assert {row["number"]: row["signature"] for row in rows[:2]} == models
    openings = [(row["arm"], row.get("test_set")) for row in study.log.under("opening/")]
    assert openings == [(arm, name) for name in (None, "b") for arm in ("unet-1", "unet-2")]
    assert list(study.log.pictures) == ["tested/unet-1", "tested/unet-2"]


def test_study_that_ended_between_two_sets_goes_on_with_the_other(study):
    last, scored = study.plan.arms[-1].name, study.score_all

    def ends(jobs, tiles, **named):
        results = scored(jobs, tiles, **named)
        if (last, tuple(study.ids("test"))) in study.seen:
            study.permit.withdraw("interrupted")
        return results

    study.score_all = ends
    assert study.score() == {}
    assert [study.events_in(name) for name in REGISTERS] == [ONCE, []]
    assert [row["further"] for row in study.content.values()] == [{"test-b": None}] * 2
    study.permit, study.score_all = study.make_session().permit, scored
    assert study.score() == {}
    assert [study.events_in(name) for name in REGISTERS] == [ONCE, ONCE]
    assert study.content["unet-2"]["further"]["test-b"]["test_iou"] == pytest.approx(0.44)
    assert study.score() == {}  # from the records
    assert [study.events_in(name) for name in REGISTERS] == [ONCE, ONCE]


def test_failure_on_one_set_takes_nothing_from_the_other_and_needs_a_reason(study):
    study.fails_for = {study.ids("test-b")[0]}
    words = "test-b: CUDA error: no luck; the tiles count as opened, look again with --reopen WHY"
    assert study.score() == {"unet-1": words, "unet-2": words}
    assert [study.events_in(name) for name in REGISTERS] == [ONCE, ["opened"] * 2]
    assert study.content["unet-1"]["test_iou"] == pytest.approx(0.445)
    study.fails_for = set()
    with pytest.raises(UserError, match=r"unet-1 opened the test-b tiles .* left no result"):
        study.score()
    assert study.score(reopen="the GPU was broken") == {}
    assert [study.events_in(name) for name in REGISTERS] == [ONCE, ["opened"] * 2 + ["reopened", "result"] * 2]
    assert study.content["unet-2"]["further"]["test-b"]["opening"]["reopened"] == ["the GPU was broken"]
    assert study.content["unet-2"]["opening"]["reopened"] == []
