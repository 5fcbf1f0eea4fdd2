"""The scores of final models, without Ray: what is put on record, what counts as opened, and what stays sealed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from studies.models import final_rows
from studies.models.scores import ScoringJob, ScoringResult
from studies.seal.seal import Attempt, Seal
from studies.search.trials import TrialKey
from tests.studies.models.made_up_finals import NUM_TEST, Study, save_picture
from tests.studies.reports import epoch_report
from trainables.common.errors import UserError
from trainables.data.decode import decode_open
from trainables.data.tiles import Tiles


@pytest.fixture
def unfinished(tmp_path, monkeypatch, write_rgb, make_session):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    return Study(tmp_path, write_rgb, make_session)


@pytest.fixture
def study(unfinished):
    unfinished.train()
    return unfinished


def test_every_arm_opens_the_tiles_once_and_keeps_its_predictions(study):
    assert study.score() == {}
    assert study.events == ["opened", "result"] * 2
    assert list(study.content) == ["unet-1", "unet-2"]
    row = study.content["unet-1"]
    assert [model["test_iou"] for model in row["models"]] == pytest.approx([0.395, 0.495])
    assert row["test_iou"] == pytest.approx(0.445)
    assert [model["ensemble_iou"] for model in row["models"]] == pytest.approx([0.295] * 2)
    assert row["opening"]["event"] == "opened"
    folder = study.out / "predictions" / "test" / study.plan.arms[0].name / "model-1"  # by the configuration too
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{tile}_beside.jpg" for tile in study.ids("test")}
    assert row["models"][1]["test_tile_confusion"] == {tile: [3, 1, 1, 2] for tile in study.ids("test")}


def test_models_tell_what_they_are_and_what_they_came_to(study):
    study.score()
    (val,) = study.ids("val")
    for arm, search_arm in zip(study.plan.arms, ("unet-1", "unet-2"), strict=True):
        row = study.content[search_arm]
        for number, model in enumerate(row["models"]):
            config = study.coordinator.trials[arm, number].config
            assert (model["arm"], model["run_arm"], model["number"]) == (search_arm, arm.name, number)
            assert (model["subset"], model["seed"], model["state"]) == (0, number, "finished")
            assert model["signature"] == config.signature()
            assert model["init_seed"] == config.init_seed
            assert model["draw_seed"] == config.recipe.draw_seed
            assert model["subset_seed"] == config.recipe.subset_seed
            assert (model["best_epoch"], model["epochs"], model["seconds"]) == (1, 1, 1.0)
            assert model["val_iou"] == pytest.approx(0.4 + number / 10)
            assert list(model["val_tile_iou"]) == [val]
            assert list(model["test_tile_iou"]) == study.ids("test")
    attempts = {row["attempt"] for row in study.log.under("model/")}
    assert attempts == {row["opening"]["attempt"] for row in study.content.values()}
    logged = [(row["arm"], row["number"], row["test_tiles"]) for row in study.log.under("model/")]
    assert logged == [(arm, number, study.ids("test")) for arm in ("unet-1", "unet-2") for number in (0, 1)]
    assert [row["event"] for row in study.log.under("opening/")] == ["opened"] * 2


def test_pictures_of_the_median_model_are_logged(study):
    """Of two models, the poorer one."""
    study.score()
    assert list(study.log.pictures) == ["tested/unet-1", "tested/unet-2"]
    pictures, captions = study.log.pictures["tested/unet-1"]
    assert captions == study.ids("test")
    assert [int(picture.max()) for picture in pictures] == [0] * NUM_TEST


def test_pictures_of_many_tiles_are_every_so_many_th_the_same_for_all_arms(study, monkeypatch):
    monkeypatch.setattr(final_rows, "MAX_PICTURES", 3)
    tiles = [f"t{number}" for number in range(10)]
    arm = study.plan.arms[0]
    folder = study.out / "predictions" / "test" / arm.name / "model-0"
    folder.mkdir(parents=True)
    for tile in tiles:
        save_picture(np.zeros((8, 8, 3), np.uint8), folder, tile)
    ious = dict(zip(tiles, (0.5, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.0), strict=True))
    row = {"number": 0, "test_iou": 0.5, "test_tile_iou": ious}
    final_rows.log_pictures(study.make_session(log=study.log), arm, [row])
    shown = study.log.pictures["tested/unet-1"][1]
    assert shown == ["t0", "t4", "t9"]


def test_without_a_seal_nothing_of_the_test_tiles_is_read_or_written_until_there_is_one(study):
    assert study.score(is_sealed=True) == {}
    assert study.events == []
    assert {ids for _, ids in study.seen} == {tuple(study.ids("val"))}
    assert not (study.out / "predictions").exists()
    assert study.log.pictures == {}
    assert study.log.under("opening/") == []
    for arm, row in study.content.items():
        assert row.keys() == {"test_iou", "models"}
        assert row["test_iou"] is None
        assert [model["val_iou"] for model in row["models"]] == pytest.approx([0.4, 0.5])
        assert {model["test_iou"] for model in row["models"]} == {None}
        logged = [one for one in study.log.under("model/") if one["arm"] == arm]
        assert not any(one.keys() & {"test_iou", "attempt"} for one in logged)
    assert study.score() == {}  # later, they can be tested
    assert study.events == ["opened", "result"] * 2
    assert study.content["unet-2"]["test_iou"] == pytest.approx(0.445)


@pytest.mark.parametrize(("other", "event"), [("one", "opened"), ("two", "recorded")])
def test_second_time_the_result_on_record_is_used_also_by_another_study(study, other, event):
    study.score()
    first, looks = study.content, len(study.seen)
    assert study.score(reopen="because", study=other) == {}
    assert [row["event"] for row in study.log.under("opening/")] == [event] * 2
    for arm, row in study.content.items():
        assert (row["models"], row["test_iou"]) == (first[arm]["models"], first[arm]["test_iou"])
    assert study.events == ["opened", "result"] * 2
    assert {ids for _, ids in study.seen[looks:]} == {tuple(study.ids("val"))}
    assert set(study.log.pictures) == {"tested/unet-1", "tested/unet-2"}  # as they were saved when it was open


def test_opening_whose_models_could_not_be_scored_leaves_no_result_and_says_so(study):
    study.fails_for = {study.ids("test")[0]}
    words = "CUDA error: no luck; the tiles count as opened, look again with --reopen WHY"
    assert study.score() == {"unet-1": words, "unet-2": words}
    assert study.events == ["opened"] * 2
    study.fails_for = set()
    with pytest.raises(UserError, match=r'left no result, .*: continue with --reopen "'):
        study.score()
    assert study.score(reopen="the GPU was broken") == {}
    assert study.events == ["opened", "opened", "reopened", "result", "reopened", "result"]
    assert study.content["unet-2"]["opening"]["reopened"] == ["the GPU was broken"]
    assert [row["event"] for row in study.log.under("opening/")] == ["opened", "reopened"] * 2


def test_ensemble_that_cannot_be_scored_takes_nothing_from_its_models(study):
    study.fails_models = {f"{study.plan.arms[0].name}/-1/{study.ids('test')[0]}"}
    assert study.score() == {}
    assert study.events == ["opened", "result"] * 2
    first, second = study.content.values()
    assert {model["ensemble_iou"] for model in first["models"]} == {None}
    assert [model["test_iou"] for model in first["models"]] == pytest.approx([0.395, 0.495])
    assert [model["ensemble_iou"] for model in second["models"]] == pytest.approx([0.295] * 2)


def test_arm_that_may_not_look_again_takes_nothing_from_the_others(study):
    first = study.plan.arms[0]
    signatures = tuple(study.coordinator.trials[first, n].config.signature() for n in (0, 1))
    decoded = decode_open(study.dataset)
    tiles = decoded.tiles
    Seal(study.dataset, decoded.rule, out=study.out, study="one", study_id="one").open(
        Attempt(arm="unet-1", signatures=signatures, tiles=f"{tiles.digest()} {tiles.scale}")
    )  # by a driver that was killed then
    with pytest.raises(UserError, match=r"unet-1 opened the test tiles .* and left no result"):
        study.score()
    assert study.content["unet-2"]["test_iou"] == pytest.approx(0.445)
    assert study.content["unet-1"]["test_iou"] is None
    assert [model["val_iou"] for model in study.content["unet-1"]["models"]] == pytest.approx([0.4, 0.5])
    assert [row["arm"] for row in study.log.under("opening/")] == ["unet-2"]


def test_nothing_is_opened_for_an_arm_with_a_model_that_could_not_be_scored_on_val(study):
    first = study.plan.arms[0]
    study.fails_models = {f"{first.name}/1/{study.ids('val')[0]}"}
    for is_sealed in (True, False):
        words = "a model could not be scored on val: CUDA error: no luck"
        assert study.score(is_sealed=is_sealed) == {"unet-1": words}
    assert study.events == ["opened", "result"]
    assert study.content["unet-1"]["test_iou"] is None
    assert "opening" not in study.content["unet-1"]
    assert [model["val_iou"] for model in study.content["unet-1"]["models"]] == [pytest.approx(0.4), None]
    assert study.content["unet-2"]["test_iou"] == pytest.approx(0.445)
    study.fails_models = set()  # whatever it was is mended: the tiles can be opened without a reason
    assert study.score() == {}
    assert study.events == ["opened", "result"] * 2


def test_models_are_tested_in_the_way_that_they_were_scored_in_on_val_and_tables_say_so(study):
    val, test = study.ids("val")[0], study.ids("test")[0]
    study.scored = {f"0/{val}": "in windows of 512 px", f"0/{test}": "on the CPU"}
    study.score()
    assert {number: words for (_, number), words in (study.first_labels or {}).items()} == {
        0: "in windows of 512 px",
        1: "",
    }
    words = "val in windows of 512 px; test on the CPU"
    assert [model["scored"] for model in study.content["unet-1"]["models"]] == [words, None]
    assert [row.get("scored") for row in study.log.under("model/")] == [words, None] * 2
    assert study.score() == {}  # from the record
    assert [model["scored"] for model in study.content["unet-1"]["models"]] == [words, None]


@pytest.mark.parametrize("is_early", [True, False])
def test_end_before_or_while_models_are_scored_on_val_opens_nothing(study, is_early):
    if is_early:
        study.permit.withdraw("interrupted")
    study.ends_at = f"{study.plan.arms[0].name}/1"
    assert study.score() == {}
    assert study.events == []
    assert not (study.out / "models.json").exists()


def test_end_while_test_tiles_are_open_takes_effect_after_the_result(study):
    opened = study.score_all

    def ends(jobs: Mapping[TrialKey, ScoringJob], tiles: Tiles, **named: Any) -> dict[TrialKey, ScoringResult]:
        if all(job.permit is None for job in jobs.values()):
            study.permit.withdraw("interrupted")
        return opened(jobs, tiles, **named)

    study.score_all = ends
    assert study.score() == {}
    assert study.events == ["opened", "result"]
    assert list(study.content) == ["unet-1"]


def test_models_that_failed_are_told_and_the_others_tested(unfinished):
    study = unfinished
    first, other = study.plan.arms
    while (job := study.coordinator.next()) is not None:
        if job.arm == first or job.number == 1:
            study.coordinator.fail(job.key, "failed", f"KeyError: {job.number}")
        else:
            study.coordinator.report(job.key, epoch_report(1, 0.6, ended="epochs"))
    assert study.score() == {"unet-1": "KeyError: 1"}
    assert list(study.content) == ["unet-2"]
    good, bad = study.content[other.parent]["models"]
    assert (good["state"], good["test_iou"]) == ("finished", pytest.approx(0.395))
    assert (bad["state"], bad["test_iou"], bad["val_iou"]) == ("failed", None, None)
    assert study.content[other.parent]["test_iou"] == pytest.approx(0.395)
    assert study.events == ["opened", "result"]
