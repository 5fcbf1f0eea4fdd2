"""Masks that were compressed by JPEG: cut where that is safe, else refused with a command that mends them."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.made_up_sources import read_all


@pytest.fixture
def jpegs(rgb_folder: Path) -> dict[Path, np.ndarray]:
    """Where the masks of two classes will be JPEGs, and their classes, (H, W) uint8; the PNGs are gone."""
    found = {}
    for path in sorted(rgb_folder.glob("*/masks/*.png")):
        found[path.with_suffix(".jpg")] = (np.array(Image.open(path)) > 0).astype(np.uint8)
        path.unlink()
    return found


def test_masks_of_nearly_black_and_white_are_cut_and_said(rgb_folder, jpegs):
    for path, classes in jpegs.items():
        levels = np.kron(classes[::8, ::8], np.ones((8, 8), np.uint8)) * np.uint8(249) + np.uint8(3)
        Image.fromarray(levels).save(path, quality=100)
    levels = np.array(Image.open(rgb_folder / "train/masks/train_0.jpg"))
    assert set(np.unique(levels)) - {0, 255}
    tiles = read_all(rgb_folder)
    assert np.array_equal(tiles.train.masks[0], levels > 127)
    assert tiles.notes == (
        "masks that JPEG left a few grey levels off black and white were cut at mid-grey: train_0.jpg, train_1.jpg, "
        "train_2.jpg and 2 more",
    )


def test_smeared_masks_are_refused_with_a_command_that_mends_them(rgb_folder, jpegs, refusal):
    for path, classes in jpegs.items():
        Image.fromarray(classes * np.uint8(255)).save(path, quality=50)
    message = refusal(lambda: read_all(rgb_folder))
    words, _, command = message.partition(" python -c ")
    assert words == (
        f"{rgb_folder / 'train/masks/train_0.jpg'} is a mask compressed by JPEG, which smears class values at "
        "every edge: export them again as PNG, or cut at mid-grey and move the JPEGs away:"
    )
    code, files = shlex.split(command)
    assert files == f"{rgb_folder / 'train/masks'}/*.jpg"
    subprocess.run([sys.executable, "-c", code, *map(str, jpegs)], check=True)
    for path in jpegs:
        path.unlink()
    tiles = read_all(rgb_folder)
    for tile_id, mask in zip(tiles.train.ids, tiles.train.masks, strict=True):
        assert (mask != jpegs[rgb_folder / f"train/masks/{tile_id}.jpg"]).mean() < 0.02


def test_masks_of_more_classes_or_of_0_and_1_are_refused(rgb_folder, jpegs, refusal):
    for path, classes in jpegs.items():
        Image.fromarray(classes * np.uint8(2)).save(path)
    assert "is a mask compressed by JPEG, which smears class values" in refusal(lambda: read_all(rgb_folder))
    (rgb_folder / "dataset.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    message = refusal(lambda: read_all(rgb_folder))
    assert message.endswith("which smears class values at every edge: export the masks again as PNG")
