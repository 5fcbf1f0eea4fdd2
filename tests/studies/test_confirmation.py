"""The opening of the test tiles, without Ray: what is put on record, and what counts as opened."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from studies import confirmation, tracking
from studies.coordinator import Coordinator
from studies.ledger import Ledger
from studies.plans import Search
from studies.resources import Slots
from studies.seal import Seal
from studies.spec import Arm, StudySpec
from studies.watch import Permit
from trainables.config import Recipe
from trainables.dataset import decode_train_val, read_dataset
from trainables.demo import write_demo_tiles
from trainables.errors import UserError
from trainables.tiles import Tiles

SLOTS = Slots(count=1, cpus=1, gpus=0.0, alone=(1, 0.0))


def finish(coordinator: Coordinator, value: float) -> None:
    while (job := coordinator.next()) is not None:
        coordinator.report(job.arm, job.number, 1, value + job.number / 100, 1, "epochs", 1.0)


class Study:
    """A search and a confirmation that are done, over real tiles and a real register; only the scoring is made up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.root, self.out = folder / "tiles", folder / "study"
        write_demo_tiles(self.root, size_px=128, num_train=2, num_val=1, num_test=2)
        self.out.mkdir()
        self.dataset = read_dataset(self.root)
        spec = StudySpec(
            architectures=("unet",), tiles=(1, 2), trials=1, confirm_seeds=2, recipe=Recipe(epochs=1, small=True)
        )
        ledger = Ledger(self.out / "optuna.db", {arm.name: arm.name for arm in spec.arms()}, study_id="one")
        search = Coordinator(spec, ledger, Search(spec))
        finish(search, 0.5)
        selected = {arm: best for arm in search.arms if (best := search.selection(arm)) is not None}
        self.coordinator, self.arms = confirmation.plan_confirmation(spec, ledger, selected)
        finish(self.coordinator, 0.6)
        self.permit = Permit(self.out)
        self.fails_for: set[str] = set()
        self.seen: list[tuple[str, tuple[str, ...]]] = []
        monkeypatch.setattr(confirmation, "evaluate_all", self.evaluate_all)

    def evaluate_all(self, trials: dict[Arm, list[int]], tiles: Tiles, *_: Any) -> dict[tuple[Arm, int], Any]:
        results: dict[tuple[Arm, int], Any] = {}
        for arm, numbers in trials.items():
            self.seen.append((arm.name, tiles.ids))
            for number in numbers:
                picture = np.zeros((128, 128), np.uint8)
                results[arm, number] = {
                    "iou": 0.4 + number / 10,
                    "f1": 0.5,
                    "tile_iou": dict.fromkeys(tiles.ids, 0.4),
                    "predictions": [picture] * len(tiles),
                    "pictures": [np.zeros((128, 400, 3), np.uint8)] * len(tiles),
                }
                if tiles.ids[0] in self.fails_for:
                    results[arm, number] = {"error": "CUDA error: no luck"}
        return results

    def open(self, reopen: str = "") -> dict[str, str]:
        seal = Seal(self.dataset, out=self.out, study="study", study_id="one")
        return confirmation.open_test_tiles(
            self.coordinator,
            self.arms,
            decode_train_val(self.dataset),
            seal,
            out=self.out,
            slots=SLOTS,
            permit=self.permit,
            reopen=reopen,
            log=tracking.Run(self.out, "disabled", name="study", job_type="study", config={}),
            console=Console(quiet=True),
        )

    @property
    def events(self) -> list[str]:
        path = self.root / "seal.jsonl"
        return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def content(self) -> Any:
        return json.loads((self.out / "confirmation.json").read_text())


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    return Study(tmp_path, monkeypatch)


def test_every_arm_opens_the_tiles_once_and_keeps_its_predictions(study: Study) -> None:
    assert study.open() == {}
    assert study.events == ["opened", "result"] * 2
    assert list(study.content) == ["unet-1", "unet-2"]
    row = study.content["unet-1"]
    assert row["test_iou"] == pytest.approx(0.45)
    assert [seed["test_iou"] for seed in row["seeds"]] == [0.4, 0.5]
    assert row["opening"]["event"] == "opened"
    names = {path.name for path in (study.out / "predictions" / "test" / "unet-1" / "seed-1").iterdir()}
    ids = [tile.id for tile in study.dataset.test.tiles]
    assert names == {f"{tile}{ending}" for tile in ids for ending in (".png", "_beside.jpg")}


def test_second_time_the_result_on_record_is_used(study: Study) -> None:
    study.open()
    first, looks = study.content, len(study.seen)
    assert study.open(reopen="because") == {}
    for arm, row in study.content.items():
        assert (row["seeds"], row["test_iou"]) == (first[arm]["seeds"], first[arm]["test_iou"])
    assert study.events == ["opened", "result"] * 2
    val = tuple(tile.id for tile in study.dataset.val.tiles)
    assert {ids for _, ids in study.seen[looks:]} == {val}


def test_opening_whose_models_could_not_be_scored_leaves_no_result_and_says_so(study: Study) -> None:
    study.fails_for = {study.dataset.test.tiles[0].id}
    untested = study.open()
    words = "CUDA error: no luck; the tiles count as opened, look again with --reopen WHY"
    assert untested == {"unet-1": words, "unet-2": words}
    assert study.events == ["opened"] * 2
    study.fails_for = set()
    with pytest.raises(UserError, match='left no result, so its test scores may have been seen: go on with --reopen "'):
        study.open()
    assert study.open(reopen="the GPU was broken") == {}
    assert study.events == ["opened", "opened", "reopened", "result", "reopened", "result"]
    assert study.content["unet-2"]["opening"]["reopened"] == ["the GPU was broken"]


def test_withdrawn_permit_opens_nothing_more(study: Study) -> None:
    study.permit.withdraw("interrupted")
    assert study.open() == {}
    assert study.events == []
