"""The time left of a whole study: what comes after the trials is counted, too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.search.coordinator import Coordinator
from studies.search.forecast import REPORT_SECONDS, START_SECONDS, Sizes, seconds_after, seconds_to_test
from studies.search.ledger import Ledger
from studies.search.plans import Finals, Search
from studies.spec import StudySpec
from trainables.config import Recipe
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal

SIZES = Sizes(train=10_000, val=40_000, judged=20_000, test=80_000)
RECIPE = Recipe(epochs=4, draws_per_epoch=10, batch_size=2, window_px=100, val_center_px=96)
"""An epoch costs as much as to predict 3 · 10 · 100² + 20,000 = 320,000 pixels."""


def spec(**changes: Any) -> StudySpec:
    settings = {"architectures": ("unet",), "tiles": (24,), "trials": 2, "grace_epochs": 2, "seeds": 3} | changes
    return StudySpec(recipe=RECIPE, **settings)


def coordinator(folder: Path, spec: StudySpec, *, is_final: bool = False) -> Coordinator:
    plan = Finals.of_phase(spec, {}, 24) if is_final else Search(spec)
    ledger = Ledger(folder / "optuna.db", {arm.name: arm.name for arm in plan.arms}, study_id="one")
    return Coordinator(spec, ledger, plan)


def test_after_a_search_come_validation_final_models_their_scoring_and_the_report(tmp_path: Path) -> None:
    study = coordinator(tmp_path, spec())
    assert seconds_after(study, SIZES, 1) == 0.0
    job = study.next()
    assert job is not None
    study.report(job.arm, 0, 1, 0.5, 1, "", 8.0)
    # Per pixel 8 s / 320,000. Validation 1 s; three models of 4 epochs: 96 s; each scored on 120,000 pixels: 3 s
    rest = 3 * START_SECONDS + REPORT_SECONDS
    assert seconds_after(study, SIZES, 1) == pytest.approx(1 + 96 + 9 + rest)
    assert seconds_after(study, SIZES, 2) == pytest.approx((1 + 96 + 9) / 2 + rest)


def test_search_without_final_models_ends_with_its_validation(tmp_path: Path) -> None:
    study = coordinator(tmp_path, spec(seeds=0))
    job = study.next()
    assert job is not None
    study.report(job.arm, 0, 1, 0.5, 1, "", 8.0)
    assert seconds_after(study, SIZES, 1) == pytest.approx(1 + START_SECONDS + REPORT_SECONDS)


def test_after_final_models_comes_their_scoring(tmp_path: Path) -> None:
    study = coordinator(tmp_path, spec(phase="phase1_comparison"), is_final=True)
    job = study.next()
    assert job is not None
    study.report(job.arm, 0, 1, 0.5, 1, "", 8.0)
    assert seconds_after(study, SIZES, 1) == pytest.approx(9 + START_SECONDS + REPORT_SECONDS)
    assert seconds_to_test(study, SIZES, 1, num_models=3) == pytest.approx(3 * 2 + REPORT_SECONDS)


def test_sizes_are_of_tiles_windows_and_headers() -> None:
    masks = tuple(np.zeros((200, 300), np.uint8) for _ in range(2))
    tiles = Tiles(("a", "b"), tuple(mask[..., None] for mask in masks), masks)
    both = TrainVal(DatasetInfo(), tiles, tiles)
    assert Sizes.of(spec(), both, [(10, 20), (30, 40)]) == Sizes(60_000, 120_000, 2 * 96 * 96, 1400)
    assert Sizes.of(spec(test=False), both, [(10, 20)]).test == 0
