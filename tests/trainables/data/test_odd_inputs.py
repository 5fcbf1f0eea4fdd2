"""Odd folders of tiles, as people have them: each is read as it is meant, or refused in one line that says why.

The tests of the modules write such files themselves; these are folders made by others.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.trainables.network_input import assert_alike, mapped, seen
from trainables.data.augment import PRESETS
from trainables.data.bands import band_statistics
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.sealed import check_sealed
from trainables.data.tiles import IGNORE, TrainVal
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


# Files and masks


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


# Pixels, up to the numbers that a network sees


@pytest.mark.parametrize("name", ["06_", "13", "31b"])
def test_the_same_scene_in_another_guise_is_the_same_training(name):
    tiles, control = read(name), read("00")
    assert tiles.digest() == control.digest()
    assert tiles.scale == control.scale
    assert tiles.is_photograph


def test_a_palette_image_is_its_colours():
    tiles = read("01")
    assert tiles.is_photograph
    for tile_id, image in zip(tiles.train.ids, tiles.train.images, strict=True):
        with Image.open(ODD / f"01_palette_image/train/images/{tile_id}.png") as picture:
            assert np.array_equal(image, np.asarray(picture.convert("RGB")))


def test_exif_orientation_puts_image_and_mask_together():
    tiles, control = read("03"), read("00")
    for index, image in enumerate(tiles.train.images):  # the scene of the control, turned
        difference = np.rot90(image).astype(int) - control.train.images[index]
        assert np.abs(difference).mean() < 3  # JPEG's own loss; tens elsewhere
        assert np.array_equal(np.rot90(tiles.train.masks[index]), control.train.masks[index])


@pytest.mark.parametrize("name", ["05_", "05c"])
@pytest.mark.parametrize("preset", PRESETS)
def test_nodata_is_zero_and_ignored(name, preset):
    tiles = read(name)
    assert "without data by the files' nodata tag" in tiles.notes[0]
    mean, std = band_statistics(tiles.train, tiles.scale)
    expected = band_statistics(read("00").train, mean[0] / 0.522 / 255)
    np.testing.assert_allclose((mean, std), expected, rtol=0.05)
    shares = []
    for pixels, mask in seen(tiles, preset):
        shares.append((mask == IGNORE).mean())
        assert (pixels[0][:, torch.from_numpy(mask == IGNORE)] == 0).all()
        assert pixels.isfinite().all()
        assert pixels.abs().max() < 6
    assert max(shares) > 0.02


@pytest.mark.parametrize("preset", PRESETS)
def test_a_constant_band_is_zero(preset):
    tiles = read("06b")
    assert tiles.notes == (
        "band4 is 5000 all over the train tiles: it is 0 for the model, which learns from the others",
    )
    for pixels, _ in seen(tiles, preset):
        assert (pixels[:, 3] == 0).all()
        assert pixels.abs().max() < 6
        assert pixels[:, :3].std() > 0.2


def test_a_hot_pixel_moves_nothing_else():
    hot = read("07")
    assert sum(int((image > 60_000).any(axis=2).sum()) for image in hot.train.images) == 1
    far = "far off (65535): training takes the nearest value within"
    assert hot.notes[0] == f"red is 40 to 4660 in the train tiles but for 1 pixel {far}"

    def without(image: np.ndarray) -> np.ndarray:
        return np.where((image > 60_000).any(axis=2, keepdims=True), np.roll(image, 1, axis=0), image)

    plain = mapped(hot, without)
    of_hot, of_plain = (band_statistics(tiles.train, tiles.scale) for tiles in (hot, plain))
    np.testing.assert_allclose(of_hot, of_plain, rtol=2e-3)
    for preset in ("NONE", "MEDIUM"):
        for (x, _), (y, _) in zip(seen(hot, preset, window_px=None), seen(plain, preset, window_px=None), strict=True):
            assert x.abs().max() < 6
            assert ((x - y).abs().amax(dim=1) > 0.02).float().mean() < 0.005  # the pixel itself, where it is seen


def test_tiny_radiances_are_trained_on_as_large_ones():
    tiles = read("31e")
    assert max(band_statistics(tiles.train, tiles.scale)[1]) < 1e-6
    assert_alike(tiles, mapped(tiles, lambda image: image * np.float32(2**30)))
