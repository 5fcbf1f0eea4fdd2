"""Checks what a report holds, for sound studies and for those in which something is missing."""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.figures import drawing
from analysis.logs.forecast_row import ForecastRow
from analysis.logs.frames import Logs
from analysis.report import blocks, page
from analysis.report.compose import Composed, compose
from analysis.report.conclude.conclusions import conclusions
from analysis.report.document import FigureBlock, TableBlock
from analysis.report.limits.several_studies import report_warnings
from analysis.tables import formatting as tables
from analysis.tables import latex
from tests.analysis.made_up import TEST_TILES, MadeUp, undrawn

THREE = ("unet", "unet_resnet34", "deeplabv3plus_resnet34")
FINALS = ["models", "trials", "scores"]


@functools.cache
def sound(phase: str) -> Logs:
    """Of one of the studies below, as they are; several tests use it, and what is computed from it is kept."""
    return {"phase1": phase1, "phase2": phase2, "phase3": phase3}[phase]().logs()


def phase1(name: str = "phase1", **config) -> MadeUp:
    study = MadeUp(*THREE, name=name, **config)
    for place, arm in enumerate(study.arms):
        for seed in range(2):
            study.model(arm, seed, test=[0.3 + 0.1 * place + 0.02 * seed, 0.4, 0.5, 0.6], val=[0.5, 0.6])
    return study


def phase2(name: str = "phase2", **config) -> MadeUp:
    study = MadeUp(*THREE[:2], name=name, phase="phase2_tuning", **config)
    for place, arm in enumerate(study.arms):
        study.trial(arm, 0, [0.3, 0.5 + 0.1 * place])
        study.trial(arm, 1, [0.2], "stopped", lr=1e-4)
        study.select(arm, 0, 0.5)
        for seed in range(2):
            study.model(arm, seed, test=[0.4 + 0.05 * place + 0.02 * seed, 0.4, 0.5, 0.6], val=[0.5, 0.6])
    return study


def phase3(name: str = "phase3", **config) -> MadeUp:
    study = MadeUp(*THREE[:2], name=name, phase="phase3_data_budget", tiles=(5, 24), **config)
    for place, arm in enumerate(study.arms):
        for subset in range(2 if arm.endswith("-5") else 1):
            for seed in range(2):
                study.model(arm, seed, subset=subset, test=[0.3 + 0.05 * place + 0.02 * seed + 0.03 * subset] * 4)
    return study


def varied(name: str = "varied") -> MadeUp:
    study = MadeUp("unet", name=name, phase="phase2_tuning", spec={"vary": "augmentation", "seeds": 2})
    for number in range(10):
        level = ("NONE", "LIGHT", "MEDIUM", "HEAVY", "EXTREME")[number % 5]
        study.trial("unet-24", number, [0.4], by_tile=[0.3 + 0.01 * number, 0.5], augmentation=level)
    return study


def table(composed: Composed, name: str) -> TableBlock:
    (found,) = [b for _, b in composed.document.labelled() if isinstance(b, TableBlock) and b.name == name]
    return found


def names(composed: Composed, kind: type) -> list[str]:
    return [block.name for _, block in composed.document.labelled() if isinstance(block, kind)]


def words(composed: Composed) -> str:
    """All that can be read of a report, which must be possible in each of its forms."""
    text = page.markdown(composed.document)
    assert page.html(composed.document).startswith("<!DOCTYPE html>")
    for _, block in composed.document.labelled():
        if isinstance(block, TableBlock):
            text += latex.latex(block.frame, block.caption, f"tab:{block.name}")
    return text


def assert_readable(composed: Composed) -> None:
    """Nothing missing shows as the word that a programme has for it."""
    assert re.findall(r"\b(?:nan|NaN|None|NA|NaT|inf|Timestamp)\b", words(composed)) == []


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="module")
def single() -> Composed:
    return compose([sound("phase1")])


@pytest.fixture(scope="module")
def joined() -> Composed:
    return compose([sound("phase1"), sound("phase2"), sound("phase3"), varied().logs()])


def test_report_of_one_study_has_its_blocks_in_reading_order(single: Composed):
    assert names(single, TableBlock) == [
        *("iou_by_architecture", "contrasts", "settings", "cost", "spread", "bootstrap"),
    ]
    assert len(single.document.sections) == 6
    assert names(single, FigureBlock) == ["intervals", "learning"]
    assert single.document.subtitle == "phase1: 24 train, 2 val and 4 test tiles of roofs."
    assert len(single.document.conclusions) == 3


def test_files_hold_every_model_trial_and_score_of_all_studies_and_the_ends_of_intervals(joined: Composed):
    models, trials, scores = (joined.frames[name] for name in FINALS)
    assert dict(models["study"].value_counts(sort=False)) == {"phase1": 6, "phase2": 4, "phase3": 12}
    assert dict(trials["study"].value_counts(sort=False)) == {"phase1": 6, "phase2": 8, "phase3": 12, "varied": 10}
    assert len(scores[scores["study"] == "phase3"]) == 12 * len(TEST_TILES)
    assert models[["signature", "run", "seed"]].notna().all(axis=None)
    shown = table(joined, "iou_by_architecture_1").frame
    assert not [column for column in shown if str(column).endswith(("_low", "_high"))]
    first = joined.frames["iou_by_architecture_1"].to_dict("records")[0]
    assert {"p", "trivial_iou"} <= first.keys() - {*shown}
    assert shown["test_iou"][0] == (
        f"{first['test_iou']:.3f} ({first['test_iou_low']:.3f} … {first['test_iou_high']:.3f})"
    )


def test_joined_report_can_be_read_and_has_each_frame_and_figure_under_a_name_of_its_own(joined: Composed):
    assert_readable(joined)
    assert "(phase2: 4 test tiles in 3 places, 2 models each)" in joined.document.conclusions[0]
    assert joined.document.conclusions[1].startswith("phase3: ")
    assert list(joined.frames) == [*names(joined, TableBlock), *FINALS]
    assert list(joined.figures) == names(joined, FigureBlock)
    together = [*names(joined, TableBlock), *names(joined, FigureBlock)]
    assert len(set(together)) == len(together)
    assert {"iou_by_architecture_1", "iou_by_tiles_3", "preset_contrasts_4", "cost_2"} <= set(together)


def test_same_logs_give_the_same_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "render", drawing.render)
    study = MadeUp("unet", name="small")
    study.models("unet-24", 2, test=[0.3, 0.4, 0.5, 0.6])
    first, second = (compose([study.logs()]) for _ in range(2))
    assert page.html(first.document) == page.html(second.document)
    for name, frame in first.frames.items():
        pd.testing.assert_frame_equal(frame, second.frames[name])


def test_warnings_that_all_studies_share_are_said_once_and_others_with_the_study(single: Composed):
    (few,) = single.document.warnings
    assert "3 places (4 test tiles)" in few
    other = MadeUp("unet", name="other", profile="smoke")
    other.models("unet-24", 2, test=[0.3, 0.4, 0.5, 0.2])
    shared, smoke = report_warnings([sound("phase1"), other.logs()])
    assert shared == few
    assert smoke.startswith("other: This is a smoke run")
    studies = [sound("phase1"), MadeUp(*THREE, name="late", phase="phase2_tuning").logs()]
    assert "late: INCOMPLETE: No trial has started." in report_warnings(studies)
    assert conclusions(studies)[0].startswith("Take deeplabv3plus_resnet34")
    (higher,) = [text for text in report_warnings([sound("phase1"), sound("phase2")]) if "higher" in text]
    assert higher.startswith(
        "phase1 has a higher test IoU with 24 tiles, 0.502 (deeplabv3plus_resnet34), than phase2 (0.490)"
    )


def test_report_says_how_good_the_forecast_was():
    logs = sound("phase2")
    assert "were forecast" not in words(compose([logs]))
    told = ForecastRow(after_seconds=40.0, left_seconds=250.0, took_seconds=300.0)
    assert (
        "When the first trial had ended, 40 s after the tiles were loaded, 4 min 10 s were forecast until the last "
        "model would be scored; it took 5 min 00 s." in words(compose([replace(logs, forecast=told)]))
    )


def test_studies_on_other_tiles_are_said_not_to_be_comparable():
    other = MadeUp("unet", name="other", tiles_digest="other", spec={"data": "/elsewhere/clouds"})
    document = compose([sound("phase1"), other.logs(), MadeUp("unet", name="again").logs()]).document
    assert "NOT USE THE SAME TILES (phase1, again | other)" in document.warnings[0]
    assert document.subtitle == (
        "phase1, again: 24 train, 2 val and 4 test tiles of roofs; other: 24 train, 2 val and 4 test tiles of clouds."
    )


def test_report_says_what_networks_are_and_which_weights_they_have_for_which_bands():
    study = phase1(adapted_bands=["nir", "red"], spec={"weights": ["resnet34=none", "sam_vit_b=/home/me/sam.pth"]})
    study.arms["unet_resnet34-24"]["source"] = "He et al., weights under MIT"
    composed = compose([study.logs()])
    text = words(composed)
    assert "unet_resnet34: He et al., weights under MIT." in text
    assert "encoder weights: resnet34 none, sam_vit_b sam.pth (of 8-bit RGB pictures" in text  # without its folder
    assert "adapted to the bands nir, red" in table(composed, "iou_by_architecture").caption
    weights = composed.frames["settings"]["weights"]
    assert list(weights) == ["none", *["imagenet (adapted to nir, red)"] * 2]


def test_predictions_are_of_the_study_that_decides(tmp_path: Path):
    study = MadeUp("unet")
    study.model("unet-24", test=[0.5] * 4)
    study.picture("unet-24", tmp_path, TEST_TILES)
    tuned = MadeUp("unet", name="tuned", phase="phase2_tuning")
    tuned.model("unet-24", test=[0.5] * 4)
    logs = study.logs()
    alone, joined = compose([logs]), compose([logs, tuned.logs()])
    assert "Predictions side by side" in [section.title for section in alone.document.sections]
    assert "Predictions side by side" not in [section.title for section in joined.document.sections]


def begun(study: MadeUp) -> None:
    """Nothing yet."""


def started(study: MadeUp) -> None:
    study.trial("unet-24", 0, [0.1, 0.2], is_ended=False)
    study.trial("unet-5", 0, [], is_ended=False)


def all_failed(study: MadeUp) -> None:
    for arm in study.arms:
        for number, state in enumerate(("failed", "diverged", "out of memory", "interrupted")):
            study.trial(arm, number, [], state, stage="final")
        study.model(arm, 0, state="failed", seconds=None, best_epoch=None, epochs=0)


def single_seed(study: MadeUp) -> None:
    for arm in study.arms:
        study.model(arm, test=[0.5] * 4, val=[0.4] * 2)


def sealed(study: MadeUp) -> None:
    for arm in study.arms:
        for seed in range(2):
            study.model(arm, seed, val=[0.4, 0.5 + 0.1 * seed])


def uneven(study: MadeUp) -> None:
    """One arm has nothing, one a single model, one no scores by tile, one a model without a score."""
    study.model("unet-24", 0, test=[0.5] * 4)
    study.models("unet_resnet34-24", 2, test_iou=0.6, test_f1=0.7)
    for seed in range(2):
        study.model("unet-5", seed, test=[0.4] * 4 if seed else None, seconds=None)


def tuned_only(study: MadeUp) -> None:
    for arm in study.arms:
        study.trial(arm, 0, [0.3])
        study.trial(arm, 1, [float("nan")], "diverged")
        study.select(arm, 0, None if arm.startswith("unet-") else 0.3)


def without_groups(study: MadeUp) -> None:
    sealed(study)
    del study.config["groups"], study.config["tiles_digest"]
    study.config["spec"] = {"epochs": 2, "sampler": "tpe", "grace_epochs": 1}


@pytest.mark.parametrize(
    ("add", "phase"),
    [
        (begun, "phase1_comparison"),
        (begun, "phase3_data_budget"),
        (started, "phase2_tuning"),
        (all_failed, "phase3_data_budget"),
        (single_seed, "phase1_comparison"),
        (sealed, "phase3_data_budget"),
        (uneven, "phase1_comparison"),
        (tuned_only, "phase2_tuning"),
        (without_groups, "phase1_comparison"),
    ],
)
def test_study_in_which_something_is_missing_still_gives_a_report(add: Callable[[MadeUp], None], phase: str):
    study = MadeUp(*THREE[:2], phase=phase, tiles=(5, 24))
    add(study)
    composed = compose([study.logs()])
    assert_readable(composed)
    assert len(composed.document.conclusions) == 3
    assert composed.document.warnings
    for name, frame in composed.frames.items():
        assert name in FINALS or not frame.empty
    if add is single_seed:  # columns without any value are left out of tables, but not of files
        shown = table(composed, "iou_by_architecture").frame
        assert "differs" not in shown
        assert "differs" in composed.frames["iou_by_architecture"]
        assert "(n = 1)" in tables.markdown(shown, "")


def test_fixed_values_are_shown_with_their_intervals_and_what_was_expected_of_them(joined: Composed):
    values = table(joined, "fixed_values_4").frame
    assert list(values) == ["architecture", "tiles", "value", "mean", "models"]
    assert re.fullmatch(r"0\.412 \(0\.\d{3} … [01]\.\d{3}\)", values["mean"][0])  # 0.30, 0.35 and twice 0.50
    assert table(joined, "preset_contrasts_4").caption != table(joined, "contrasts_1").caption
    assert "Phase 2, fixed values of augmentation: varied" in [section.title for section in joined.document.sections]
