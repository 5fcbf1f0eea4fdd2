"""Odd folders of tiles, as people have them: each is read as it is meant, or refused in one line that says why.

Folders about files and masks; the tests of `trainables.data.masks`, `folder` and `georeference` write such files
themselves.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.sealed import check_sealed

FOLDERS = Path(__file__).parents[4] / "shared" / "odd-inputs"

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

REFUSED = {
    "21_ignore255_on_0_255": "the train masks hold nothing but background and void (255), so there is nothing to tell "
    'apart: take "ignore_index": 255 out of dataset.json if 255 is a class, or label more classes',
    "42i_mixedbmp": "{root}/train/images holds t1.webp, but tiles are read from .jpg, .jpeg, .png, .tif, .tiff only: "
    "store it as PNG or TIFF (rio convert {root}/train/images/t1.webp {root}/train/images/t1.tif) and move it "
    "elsewhere",
    "50b_shifted_mask": "{root}/train/masks/t0.tif lies +48.0 px (right) and +0.0 px (down) off its image by their "
    "georeferences, but must lie on it: georeference them alike, or store the mask without a georeference (as PNG) if "
    "its pixels are the image's",
}
"""Folder to the line that refuses it."""

REFUSED_TEST_TILES = {
    "60_test_image_truncated": "{root}/test/images/t6.jpg is damaged or truncated: replace it",
    "61_test_mask_value_3": "{root}/test/masks/t6.png holds the value 3, but a mask of 2 classes may hold 0 and 1 (or "
    "255): mend the mask, or name classes and ignore_index in dataset.json",
}
"""Folder to the line that refuses its test tiles before a study starts."""


@pytest.fixture
def folder() -> Callable[[str], Path]:
    def of(name: str) -> Path:
        if not FOLDERS.is_dir():
            pytest.skip(f"no odd folders here: {FOLDERS} does not exist")
        return FOLDERS / name

    return of


@pytest.mark.parametrize("name", READ)
def test_odd_folders_are_read_as_they_are_meant(name, folder):
    dataset = read_dataset(folder(name))
    tiles = decode_train_val(dataset)
    check_sealed(dataset)
    assert (*dataset.notes, *tiles.notes) == READ[name]
    control = decode_train_val(read_dataset(folder("00_control")))
    for mask, expected in zip(tiles.train.masks, control.train.masks, strict=True):
        assert np.array_equal(mask, expected)


@pytest.mark.parametrize("name", ["24_groups_filenames", "24b_groups_shared"])
def test_groups_are_by_tile(name, folder):
    assert read_dataset(folder(name)).info.groups == dict.fromkeys(["t0", "t1", "t2", "t3", "t4", "t5"], "north")


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_with_other_folders_is_said(name, folder, refusal):
    root = folder(name)
    assert refusal(lambda: decode_train_val(read_dataset(root))) == REFUSED[name].format(root=root)


@pytest.mark.parametrize("name", REFUSED_TEST_TILES)
def test_what_is_wrong_with_test_tiles_is_said_before_the_start(name, folder, refusal):
    dataset = read_dataset(folder(name))
    decode_train_val(dataset)
    assert refusal(lambda: check_sealed(dataset)) == REFUSED_TEST_TILES[name].format(root=folder(name))


def test_the_table_names_folders_that_are_there(folder):
    names = {*READ, *REFUSED, *REFUSED_TEST_TILES}
    assert {path.name for path in folder("").iterdir() if path.is_dir()} >= names
