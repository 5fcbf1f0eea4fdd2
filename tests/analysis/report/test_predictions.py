"""Checks by which rule predictions are shown, and that truth and prediction are cut out of the logged pictures."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.logs.frames import Logs
from analysis.report.predictions import at_a_glance, predictions
from tests.analysis.made_up import TEST_TILES, VAL_TILES, MadeUp
from tests.analysis.pictures import PANELS, save, sheet


def colours(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)


def panels_of(logs: Logs) -> list[tuple[bytes, tuple[int, int, int]]]:
    """The pictures of the first block, each with the colour that it has."""
    block = predictions(logs)[0]
    return list(zip((block.image, block.truth, block.predictions[0].picture), PANELS, strict=True))


@pytest.fixture
def study(tmp_path: Path) -> MadeUp:
    """Two architectures whose mean IoU by tile is 0.4, 0.2, 0.5 and 0.3, with pictures of all tiles."""
    study = MadeUp("unet", "sam_conv", tiles=(5, 24))
    for arm in ("unet-24", "sam_conv-24", "unet-5"):
        above = 0.1 if arm == "unet-24" else -0.1
        for seed, off in enumerate((0.0, 0.03, -0.03)):
            scores = [0.4, 0.2, 0.5, 0.3] if arm != "unet-5" else [0.9, 0.9, 0.1, 0.1]
            study.model(arm, seed, test=[iou + above + off for iou in scores])
        study.picture(arm, tmp_path, TEST_TILES)
    return study


def test_predictions_are_of_the_worst_median_and_best_tile_over_all_architectures(study: MadeUp):
    blocks = predictions(study.logs())
    assert [(block.name, block.caption) for block in blocks] == [
        ("predictions_test_worst", "north-2 of demo: mean IoU 0.20."),
        ("predictions_test_median", "west-1 of demo: mean IoU 0.30."),
        ("predictions_test_best", "south-1 of demo: mean IoU 0.50."),
    ]
    assert [its.label for its in blocks[0].predictions] == ["unet, IoU 0.30", "sam_conv, IoU 0.10"]


@pytest.mark.parametrize("gap_px", [0, 5, 31])
def test_panels_are_cut_where_the_study_says(gap_px: int, study: MadeUp, tmp_path: Path) -> None:
    for path in (tmp_path / "files").glob("*.png"):
        save(path, sheet(gap_px=gap_px))
    logs = study.logs()
    logs.study["panel_gap_px"] = gap_px
    for jpeg, colour in panels_of(logs):
        assert colours(jpeg).shape == (40, 40, 3)
        assert np.abs(colours(jpeg) - colour).max() < 20


def test_predictions_name_the_iou_of_the_model_that_they_picture(tmp_path: Path):
    """The median model of three by its mean, which is not the median on the tile."""
    study = MadeUp("unet")
    for seed, scores in enumerate(([0.2, 0.2, 0.2, 0.9], [0.4, 0.4, 0.4, 0.2], [0.1] * 4)):
        study.model("unet-24", seed, test=scores)
    study.picture("unet-24", tmp_path, TEST_TILES[:1])
    (block,) = predictions(study.logs())
    assert block.predictions[0].label == "unet, IoU 0.40"


def test_predictions_stand_beside_image_and_truth_and_large_pictures_shrink(study: MadeUp, tmp_path: Path):
    for jpeg, colour in panels_of(study.logs()):
        pixels = colours(jpeg)
        assert pixels.shape == (40, 40, 3)
        assert np.abs(pixels - np.array(colour)).max() <= 4  # what JPEG loses
    save(tmp_path / "files" / "unet-24-north-2.png", sheet(side_px=1024))
    block = predictions(study.logs())[0]
    assert colours(block.truth).shape == colours(block.predictions[0].picture).shape == (640, 640, 3)


def test_predictions_choose_among_the_tiles_whose_pictures_all_have_and_show_none_twice(study: MadeUp, tmp_path: Path):
    (tmp_path / "files" / "sam_conv-24-north-2.png").unlink()
    blocks = predictions(study.logs())
    assert [block.caption.split()[0] for block in blocks] == ["west-1", "north-1", "south-1"]
    study.picture("sam_conv-24", tmp_path, TEST_TILES)
    for tile in TEST_TILES[1:]:
        (tmp_path / "files" / f"unet-24-{tile}.png").unlink()
    assert [block.title for block in predictions(study.logs())] == ["The worst test tile"]


def test_predictions_say_which_picture_cannot_be_read(study: MadeUp, tmp_path: Path):
    torn = tmp_path / "files" / "unet-24-north-2.png"
    torn.write_bytes(torn.read_bytes()[:60])
    block = predictions(study.logs())[0]
    assert block.caption.endswith(" The picture of unet cannot be read.")
    assert [its.label for its in block.predictions] == ["sam_conv, IoU 0.10"]


def test_predictions_need_pictures_and_scores_of_test_tiles(tmp_path: Path):
    study = MadeUp("unet")
    assert at_a_glance(study.logs(), predictions(study.logs())) is None
    study.model("unet-24", test=[0.5] * 4)
    assert predictions(study.logs()) == ()
    assert at_a_glance(study.logs(), []) is None
    study = MadeUp("unet")
    study.model("unet-24", val=[0.5] * 2)
    study.picture("unet-24", tmp_path, ["north-1"])
    assert predictions(study.logs()) == ()


def test_predictions_of_val_tiles_are_of_the_selected_trial(tmp_path: Path):
    """Its IoU is that of its best epoch, the first, on the pixels that it was judged on."""
    study = MadeUp("unet", "sam_conv", phase="phase2_tuning")
    for arm, by_tile in (("unet-24", [0.5, 0.2]), ("sam_conv-24", [0.3, 0.6])):
        study.trial(arm, 3, [0.4], by_tile=by_tile)
        study.select(arm, 3, 0.4)
        study.picture(arm, tmp_path, VAL_TILES, key="selected")
    blocks = predictions(study.logs())
    assert [block.name for block in blocks] == ["predictions_val_worst", "predictions_val_best"]
    assert [its.label for its in blocks[0].predictions] == ["unet, IoU 0.50", "sam_conv, IoU 0.30"]
    assert blocks[0].caption == "v1 of demo: mean IoU 0.40."


def test_figure_at_a_glance_has_the_best_architectures_first_with_their_mean_scores(study: MadeUp):
    logs = study.logs()
    figure = at_a_glance(logs, predictions(logs))
    assert figure is not None
    heads = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert heads == ["image", "truth", "unet\ntest IoU 0.450", "sam_conv\ntest IoU 0.250"]
    rows = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert rows == ["The worst test tile", "The median test tile", "The best test tile"]
    assert [axes.get_xlabel() for axes in figure.axes][2:4] == ["IoU 0.30", "IoU 0.10"]
    seen = [axes.get_images()[0].get_array()[20, 20] for axes in figure.axes[:3]]
    assert np.abs(np.array(seen).astype(int) - np.array(PANELS)).max() < 20
