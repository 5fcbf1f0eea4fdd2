"""DeepGlobe's roads: which tiles are taken, and what becomes of their masks."""

import json

import numpy as np
import pytest

from tests.trainables.made_up_sources import pixels, save, write_deepglobe
from trainables.data.dataset import read_dataset
from trainables.datasets.deepglobe import plan_deepglobe
from trainables.datasets.write import write_tiles

COUNTS = {"num_train": 5, "num_val": 2, "num_test": 2, "side_px": 16}


@pytest.fixture
def src(tmp_path):
    return write_deepglobe(tmp_path / "src")


def test_deepglobe_becomes_a_dataset(src, tmp_path):
    dst = tmp_path / "dst"
    counts = write_tiles("deepglobe", plan_deepglobe(src, **COUNTS), dst)
    dataset = read_dataset(dst)
    assert [len(files.tiles) for files in (dataset.train, dataset.val, dataset.test)] == [5, 2, 2]
    assert dataset.info.classes == ("background", "road")
    assert (dataset.info.metres_per_pixel, dataset.info.ignore_index) == (0.5, None)
    for files in (dataset.train, dataset.val, dataset.test):
        for tile in files.tiles:
            number = int(tile.id) - 100
            expected = np.zeros((16, 16), np.uint8)
            expected[number] = 255
            assert np.array_equal(pixels(tile.mask), expected)
            assert tile.image.read_bytes() == (src / "train" / f"{tile.id}_sat.jpg").read_bytes()
    assert counts["train"].tolist() == [5 * 240, 5 * 16, 0]
    assert json.loads((dst / "dataset.json").read_text())["source"] == (
        "DeepGlobe Road Extraction (Demir et al. 2018), train/: 5 train, 2 val and 2 test tiles of 10 with masks, "
        "seed 42"
    )


def test_deepglobe_masks_are_road_from_128_and_images_without_them_left_out(src):
    mask = np.zeros((16, 16), np.uint8)  # grey, as some copies have it
    mask[0, :4] = 127, 128, 254, 3
    for number in range(10):
        save(src / "train" / f"{100 + number}_mask.png", mask)
    (src / "train/103_mask.png").unlink()
    plan = plan_deepglobe(src, **COUNTS)
    assert plan.tiles[0].load_mask()[0, :5].tolist() == [0, 1, 1, 0, 0]
    assert "103" not in {tile.id for tile in plan.tiles}
    assert plan.notes[-1] == f"1 of 10 images in {src / 'train'} have no mask and were left out."
    assert "900" not in {tile.id for tile in plan.tiles}


def test_deepglobe_refuses_what_is_not_its_layout(src, refusal):
    message = refusal(lambda: plan_deepglobe(src / "train"))
    assert message.startswith(f"{src / 'train' / 'train'} has no <id>_sat.jpg with its <id>_mask.png: name the folder")
    message = refusal(lambda: plan_deepglobe(src, side_px=16))
    assert message.endswith("ask for 24 + 6 + 6 = 36 tiles, but there are 10: ask for fewer")
    message = refusal(lambda: plan_deepglobe(src, **COUNTS | {"side_px": 1024}))
    assert message.endswith("_sat.jpg is 16×16 px, but is published with 1024×1024 px: replace it")
