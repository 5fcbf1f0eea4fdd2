"""Odd images made here, from the files to the numbers that a network sees."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.trainables.made_up_sources import read_all, write_tiff
from tests.trainables.network_input import CPU, SIDE, assert_alike, mapped, seen, segmenter
from trainables.common.errors import UserError
from trainables.data.augmentation.presets import PRESETS
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.draws import DrawSource
from trainables.data.tiles import IGNORE, TrainVal
from trainables.losses import Loss
from trainables.models.segmenter import Segmenter
from trainables.predict import evaluate, predict_logits
from trainables.training import band_statistics, pixel_statistics


def scene(number: int, bands: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, bands) uint8 and its mask."""
    rng = np.random.default_rng([11, number])
    mask = np.zeros((96, 96), np.uint8)
    top, left = rng.integers(8, 50, 2)
    mask[top : top + 30, left : left + 30] = 1
    image = rng.integers(20, 120, (96, 96, bands)) + 90 * mask[..., None]
    return image.astype(np.uint8), mask


@pytest.fixture
def folder(tmp_path, recwarn) -> Callable[..., Path]:
    """Writes TIFFs of what `change` makes of each scene, numbered over the splits."""

    def write(change: Callable[[np.ndarray, int], np.ndarray], *, bands: int = 3, info: Any = None, **profile: Any):
        root = tmp_path / f"tiles{len(list(tmp_path.iterdir()))}"
        for number, split in enumerate(["train", "train", "val", "test"]):
            for name in ("images", "masks"):
                (root / split / name).mkdir(parents=True, exist_ok=True)
            image, mask = scene(number, bands)
            pixels = change(image, number).transpose(2, 0, 1)
            Image.fromarray(mask).save(root / split / "masks" / f"t{number}.png")
            write_tiff(root / split / "images" / f"t{number}.tif", pixels, **profile)
        if info is not None:
            (root / "dataset.json").write_text(json.dumps(info))
        return root

    return write


def with_band(image: np.ndarray, band: Any) -> np.ndarray:
    return np.dstack([image, np.broadcast_to(np.asarray(band, image.dtype), image.shape[:2])])


def test_opacity_is_said_once_and_its_holes_count_nowhere(folder):
    hole = np.full((96, 96), 255, np.uint8)
    hole[:, :20] = 0
    opaque = read_dataset(folder(lambda image, _: with_band(image, 255)))
    assert opaque.notes == (
        "the images have opacity (alpha): it is left out, and pixels where it is 0 count as no data",
    )
    plain = read_all(folder(lambda image, _: image))
    mixed = read_all(folder(lambda image, number: with_band(image, 255) if number % 2 else image))
    assert decode_train_val(opaque).digest() == plain.digest() == mixed.digest()
    tiles = read_all(folder(lambda image, number: with_band(image, hole if number else 255)))
    assert tiles.is_photograph
    assert tiles.train.missing(0) is None
    assert (tiles.train.masks[1] == IGNORE).sum() == 96 * 20
    assert "2 of 3 train and val tiles have pixels without data" in tiles.notes[0]


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["red", "green", "blue", "nir"], ["red", "green", "blue", "nir"]),
        (["red", "green", "blue", "Alpha"], ["red", "green", "blue"]),
        (["red", "green", "blue"], ["red", "green", "blue"]),
        (None, ["red", "green", "blue"]),
    ],
)
def test_dataset_json_says_what_a_fourth_band_is(folder, names, taken):
    root = folder(lambda image, _: with_band(image, 255), info=None if names is None else {"bands": names})
    tiles = read_all(root)
    assert list(tiles.info.bands) == taken
    assert tiles.train.images[0].shape == (96, 96, len(taken))


def test_images_without_any_data_are_refused_and_a_single_one_is_named(folder):
    with pytest.raises(UserError, match="no pixel of the train tiles has data"):
        read_all(folder(lambda image, _: with_band(image, 0)))
    tiles = read_all(folder(lambda image, number: with_band(image, 0 if number == 1 else 255)))
    assert "t1 hold no data at all: remove them" in tiles.notes


@pytest.mark.parametrize(
    ("dtype", "preset"), [*(("uint16", preset) for preset in PRESETS), ("uint8", "EXTREME"), ("float32", "EXTREME")]
)
def test_a_constant_band_is_zero_and_the_others_are_as_without_it(folder, dtype, preset):
    tiles = read_all(folder(lambda image, _: with_band(image, 7).astype(dtype), bands=4))
    without = read_all(folder(lambda image, _: image.astype(dtype), bands=4, photometric="minisblack"))
    assert tiles.notes == ("band5 is 7 all over the train tiles: it is 0 for the model, which learns from the others",)
    for (x, _), (y, _) in zip(seen(tiles, preset), seen(without, preset), strict=True):
        assert (x[:, 4] == 0).all()
        torch.testing.assert_close(x[:, :4], y, atol=1e-5, rtol=1e-5)


def test_a_constant_band_is_zero_for_pretrained_weights_too(make_config, tiny, tiles):
    blueless = mapped(tiles, lambda image: image * np.array([1, 1, 0], np.uint8))
    config = make_config(**tiny)
    assert pixel_statistics(config, blueless)[1][2] == 0
    assert pixel_statistics(config, blueless)[1][:2] == pixel_statistics(config, tiles)[1][:2]


def test_a_hot_pixel_is_said_and_moves_nothing_else(folder):
    def change(image: np.ndarray, number: int) -> np.ndarray:
        pixels = image.astype(np.uint16) * 20
        pixels[40, 40, 0] = 65535 if number == 0 else 3000
        return pixels

    hot = read_all(folder(change))
    plain = mapped(hot, lambda image: np.where(image == 65535, np.uint16(3000), image))
    far = "far off (65535): training takes the nearest value within"
    assert hot.notes == (f"red is 400 to 4180 in the train tiles but for 1 pixel {far}",)
    for preset in ("NONE", "MEDIUM"):
        for (x, _), (y, _) in zip(seen(hot, preset, window_px=None), seen(plain, preset, window_px=None), strict=True):
            assert x.abs().max() < 6
            assert ((x - y).abs().amax(dim=1) > 0.02).float().mean() < 0.005  # the pixel itself, where it is seen


@pytest.mark.parametrize(
    ("dtype", "tag", "preset"),
    [
        ("uint8", 0, "NONE"),
        ("uint8", 0, "EXTREME"),
        ("uint16", 65535, "MEDIUM"),
        ("float32", -9999, "EXTREME"),
        ("float32", np.nan, "MEDIUM"),
    ],
)
def test_nodata_is_zero_and_ignored_after_every_augmentation(folder, dtype, tag, preset):
    def change(image: np.ndarray, number: int) -> np.ndarray:
        pixels = image.astype(dtype)
        pixels[: 10 * number, :40] = tag
        return pixels

    tiles = read_all(folder(change, nodata=tag))
    assert tiles.train.missing(0) is None
    count = 0
    for pixels, mask in seen(tiles, preset):
        gone = torch.from_numpy(mask == IGNORE)
        assert (pixels[0][:, gone] == 0).all()
        assert (pixels[0][:, ~gone] != 0).float().mean() > 0.9
        assert pixels.abs().max() < 6
        count += int(gone.sum())
    assert count > 0


def test_draws_without_nodata_are_the_same_beside_tiles_with_it(folder):
    def change(image: np.ndarray, number: int) -> np.ndarray:
        image = np.maximum(image, 1)
        image[:9, :9] *= number != 1
        return image

    lacking = read_all(folder(change, nodata=0))
    plain = replace(lacking, train=replace(lacking.train, nodata=()))
    settings: dict[str, Any] = {"preset": "EXTREME", "window_px": SIDE, "subset_seed": 0, "draw_seed": 0}
    one, other = DrawSource(lacking, **settings), DrawSource(plain, **settings)
    for index in range(20):
        (image, mask), (same, same_mask) = one.sample(1, index), other.sample(1, index)
        assert np.array_equal(mask, same_mask)
        expected = (torch.from_numpy(same).float() * plain.scale).numpy()
        assert np.array_equal(image[mask != IGNORE], expected[mask != IGNORE])


def test_what_stands_where_there_is_no_data_changes_no_evaluation(folder):
    def filled(value: float) -> TrainVal:
        def change(image: np.ndarray, number: int) -> np.ndarray:
            pixels = image.astype(np.float32)
            pixels[5:30, 40:] = value
            return pixels

        return read_all(folder(change, nodata=value))

    inputs: list[torch.Tensor] = []

    class Blur(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            inputs.append(pixels)
            return nn.functional.avg_pool2d(pixels, 5, 1, 2)[:, :1]

    results = []
    for value in (-9999.0, 3e38):
        tiles = filled(value)
        model = Segmenter(Blur(), *band_statistics(tiles.train, tiles.scale))
        results.append(evaluate(model, tiles.val, tiles.info, stride=40, loss=Loss(), device=CPU))
    for pixels in inputs:
        assert pixels.shape == (1, 3, 120, 120)  # reflected to the stride
        assert (pixels[0, :, 5:30, 40:] == 0).all()
        assert (pixels[0, :, 30:80] != 0).all()
    assert results[0].loss == results[1].loss
    assert np.isfinite(results[0].loss)
    assert np.array_equal(results[0].predictions[0], results[1].predictions[0])
    assert results[0].confusions[0].sum() == 96 * 96 - 25 * 56


@pytest.mark.parametrize(
    ("dtype", "value"), [("int16", -9999), ("float32", -3.4028235e38), ("uint16", 65535), ("int16", -32768)]
)
def test_values_that_look_like_nodata_are_said_where_no_tag_names_them(folder, dtype, value):
    def change(image: np.ndarray, number: int) -> np.ndarray:
        pixels = image.astype(dtype)
        pixels[:4, :20, 1] = value
        return pixels

    (note,) = [note for note in read_all(folder(change)).notes if "tag it" in note]
    assert note.startswith(f"green is {value:g} in 240 pixels of 3 train and val tiles and 20 to 209 in all others: ")
    assert f"rio edit-info --nodata {value:g} FILE" in note


@pytest.mark.parametrize("case", ["a few pixels", "black borders", "saturated", "tagged"])
def test_values_that_mean_something_are_not_taken_for_nodata(folder, case):
    def change(image: np.ndarray, number: int) -> np.ndarray:
        pixels = image.astype(np.uint16) * 200
        value, rows = (0, 5) if case == "black borders" else (65535, 3)
        if case == "a few pixels":
            pixels[:3, 0, 0] = value
        else:
            pixels[:rows] = value
        return pixels if case != "saturated" else np.maximum(pixels, 1)

    notes = read_all(folder(change, **({"nodata": 65535} if case == "tagged" else {}))).notes
    assert not any("tag it" in note for note in notes)


# Scale


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "int16"])
def test_wide_whole_numbers_are_scaled_by_what_they_hold(folder, dtype):
    tiles = read_all(folder(lambda image, _: image.astype(dtype) * 40, bands=2))
    greatest = max(int(image.max()) for image in tiles.train.images)
    assert tiles.scale == 1 / greatest
    said = f"the pixels are {dtype}, which says nothing of their range: they are divided by {greatest}"
    assert said in tiles.notes[0]
    floats = read_all(folder(lambda image, _: image.astype(np.float32) * 40, bands=2))
    assert_alike(tiles, floats)
    image = tiles.val.images[0]
    found = predict_logits(segmenter(tiles), image, scale=tiles.scale, stride=1, device=CPU)
    expected = predict_logits(segmenter(floats), floats.val.images[0], scale=1.0, stride=1, device=CPU)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bands", [3, 130])
def test_8_bit_values_in_a_wide_type_are_8_bit_rgb_where_they_are_rgb(folder, bands):
    tiles = read_all(folder(lambda image, _: image.astype(np.int64), bands=bands))
    assert tiles.train.images[0].dtype == (np.uint8 if bands == 3 else np.int64)
    assert tiles.is_photograph is (bands == 3)
    assert tiles.scale == (1 / 255 if bands == 3 else 1 / 209)
    tiles = read_all(folder(lambda image, _: image.astype(np.int32), bands=bands, info={"scale": 0.5}))  # it stands
    assert (tiles.scale, tiles.notes, tiles.train.images[0].dtype) == (0.5, (), np.int32)


@pytest.mark.parametrize("preset", ["LIGHT", "EXTREME"])
def test_more_bands_than_opencv_turns_at_once_are_augmented_alike(folder, preset):
    tiles = read_all(folder(lambda image, _: np.repeat(image, 150, axis=2).astype(np.uint16), bands=1))
    for pixels, mask in seen(tiles, preset, num_draws=12):
        assert pixels.shape == (1, 150, SIDE, SIDE)
        assert mask.shape == (SIDE, SIDE)
        torch.testing.assert_close(pixels, pixels[:, :1].expand_as(pixels), atol=1e-5, rtol=1e-5)
