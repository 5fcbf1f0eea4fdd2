"""Odd folders of tiles, as people have them: each is read as it is meant, or refused in one line that says why.

The tests of the modules write such files themselves; these are folders made by others.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.sealed import check_sealed
from trainables.data.tiles import TrainVal
from trainables.datasets.deepglobe import plan_deepglobe
from trainables.datasets.write import write_tiles

ODD = ROOT.parent / "shared" / "odd-inputs"
pytestmark = pytest.mark.skipif(not ODD.is_dir(), reason=f"no odd folders here: {ODD} does not exist")

BY_COLOUR = "masks with a palette were taken by its colours, not by its numbers: t0.png, t1.png, t2.png and 2 more"
READ: dict[str, tuple[str, ...]] = {
    "00_control": (),
    "02_palette_mask_quantize": (BY_COLOUR,),
    "15c_miniswhite8": (),
    "22_val_all_void": ("every pixel is void in 1 of 2 val tiles: t4",),
    "24_groups_filenames": (),
    "24b_groups_shared": (),
    "25_bom": (),
}
"""Folder to the notes on it; their masks are those of the control."""

SHIFTED = (
    "{root}/train/masks/t0.tif lies +48.0 px (right) and +0.0 px (down) off its image by their georeferences, but must "
    "lie on it: "
)
REFUSED = {
    "21_ignore255_on_0_255": "the train masks hold nothing but background and void (255), so there is nothing to tell "
    'apart: take "ignore_index": 255 out of dataset.json if 255 is a class, or label more classes',
    "30_complex64": "{root}/train/images/t0.tif holds complex numbers (complex64), but bands must be real: ",
    "40c_jpg_is_png": "{root}/train/images/t0.jpg is damaged or truncated: replace it",
    "40d_mask_tif_is_png_trunc": "{root}/train/masks/t0.tif is damaged or truncated: replace it",
    "42i_mixedbmp": "{root}/train/images holds t1.webp, but tiles are read from .jpg, .jpeg, .png, .tif, .tiff only: "
    "store it as PNG or TIFF (rio convert {root}/train/images/t1.webp {root}/train/images/t1.tif) and move it ",
    "50b_shifted_mask": SHIFTED,
}
"""Folder to the line that refuses it, or its beginning."""

REFUSED_TEST_TILES = {
    "60_test_image_truncated": "{root}/test/images/t6.jpg is damaged or truncated: replace it",
    "61_test_mask_value_3": "{root}/test/masks/t6.png holds the value 3, but a mask of 2 classes may hold 0 and 1 (or "
    "255): mend the mask, or name classes and ignore_index in dataset.json",
}
"""Folder to the line that refuses its test tiles before a study starts."""


def read(name: str) -> TrainVal:
    """A folder by the beginning of its name."""
    (folder,) = ODD.glob(f"{name}*")
    return decode_train_val(read_dataset(folder))


@pytest.mark.parametrize("name", READ)
def test_folders_are_read_as_they_are_meant(name):
    dataset = read_dataset(ODD / name)
    tiles = decode_train_val(dataset)
    check_sealed(dataset)
    assert (*dataset.notes, *tiles.notes) == READ[name]
    for mask, expected in zip(tiles.train.masks, read("00").train.masks, strict=True):
        assert np.array_equal(mask, expected)


@pytest.mark.parametrize("name", ["24_groups_filenames", "24b_groups_shared"])
def test_groups_are_by_tile(name):
    assert read_dataset(ODD / name).info.groups == dict.fromkeys(["t0", "t1", "t2", "t3", "t4", "t5"], "north")


@pytest.mark.parametrize("name", REFUSED)
def test_folders_that_cannot_be_right_are_refused(name, refusal):
    words = REFUSED[name].format(root=ODD / name)
    assert refusal(lambda: decode_train_val(read_dataset(ODD / name))).startswith(words)


@pytest.mark.parametrize("name", REFUSED_TEST_TILES)
def test_test_tiles_that_cannot_be_right_are_refused_before_the_start(name, refusal):
    dataset = read_dataset(ODD / name)
    decode_train_val(dataset)
    assert refusal(lambda: check_sealed(dataset)) == REFUSED_TEST_TILES[name].format(root=ODD / name)


def test_roads_are_found_in_masks_of_one_bit(tmp_path: Path):
    plan = plan_deepglobe(ODD / "65_deepglobe_1bit_masks", num_train=2, num_val=1, num_test=0)
    counts = write_tiles("deepglobe", plan, tmp_path / "dst")
    assert all(count[1] > 0 for count in counts.values())


@pytest.mark.parametrize("name", ["06_", "13", "31b"])
def test_the_same_scene_in_another_guise_is_the_same_training(name):
    tiles, control = read(name), read("00")
    assert tiles.digest() == control.digest()
    assert tiles.scale == control.scale
    assert tiles.is_photograph
