"""Checks what a report holds, for sound studies and for those in which something is missing."""

import functools
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from analysis.figures import drawing
from analysis.logs.frames import Logs
from analysis.report import blocks, page
from analysis.report.compose import Composed, compose
from analysis.report.document import FigureBlock, TableBlock
from analysis.report.sections import PHASES
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
    assert names(single, TableBlock) == ["iou_by_architecture", "contrasts", "settings", "cost", "spread"]
    assert len(single.document.sections) == 5
    assert names(single, FigureBlock) == ["intervals", "learning"]
    assert single.document.subtitle == "phase1: 24 train, 2 val and 4 test tiles of roofs."
    assert len(single.document.conclusions) == 3


def test_every_block_has_its_frame_or_figure_under_a_name_of_its_own(joined: Composed):
    assert list(joined.frames) == [*names(joined, TableBlock), *FINALS]
    assert list(joined.figures) == names(joined, FigureBlock)
    together = [*names(joined, TableBlock), *names(joined, FigureBlock)]
    assert len(set(together)) == len(together)
    assert {"iou_by_architecture_1", "iou_by_tiles_3", "preset_contrasts_4", "fixed_values_4", "cost_2"} <= set(
        together
    )


def test_files_hold_every_model_trial_and_score_of_all_studies(joined: Composed):
    models, trials, scores = (joined.frames[name] for name in FINALS)
    assert dict(models["study"].value_counts(sort=False)) == {"phase1": 6, "phase2": 4, "phase3": 12}
    assert dict(trials["study"].value_counts(sort=False)) == {"phase1": 6, "phase2": 8, "phase3": 12, "varied": 10}
    assert len(scores[scores["study"] == "phase3"]) == 12 * len(TEST_TILES)
    assert models[["signature", "run", "seed"]].notna().all(axis=None)


def test_tables_show_intervals_and_files_their_ends(joined: Composed):
    shown = next(
        block.frame for _, block in joined.document.labelled() if getattr(block, "name", "") == "iou_by_architecture_1"
    )
    assert not [column for column in shown if str(column).endswith(("_low", "_high"))]
    first = joined.frames["iou_by_architecture_1"].to_dict("records")[0]
    assert {"rank", "trivial_iou"} <= first.keys() - {*shown}
    assert shown["test_iou"][0] == (
        f"{first['test_iou']:.3f} ({first['test_iou_low']:.3f} … {first['test_iou_high']:.3f})"
    )


def test_joined_report_can_be_read(joined: Composed):
    assert_readable(joined)
    assert "(phase2: 4 test tiles in 3 places, 2 models each)" in joined.document.conclusions[0]
    assert joined.document.conclusions[1].startswith("In phase3, the highest mean test IoU is ")


def test_same_logs_give_the_same_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "render", drawing.render)
    study = MadeUp("unet", name="small")
    study.models("unet-24", 2, test=[0.3, 0.4, 0.5, 0.6])
    first, second = (compose([study.logs()]) for _ in range(2))
    assert Image.open(io.BytesIO(drawing.render(first.figures["intervals"], "png"))).format == "PNG"
    assert page.html(first.document) == page.html(second.document)
    for name, frame in first.frames.items():
        pd.testing.assert_frame_equal(frame, second.frames[name])


def test_warnings_that_all_studies_share_are_said_once(single: Composed):
    (few,) = single.document.warnings
    assert "3 places (4 test tiles)" in few
    other = MadeUp("unet", name="other", profile="smoke")
    other.models("unet-24", 2, test=[0.3, 0.4, 0.5, 0.2])
    shared, smoke = compose([sound("phase1"), other.logs()]).document.warnings
    assert shared == few
    assert smoke.startswith("other: This is a smoke run")


def test_studies_on_other_tiles_are_said_not_to_be_comparable():
    other = MadeUp("unet", name="other", tiles_digest="other", spec={"data": "/elsewhere/clouds"})
    document = compose([sound("phase1"), other.logs(), MadeUp("unet", name="again").logs()]).document
    assert "NOT USE THE SAME TILES (phase1, again | other)" in document.warnings[0]
    assert document.subtitle == (
        "phase1, again: 24 train, 2 val and 4 test tiles of roofs; other: 24 train, 2 val and 4 test tiles of clouds."
    )


def test_study_that_scored_higher_than_the_one_that_decides_is_named():
    found = [text for text in compose([sound("phase1"), sound("phase2")]).document.warnings if "higher" in text]
    (said,) = found
    assert said.startswith(
        "phase1 has a higher test IoU with 24 tiles, 0.502 (deeplabv3plus_resnet34), than phase2 (0.490)"
    )


def test_contrast_without_pretrained_weights_is_not_called_one_of_pretraining(single: Composed):
    study = phase1(spec={"weights": ["resnet34=none", "sam_vit_b=/home/me/sam.pth"]})
    study.arms["unet_resnet34-24"]["weights"] = "none"
    text = words(compose([study.logs()]))
    assert "not pretraining" in text
    assert "not pretraining" not in words(single)
    assert "encoder weights: resnet34 none, sam_vit_b sam.pth." in text  # without its folder


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


def begun(phase: str) -> MadeUp:
    return MadeUp(*THREE[:2], phase=phase, tiles=(5, 24))


def started(phase: str) -> MadeUp:
    study = begun(phase)
    stage = "search" if phase == "phase2_tuning" else "final"
    study.trial("unet-24", 0, [0.1, 0.2], stage=stage, is_ended=False)
    study.trial("unet-5", 0, [], stage=stage, is_ended=False)
    return study


def all_failed(phase: str) -> MadeUp:
    study = begun(phase)
    for arm in study.arms:
        for number, state in enumerate(("failed", "diverged", "out of memory", "interrupted")):
            study.trial(arm, number, [], state, stage="search" if phase == "phase2_tuning" else "final")
        study.model(arm, 0, state="failed", seconds=None, best_epoch=None, epochs=0)
    return study


def single_seed(phase: str) -> MadeUp:
    study = begun(phase)
    for arm in study.arms:
        study.model(arm, test=[0.5] * 4, val=[0.4] * 2)
    return study


def sealed(phase: str) -> MadeUp:
    study = begun(phase)
    for arm in study.arms:
        for seed in range(2):
            study.model(arm, seed, val=[0.4, 0.5 + 0.1 * seed])
    return study


def uneven(phase: str) -> MadeUp:
    """One arm has nothing, one a single model, one no scores by tile, one a model without a score."""
    study = begun(phase)
    study.model("unet-24", 0, test=[0.5] * 4)
    for seed in range(2):
        study.model("unet_resnet34-24", seed, test_iou=0.6, test_f1=0.7)
        study.model("unet-5", seed, test=[0.4] * 4 if seed else None, seconds=None)
    return study


def tuned_only(phase: str) -> MadeUp:
    study = begun(phase)
    for arm in study.arms:
        study.trial(arm, 0, [0.3])
        study.trial(arm, 1, [float("nan")], "diverged")
        study.select(arm, 0, None if arm.startswith("unet-") else 0.3)
    return study


def without_groups(phase: str) -> MadeUp:
    study = sealed(phase)
    del study.config["groups"], study.config["tiles_digest"]
    study.config["spec"] = {"epochs": 2, "sampler": "tpe", "grace_epochs": 1}
    return study


@pytest.mark.parametrize(
    ("make", "phases"),
    [
        (begun, "13"),
        (started, "2"),
        (all_failed, "3"),
        (single_seed, "1"),
        (sealed, "3"),
        (uneven, "1"),
        (tuned_only, "2"),
        (without_groups, "1"),
    ],
)
def test_study_in_which_something_is_missing_still_gives_a_report(make: Callable[[str], MadeUp], phases: str):
    for phase in (phase for phase in PHASES if phase[len("phase")] in phases):
        composed = compose([make(phase).logs()])
        assert_readable(composed)
        assert len(composed.document.conclusions) == 3
        assert composed.document.warnings
        for name, frame in composed.frames.items():
            assert name in FINALS or not frame.empty


def test_columns_without_any_value_are_left_out_of_tables_but_not_of_files():
    composed = compose([single_seed("phase1_comparison").logs()])
    name = "iou_by_architecture"
    shown = next(block for _, block in composed.document.labelled() if getattr(block, "name", "") == name)
    assert "best" not in shown.frame
    assert "best" in composed.frames[name]
    assert "(n = 1)" in tables.markdown(shown.frame, "")


def test_empty_study_beside_a_sound_one_is_named():
    document = compose([sound("phase1"), MadeUp(*THREE, name="late", phase="phase2_tuning").logs()]).document
    assert "late: INCOMPLETE: No trial has started." in document.warnings
    assert document.conclusions[0].startswith("Among 3 architectures")


def test_fixed_values_are_shown_with_their_intervals_and_what_was_expected_of_them(joined: Composed):
    blocks = {getattr(block, "name", ""): block for _, block in joined.document.labelled()}
    values = blocks["fixed_values_4"]
    assert list(values.frame) == ["architecture", "tiles", "value", "mean", "models"]
    assert re.fullmatch(r"0\.412 \(0\.\d{3} … 0\.\d{3}\)", values.frame["mean"][0])  # 0.30, 0.35 and twice 0.50
    assert blocks["preset_contrasts_4"].caption != blocks["contrasts_1"].caption
    assert "Phase 2, fixed values of augmentation: varied" in [section.title for section in joined.document.sections]
