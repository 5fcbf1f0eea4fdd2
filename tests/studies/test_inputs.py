"""What the study's run says of its tiles, its networks and its pictures."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis.report.predictions import panels
from studies.backend.slots import Slots
from studies.inputs import StudyInputs
from studies.logs.study_config import log_config, published_figures
from studies.spec import StudySpec
from trainables.config import Recipe
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_open
from trainables.data.pictures import side_by_side
from trainables.data.tiles import DatasetInfo

GROUPS = {"train_0": "north", "train_2": "south", "val_1": "north", "test_0": "south"}


@pytest.fixture
def logged(tmp_path, write_rgb):
    def log(info: dict[str, Any], void: tuple[str, ...] = (), architecture: str = "unet") -> dict[str, Any]:
        root = write_rgb(tmp_path / "tiles", info=info)
        for tile in void:
            path = root / "val/masks" / f"{tile}.png"
            Image.fromarray(np.full((64, 64), 9, np.uint8)).save(path)
        dataset = read_dataset(root)
        decoded = decode_open(dataset)
        inputs = StudyInputs(
            spec=StudySpec(architectures=(architecture,), tiles=(3,), recipe=Recipe(epochs=1, small=True)),
            dataset=dataset,
            tiles=decoded.tiles,
            rule=decoded.rule,
            thumbnails=decoded.thumbnails,
            digests={},
            facts={"data_notes": ["Something is odd."], "num_train_tiles": 3},
        )
        return log_config(inputs, {architecture: (1, 0)}, "demo", Slots(count=1, cpus=1, gpus=0.0, alone=(1, 0.0)))

    return log


def test_places_of_tiles_of_all_splits_are_logged(logged):
    config = logged({"groups": GROUPS})
    assert config["groups"] == GROUPS
    assert config["train_tiles"] == ["train_0", "train_1", "train_2"]
    assert (config["val_tiles"], config["test_tiles"]) == (["val_0", "val_1"], ["test_0"])
    assert config["data_notes"] == ["Something is odd."]


def test_trivial_score_leaves_tiles_without_a_scored_pixel_out(logged):
    config = logged({"ignore_index": 9}, void=("val_0",))
    background, foreground = config["class_pixels"]["val"]  # of val_1 alone
    assert config["ignored_pixels"]["val"] == background + foreground == 64 * 64
    assert config["trivial"] == {
        "class": "foreground",
        "iou": pytest.approx(foreground / 64**2),
        "f1": pytest.approx(2 * foreground / (64**2 + foreground)),
        "judged": pytest.approx(foreground / 64**2),
    }
    json.dumps(config, allow_nan=False)
    assert "published" not in config


LITE = "unet:efficientnet_lite0"


@pytest.mark.parametrize(
    ("name", "bands", "encoder", "adaptation", "has_weights", "source"),
    [
        ("unet", "R G B", "", "scratch", False, "by the mean and std of the train tiles"),
        (f"{LITE}@scratch", "R G B", "efficientnet_lite0", "scratch", False, "sides divide by 32 px; "),
        (LITE, "R G B", "efficientnet_lite0", "staged", True, "weights under apache-2.0; "),
        (LITE, "R G B", "efficientnet_lite0", "staged", True, "by mean 0.5, 0.5, 0.5 and std 0.5, 0.5, 0.5 of 1"),
        (f"{LITE}@frozen", "nir R G", "efficientnet_lite0", "frozen", True, "by the mean and std of the train tiles"),
    ],
)
def test_an_arm_says_what_its_network_is_and_expects(logged, name, bands, encoder, adaptation, has_weights, source):
    config = logged({"bands": bands.split()}, architecture=name)
    (arm,) = config["arms"]
    assert (arm["decoder"], arm["encoder"], arm["adaptation"]) == ("unet", encoder, adaptation)
    assert arm["has_encoder"] is has_weights
    assert source in arm["source"]
    assert config["adapted_bands"] == ([] if bands == "R G B" else bands.split())


def test_published_figures_are_those_of_the_architectures_that_the_reference_study_has():
    spec = StudySpec(phase="phase1_comparison", profile="full", architectures=("unet", "lavit", "sam_unet"))
    figures = published_figures(spec)
    assert list(figures) == ["unet", "sam_unet"]
    ious = {"val_iou": 0.740, "val_f1": 0.849, "test_iou": 0.758, "test_f1": 0.862}
    assert figures["sam_unet"] == ious | {"best_epoch": 18, "minutes": 104}
    for other in ({"profile": "quick"}, {"phase": "phase2_tuning"}):
        assert published_figures(spec.model_copy(update=other)) == {}


def test_pictures_are_cut_where_the_log_says_that_their_panels_are(logged, tmp_path):
    """What the writer of pictures puts side by side, the reader of logs takes apart."""
    config, path = logged({}), tmp_path / "sheet.png"
    truth, prediction = np.zeros((64, 64), np.uint8), np.ones((64, 64), np.uint8)
    sheet = side_by_side(np.full((64, 64, 3), 200, np.uint8), truth, prediction, DatasetInfo())
    Image.fromarray(sheet).save(path)
    cut = [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in panels(str(path), config["panel_gap_px"])]
    for number, panel in enumerate(cut):
        left = number * (64 + config["panel_gap_px"])
        assert panel.shape == (64, 64, 3)
        assert np.abs(panel.astype(int) - sheet[:, left : left + 64]).max() < 20
    assert len(cut) == 3
    assert np.ptp(cut[2], axis=(0, 1)).max() < 20  # no white column of a gap in it
