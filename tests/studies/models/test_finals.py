"""The scores of final models, without Ray: what is put on record, what counts as opened, and what stays sealed."""

import functools
import json
import statistics
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from studies.backend.scoring import Scorers
from studies.logs import tracking
from studies.models import final_rows, finals
from studies.models.scores import ModelScores, ScoringFailure, ScoringJob, ScoringResult
from studies.options import Options
from studies.seal.seal import Attempt, Seal
from studies.search.coordinator import Coordinator
from studies.search.plans import Finals
from studies.search.trials import TrialKey
from studies.session import Session
from studies.spec import StudySpec
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import coordinate
from trainables.common.errors import UserError
from trainables.config import Recipe
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.tiles import Tiles

NUM_TEST = 2


def finish(coordinator: Coordinator, value: float) -> None:
    while (job := coordinator.next()) is not None:
        coordinator.report(job.key, epoch_report(1, value + job.number / 100, ended="epochs"))


class Log(tracking.WandbRun):
    """Keeps what is logged."""

    def __init__(self, out: Path) -> None:
        super().__init__(out, "disabled", name="study", job_type="study", config={})
        self.rows: list[dict[str, Any]] = []
        self.pictures: dict[str, tuple[list[Any], list[str]]] = {}

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def log_pictures(self, key: str, pictures: Sequence[Any], captions: Sequence[str]) -> None:
        self.pictures[key] = (list(pictures), list(captions))

    def under(self, prefix: str) -> list[dict[str, Any]]:
        rows = [row for row in self.rows if f"{prefix}arm" in row]
        return [{key.removeprefix(prefix): value for key, value in row.items()} for row in rows]


class Study:
    """A search and its final models that are done, over real tiles and a real register; only the scoring is made up."""

    def __init__(self, folder: Path, write_rgb: Callable[..., Path], make_session: Callable[..., Session]):
        self.root, self.out = folder / "tiles", folder / "study"
        write_rgb(self.root, counts={"train": 2, "val": 1, "test": NUM_TEST})
        self.out.mkdir()
        self.dataset = read_dataset(self.root)
        spec = StudySpec(architectures=("unet",), tiles=(1, 2), trials=1, seeds=2, recipe=Recipe(epochs=1, small=True))
        search = coordinate(spec)
        finish(search, 0.5)
        selected = {a: best.config for a in search.arms if (best := search.selection(a)) is not None}
        self.plan = Finals.confirming(spec, selected, 2)
        self.coordinator = coordinate(spec, self.plan)
        self.make_session = functools.partial(
            make_session, self.out, spec, self.dataset, ledger=self.coordinator.ledger
        )
        self.permit = self.make_session().permit
        self.log = Log(self.out)
        self.fails_for: set[str] = set()
        self.fails_models: set[str] = set()
        self.scored: dict[str, str] = {}
        self.ends_at: str | None = None
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def score_all(
        self, jobs: Mapping[TrialKey, ScoringJob], tiles: Tiles, *, first_labels: Mapping[TrialKey, str] | None = None
    ) -> dict[TrialKey, ScoringResult]:
        """Made up: model n scores 0.4 + n / 10 - i / 100 on tile i, and predicts n everywhere."""
        results: dict[TrialKey, ScoringResult] = {}
        self.first_labels = first_labels
        for (arm, number), job in jobs.items():
            if self.permit.ending is not None and job.permit is not None:
                break
            if (arm.name, tiles.ids) not in self.seen[-1:]:
                self.seen.append((arm.name, tiles.ids))
            if tiles.ids[0] in self.fails_for or f"{arm.name}/{number}/{tiles.ids[0]}" in self.fails_models:
                results[arm, number] = ScoringFailure(reason="CUDA error: no luck")
                continue
            by_tile = {tile: 0.4 + number / 10 - place / 100 for place, tile in enumerate(tiles.ids)}
            results[arm, number] = ModelScores(
                iou=statistics.fmean(by_tile.values()),
                f1=0.5,
                tile_iou=by_tile,
                tile_confusion={tile: [3, 1, number, 2] for tile in tiles.ids},
                scored=self.scored.get(f"{number}/{tiles.ids[0]}", ""),
            )
            if job.pictures is not None:
                job.pictures.mkdir(parents=True, exist_ok=True)
                for tile in tiles.ids:
                    Image.fromarray(np.full((128, 400, 3), 40 * number, np.uint8)).save(
                        job.pictures / f"{tile}_beside.jpg"
                    )
            if self.ends_at == f"{arm.name}/{number}":
                self.permit.withdraw("interrupted")
        return results

    def score(self, reopen: str = "", *, is_sealed: bool = False) -> dict[str, str]:
        self.log = Log(self.out)
        scorers = cast("Scorers", types.SimpleNamespace(score=self.score_all))
        session = self.make_session(permit=self.permit, options=Options(reopen=reopen), log=self.log)
        seal = None if is_sealed else Seal(self.dataset, out=self.out, study="study", study_id="one")
        return finals.score(session, self.coordinator, scorers, seal)

    @property
    def events(self) -> list[str]:
        path = self.root / "seal.jsonl"
        return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def content(self) -> Any:
        return json.loads((self.out / "models.json").read_text())

    def ids(self, split: str) -> list[str]:
        return [tile.id for tile in getattr(self.dataset, split).tiles]


@pytest.fixture
def unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_rgb: Any, make_session: Callable[..., Session]
) -> Study:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    return Study(tmp_path, write_rgb, make_session)


@pytest.fixture
def study(unfinished: Study) -> Study:
    finish(unfinished.coordinator, 0.6)
    return unfinished


def test_every_arm_opens_the_tiles_once_and_keeps_its_predictions(study: Study) -> None:
    assert study.score() == {}
    assert study.events == ["opened", "result"] * 2
    assert list(study.content) == ["unet-1", "unet-2"]
    row = study.content["unet-1"]
    assert [model["test_iou"] for model in row["models"]] == pytest.approx([0.395, 0.495])
    assert row["test_iou"] == pytest.approx(0.445)
    assert row["opening"]["event"] == "opened"
    folder = study.out / "predictions" / "test" / study.plan.arms[0].name / "model-1"  # by the configuration too
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{tile}_beside.jpg" for tile in study.ids("test")}
    assert row["models"][1]["test_tile_confusion"] == {tile: [3, 1, 1, 2] for tile in study.ids("test")}


def test_models_tell_what_they_are_and_what_they_came_to(study: Study) -> None:
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


def test_pictures_of_the_median_model_are_logged(study: Study) -> None:
    """Of two models, the poorer one."""
    study.score()
    assert list(study.log.pictures) == ["tested/unet-1", "tested/unet-2"]
    pictures, captions = study.log.pictures["tested/unet-1"]
    assert captions == study.ids("test")
    assert [int(picture.max()) for picture in pictures] == [0] * NUM_TEST


def test_pictures_of_many_tiles_are_every_so_many_th_the_same_for_all_arms(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(final_rows, "MAX_PICTURES", 3)
    tiles = [f"t{number}" for number in range(10)]
    arm = study.plan.arms[0]
    folder = study.out / "predictions" / "test" / arm.name / "model-0"
    folder.mkdir(parents=True)
    for tile in tiles:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / f"{tile}_beside.jpg")
    ious = dict(zip(tiles, (0.5, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.0), strict=True))
    row = {"number": 0, "test_iou": 0.5, "test_tile_iou": ious}
    final_rows.log_pictures(study.make_session(log=study.log), arm, [row])
    shown = study.log.pictures["tested/unet-1"][1]
    assert shown == ["t0", "t4", "t9"]


def test_without_a_seal_nothing_of_the_test_tiles_is_read_or_written(study: Study) -> None:
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
        assert all("test_iou" not in logged for logged in study.log.under("model/") if logged["arm"] == arm)
        assert all("attempt" not in logged for logged in study.log.under("model/"))


def test_sealed_models_can_be_tested_later(study: Study) -> None:
    study.score(is_sealed=True)
    assert study.score() == {}
    assert study.events == ["opened", "result"] * 2
    assert study.content["unet-2"]["test_iou"] == pytest.approx(0.445)


def test_second_time_the_result_on_record_is_used(study: Study) -> None:
    study.score()
    first, looks = study.content, len(study.seen)
    assert study.score(reopen="because") == {}
    for arm, row in study.content.items():
        assert (row["models"], row["test_iou"]) == (first[arm]["models"], first[arm]["test_iou"])
    assert study.events == ["opened", "result"] * 2
    assert {ids for _, ids in study.seen[looks:]} == {tuple(study.ids("val"))}
    assert set(study.log.pictures) == {"tested/unet-1", "tested/unet-2"}  # as they were saved when it was open


def test_opening_whose_models_could_not_be_scored_leaves_no_result_and_says_so(study: Study) -> None:
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


def test_arm_that_may_not_look_again_takes_nothing_from_the_others(study: Study) -> None:
    first = study.plan.arms[0]
    signatures = tuple(study.coordinator.trials[first, n].config.signature() for n in (0, 1))
    tiles = decode_train_val(study.dataset)
    Seal(study.dataset, out=study.out, study="study", study_id="one").open(
        Attempt(arm="unet-1", signatures=signatures, tiles=f"{tiles.digest()} {tiles.scale}")
    )  # by a driver that was killed then
    with pytest.raises(UserError, match=r"unet-1 opened the test tiles .* and left no result"):
        study.score()
    assert study.content["unet-2"]["test_iou"] == pytest.approx(0.445)
    assert study.content["unet-1"]["test_iou"] is None
    assert [model["val_iou"] for model in study.content["unet-1"]["models"]] == pytest.approx([0.4, 0.5])
    assert [row["arm"] for row in study.log.under("opening/")] == ["unet-2"]


def test_model_that_cannot_be_scored_on_val_is_told(study: Study) -> None:
    study.fails_for = {study.ids("val")[0]}
    words = "a model could not be scored on val: CUDA error: no luck"
    assert study.score(is_sealed=True) == {"unet-1": words, "unet-2": words}


def test_nothing_is_opened_for_an_arm_with_a_model_that_could_not_be_scored_on_val(study: Study) -> None:
    first = study.plan.arms[0]
    study.fails_models = {f"{first.name}/1/{study.ids('val')[0]}"}
    assert study.score() == {"unet-1": "a model could not be scored on val: CUDA error: no luck"}
    assert study.events == ["opened", "result"]
    assert study.content["unet-1"]["test_iou"] is None
    assert "opening" not in study.content["unet-1"]
    assert [model["val_iou"] for model in study.content["unet-1"]["models"]] == [pytest.approx(0.4), None]
    assert study.content["unet-2"]["test_iou"] == pytest.approx(0.445)
    study.fails_models = set()  # whatever it was is mended: the tiles can be opened without a reason
    assert study.score() == {}
    assert study.events == ["opened", "result"] * 2


def test_models_are_tested_in_the_way_that_they_were_scored_in_on_val_and_tables_say_so(study: Study) -> None:
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


def test_end_while_models_are_scored_on_val_opens_nothing(study: Study) -> None:
    study.ends_at = f"{study.plan.arms[0].name}/1"
    assert study.score() == {}
    assert study.events == []
    assert not (study.out / "models.json").exists()


def test_end_while_test_tiles_are_open_takes_effect_after_the_result(study: Study) -> None:
    opened = study.score_all

    def ends(jobs: Mapping[TrialKey, ScoringJob], tiles: Tiles, **named: Any) -> dict[TrialKey, ScoringResult]:
        if all(job.permit is None for job in jobs.values()):
            study.permit.withdraw("interrupted")
        return opened(jobs, tiles, **named)

    study.score_all = ends  # type: ignore[method-assign]
    assert study.score() == {}
    assert study.events == ["opened", "result"]
    assert list(study.content) == ["unet-1"]


def test_models_that_failed_are_told_and_the_others_tested(unfinished: Study) -> None:
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


def test_withdrawn_permit_opens_nothing_more(study: Study) -> None:
    study.permit.withdraw("interrupted")
    assert study.score() == {}
    assert study.events == []
