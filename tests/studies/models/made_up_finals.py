"""A study whose final models are made up, for the tests of how they are scored."""

import functools
import json
import statistics
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from studies.backend.scoring import Scorers
from studies.models import finals
from studies.models.scores import ModelScores, ScoringFailure, ScoringJob, ScoringResult
from studies.models.val_scores import score_finals_on_val
from studies.options import Options
from studies.seal.seal import seals_of
from studies.search.plans import Finals
from studies.search.trials import TrialKey
from studies.session import Session
from studies.spec import StudySpec
from tests.studies.logs.logged import KeptLog
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import coordinate
from trainables.config import Recipe
from trainables.data.dataset import read_dataset
from trainables.data.tiles import Tiles

NUM_TEST = 2


def save_picture(picture: Any, folder: Path, tile: str) -> None:
    Image.fromarray(picture).save(folder / f"{tile}_beside.jpg")


class Study:
    """Two arms of two final models, over real tiles and a real register; training and scoring are made up.

    `further` has the numbers of tiles of further test sets, by their splits.
    """

    def __init__(self, folder: Path, write_rgb: Callable[..., Path], make_session: Callable[..., Session], **further):
        self.root, self.out = folder / "tiles", folder / "study"
        write_rgb(self.root, counts={"train": 2, "val": 1, "test": NUM_TEST, **further})
        self.out.mkdir()
        self.dataset = read_dataset(self.root)
        spec = StudySpec(
            architectures=("unet",),
            tiles=(1, 2),
            trials=1,
            seeds=2,
            ensembles=True,
            recipe=Recipe(epochs=1, small=True),
        )
        selected = {arm: arm.config(spec, {}, {}, init_seed=0) for arm in spec.arms()}
        self.plan = Finals.confirming(spec, selected, 2)
        self.coordinator = coordinate(spec, self.plan)
        self.make_session = functools.partial(
            make_session, self.out, spec, self.dataset, ledger=self.coordinator.ledger
        )
        self.permit = self.make_session().permit
        self.log = KeptLog(self.out)
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
                    save_picture(np.full((64, 208, 3), 40 * number, np.uint8), job.pictures, tile)
            if self.ends_at == f"{arm.name}/{number}":
                self.permit.withdraw("interrupted")
        return results

    def score(self, reopen: str = "", *, is_sealed: bool = False, study: str = "one") -> dict[str, str]:
        self.log = KeptLog(self.out)
        scorers = cast("Scorers", types.SimpleNamespace(score=self.score_all))
        session = self.make_session(permit=self.permit, options=Options(reopen=reopen), log=self.log)
        about = {"out": self.out / study, "study": study, "study_id": study}
        seals = () if is_sealed else seals_of(self.dataset, session.inputs.rule, **about)
        val = score_finals_on_val(session, scorers, self.coordinator)
        return finals.score(session, self.coordinator, self.plan, scorers, seals, val)

    def train(self) -> None:
        """Ends all models."""
        while (job := self.coordinator.next()) is not None:
            self.coordinator.report(job.key, epoch_report(1, 0.6, ended="epochs"))

    @property
    def events(self) -> list[str]:
        return self.events_in("seal.jsonl")

    def events_in(self, register: str) -> list[str]:
        path = self.root / register
        return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def content(self) -> Any:
        return json.loads((self.out / "models.json").read_text())

    def ids(self, split: str) -> list[str]:
        splits = {files.split: files for files in (self.dataset.train, self.dataset.val, *self.dataset.test_sets)}
        return [tile.id for tile in splits[split].tiles]
