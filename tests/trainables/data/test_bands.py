"""Ranges and statistics of bands over the pixels that are data."""

from typing import Any

import numpy as np
import pytest

from trainables.data.bands import band_statistics, value_ranges
from trainables.data.tiles import Tiles


def make_tiles(images: list[Any], nodata: tuple[Any, ...] = ()) -> Tiles:
    masks = tuple(np.zeros(image.shape[:2], np.uint8) for image in images)
    return Tiles(tuple(map(str, range(len(images)))), tuple(images), masks, nodata)


def reflectance(seed: int = 0, dtype: Any = np.uint16, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(500, 3000, (side, side, 2)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("side", [4, 16, 40])
def test_ranges_of_ordinary_tiles_are_least_and_greatest(dtype, side):
    images = [reflectance(seed, dtype, side) for seed in range(3)]
    low, high = value_ranges(make_tiles(images))
    assert low.tolist() == np.min([image.min(axis=(0, 1)) for image in images], axis=0).tolist()
    assert high.tolist() == np.max([image.max(axis=(0, 1)) for image in images], axis=0).tolist()


@pytest.mark.parametrize("odd", [65535, 0])
@pytest.mark.parametrize("place", [(8, 8), (9, 11)])
def test_one_odd_pixel_moves_no_range(odd, place):
    image = (reflectance() + 20_000).astype(np.uint16)
    image[place] = 21_000
    expected = value_ranges(make_tiles([image]))
    hot = image.copy()
    hot[place] = odd
    for found, wanted in zip(value_ranges(make_tiles([hot])), expected, strict=True):
        assert found.tolist() == wanted.tolist()


def test_rare_objects_and_bright_ones_of_a_hundredth_keep_their_range():
    image = np.full((60, 60, 1), 100, np.uint16)
    image[3, 4:6] = 900  # 2 of 3600 pixels
    assert [limit.tolist() for limit in value_ranges(make_tiles([image]))] == [[100], [900]]
    image = reflectance(dtype=np.float32)
    image[:4, :4] = 60_000
    assert value_ranges(make_tiles([image]))[1].tolist() == [60_000, 60_000]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_statistics_are_those_of_all_pixels_at_once_to_the_bit(dtype):
    rng = np.random.default_rng(5)
    images = [(rng.random((side, 64, 3)) * 255).astype(dtype) for side in (32, 100, 64)]
    pixels = np.concatenate([image[::4, ::4].reshape(-1, 3) for image in images]).astype(np.float64)
    mean, std = band_statistics(make_tiles(images), 1 / 255)
    assert mean == (pixels.mean(axis=0) * (1 / 255)).tolist()
    assert std == (pixels.std(axis=0) * (1 / 255)).tolist()


def test_one_hot_pixel_hardly_moves_the_statistics():
    image = reflectance(side=80)
    plain = band_statistics(make_tiles([image]), 1.0)
    image[4, 4] = 65535  # among those that are looked at
    hot = band_statistics(make_tiles([image]), 1.0)
    np.testing.assert_allclose(hot, plain, rtol=0.01)
    assert abs(image[::4, ::4, 0].std() / plain[1][0] - 1) > 1  # it would


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e9])
def test_statistics_know_no_scale(factor):
    image = np.random.default_rng(0).uniform(1, 2, (32, 32, 2))
    plain = band_statistics(make_tiles([image]), 1.0)
    scaled = band_statistics(make_tiles([(image * factor).astype(np.float32)]), 1.0)
    np.testing.assert_allclose(scaled, np.array(plain) * factor, rtol=1e-5)


@pytest.mark.parametrize("value", [0, 7, 0.3])
def test_a_band_has_a_std_where_it_varies_also_between_the_looked_at_pixels_alone(value):
    image = reflectance(dtype=np.float32)
    image[..., 1] = value
    image[::2, :, 1] *= np.float32(1 + 1e-7)  # but for rounding
    mean, std = band_statistics(make_tiles([image]), 1.0)
    assert mean[1] == pytest.approx(value)
    assert std[0] > 0
    assert std[1] == 0
    image = np.full((32, 32, 1), 9, np.uint8)
    image[1::4, 1::4] = 10
    assert band_statistics(make_tiles([image]), 1.0)[1] == [pytest.approx(np.std(image))]


def test_ranges_and_statistics_leave_out_what_is_no_data():
    image, missing = reflectance(), np.zeros((40, 40), bool)
    missing[5:30, 9:] = True
    masked = image.copy()
    masked[missing] = 65535
    expected = image[::4, ::4][~missing[::4, ::4]]
    mean, std = band_statistics(make_tiles([masked], (missing,)), 1.0)
    assert mean == pytest.approx(expected.mean(axis=0))
    assert std == pytest.approx(expected.std(axis=0))
    assert max(value_ranges(make_tiles([masked], (missing,)))[1]) < 3000
    nothing = make_tiles([masked], (np.ones((40, 40), bool),))
    assert [limit.tolist() for limit in value_ranges(nothing)] == [[0, 0], [0, 0]]
    assert band_statistics(nothing, 1.0) == ([0, 0], [0, 0])
