"""Folders of odd images, from the files to the numbers that a network sees."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.trainables.network_input import assert_alike, mapped, seen
from trainables.common.errors import UserError
from trainables.data.augment import PRESETS
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.tiles import IGNORE, TrainVal
from trainables.training import band_statistics

ODD = ROOT.parent / "shared" / "odd-inputs"


def read(name: str) -> TrainVal:
    """A folder of odd inputs, by the beginning of its name."""
    if not ODD.is_dir():
        pytest.skip(f"no odd inputs here: {ODD} does not exist")
    (folder,) = ODD.glob(f"{name}*")
    return decode_train_val(read_dataset(folder))


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
def test_nodata_of_the_folders_is_zero_and_ignored(name, preset):
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
def test_the_constant_band_of_the_folder_is_zero(preset):
    tiles = read("06b")
    assert tiles.notes == (
        "band4 is 5000 all over the train tiles: it is 0 for the model, which learns from the others",
    )
    for pixels, _ in seen(tiles, preset):
        assert (pixels[:, 3] == 0).all()
        assert pixels.abs().max() < 6
        assert pixels[:, :3].std() > 0.2


def test_the_hot_pixel_of_the_folder_moves_nothing_else():
    hot = read("07")
    assert sum(int((image > 60_000).any(axis=2).sum()) for image in hot.train.images) == 1
    far = "far off (65535): training takes the nearest value within"
    assert hot.notes[0] == f"red is 40 to 4660 in the train tiles but for 1 pixel {far}"

    def without(image: np.ndarray) -> np.ndarray:
        return np.where((image > 60_000).any(axis=2, keepdims=True), np.roll(image, 1, axis=0), image)

    plain = mapped(hot, without)
    np.testing.assert_allclose(
        band_statistics(hot.train, hot.scale), band_statistics(plain.train, plain.scale), rtol=2e-3
    )
    for preset in ("NONE", "MEDIUM"):
        for (x, _), (y, _) in zip(seen(hot, preset, window_px=None), seen(plain, preset, window_px=None), strict=True):
            assert x.abs().max() < 6
            assert ((x - y).abs().amax(dim=1) > 0.02).float().mean() < 0.005  # the pixel itself, where it is seen


def test_tiny_radiances_are_trained_on_as_large_ones():
    tiles = read("31e")
    assert max(band_statistics(tiles.train, tiles.scale)[1]) < 1e-6
    assert_alike(tiles, mapped(tiles, lambda image: image * np.float32(2**30)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("30", "holds complex numbers (complex64), but bands must be real"),
        ("40c", ".jpg is damaged or truncated: replace it"),
        ("40d", "masks/t0.tif is damaged or truncated: replace it"),
    ],
)
def test_folders_that_cannot_be_right_are_refused(name, words):
    with pytest.raises(UserError) as caught:
        read(name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
