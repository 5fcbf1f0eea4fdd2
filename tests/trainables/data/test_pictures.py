"""Pictures of tiles and masks for the eye."""

import numpy as np
import pytest

from trainables.data.pictures import PALETTE, class_map, overlay, side_by_side, to_rgb
from trainables.data.tiles import IGNORE, DatasetInfo

INFO = DatasetInfo(bands=("red", "green", "blue"), scale=1 / 255)
THREE = DatasetInfo(classes=("a", "b", "c"), bands=("red", "green", "blue"), scale=1 / 255)


def test_class_map_has_a_colour_for_each_class_and_white_for_ignored():
    classes = np.array([[0, 1, 2, IGNORE]], np.uint8)
    assert class_map(classes, THREE)[0].tolist() == [[0, 0, 0], [230, 57, 70], [69, 123, 157], [255, 255, 255]]
    info = THREE.model_copy(update={"colors_rgb": ((9, 9, 9), (255, 0, 0), (0, 0, 255))})
    tinted = overlay(np.zeros((1, 4, 3), np.uint8), classes, info)
    assert tinted[0].tolist() == [[4, 4, 4], [127, 0, 0], [0, 0, 127], [0, 0, 0]]
    assert class_map(classes, info)[0].tolist() == [[9, 9, 9], [255, 0, 0], [0, 0, 255], [255, 255, 255]]


def test_overlay_tints_half_and_leaves_ignored_pixels_and_the_background_of_two_classes_alone():
    rgb = np.full((1, 4, 3), 100, np.uint8)
    classes = np.array([[0, 1, 2, IGNORE]], np.uint8)
    tinted = overlay(rgb, classes, THREE)
    # PALETTE: class 0 (0, 0, 0), class 1 (230, 57, 70), class 2 (69, 123, 157)
    assert tinted[0].tolist() == [[50, 50, 50], [165, 78, 85], [84, 111, 128], [100, 100, 100]]
    assert tinted.dtype == np.uint8
    assert (rgb == 100).all()
    assert overlay(rgb[:, :2], classes[:, :2], DatasetInfo())[0].tolist() == [[100, 100, 100], [165, 78, 85]]


def test_overlay_has_a_colour_for_any_number_of_classes():
    info = DatasetInfo(classes=tuple(f"class {i}" for i in range(15)))
    tinted = overlay(np.zeros((1, 15, 3), np.uint8), np.arange(15, dtype=np.uint8)[None], info)
    assert (tinted[0, 1:].max(axis=1) > 0).all()
    period = len(PALETTE) - 1
    assert np.array_equal(tinted[0, 1], tinted[0, 1 + period])


def test_to_rgb_shows_photographs_as_they_are_and_finds_bands_by_name(tiles):
    assert np.array_equal(to_rgb(tiles.val.images[0], tiles.info), tiles.val.images[0])
    image = np.arange(8, dtype=np.uint8).reshape(1, 2, 4)
    info = DatasetInfo(bands=("nir", "blue", "green", "red"))
    assert to_rgb(image, info).tolist() == [[[3, 2, 1], [7, 6, 5]]]


@pytest.mark.parametrize(("bands", "chosen"), [(1, [0, 0, 0]), (2, [0, 1, 1]), (5, [0, 1, 2])])
def test_to_rgb_takes_the_first_bands_without_names(bands, chosen):
    image = np.arange(bands, dtype=np.uint8).reshape(1, 1, bands)
    info = DatasetInfo(bands=tuple(f"band{i}" for i in range(bands)))
    assert to_rgb(image, info)[0, 0].tolist() == chosen


def test_to_rgb_stretches_uint16_between_percentiles():
    # 0 … 10000 in steps of 100: the 2nd percentile is 200, the 98th 9800
    image = np.repeat(np.arange(0, 10001, 100, dtype=np.uint16)[None, :, None], 3, axis=2)
    shown = to_rgb(image, INFO)
    assert shown.dtype == np.uint8
    assert shown[0, [0, 2], 0].tolist() == [0, 0]
    assert shown[0, [98, 100], 0].tolist() == [255, 255]
    assert shown[0, 50, 0] == 127  # (5000 - 200) / 9600 of 255
    assert (np.diff(shown[0, :, 0].astype(int)) >= 0).all()
    assert (to_rgb(np.full((4, 4, 3), 700, np.uint16), INFO) == 0).all()


@pytest.mark.parametrize("name", ["tiles", "band_tiles"])
def test_side_by_side_shows_image_truth_and_prediction(request, name):
    tiles = request.getfixturevalue(name)
    image, truth = tiles.val.images[0], tiles.val.masks[0]
    prediction, rgb = np.zeros_like(truth), to_rgb(image, tiles.info)
    shown = side_by_side(image, truth, prediction, tiles.info)
    assert (shown.shape, shown.dtype) == ((64, 3 * 64 + 16, 3), np.uint8)
    assert np.array_equal(shown[:, :64], rgb)
    assert np.array_equal(shown[:, 72:136], overlay(rgb, truth, tiles.info))
    assert np.array_equal(shown[:, 144:], overlay(rgb, prediction, tiles.info))
    assert (shown[:, 64:72] == 255).all()
