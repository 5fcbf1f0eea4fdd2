"""What a bad folder is told: one line with the file, the value and the fix."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trainables.made_up_sources import read_all, save
from trainables.data.dataset import read_dataset


def in_its_place(path: Path, pixels: Any, save_tiff: Callable[..., Path]) -> Path:
    """A TIFF of (bands, H, W) pixels instead of a PNG."""
    path.unlink()
    return save_tiff(path.with_suffix(".tif"), pixels)


# Files


def test_missing_folder_is_refused(tmp_path, refusal):
    message = refusal(lambda: read_dataset(tmp_path / "nowhere"))
    assert message.startswith(f"{tmp_path / 'nowhere'} is no folder")
    assert "check the path" in message


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("how", ["empty", "missing"])
def test_split_without_tiles_is_refused(rgb_folder, split, how, refusal):
    shutil.rmtree(rgb_folder / split)
    if how == "empty":
        (rgb_folder / split / "images").mkdir(parents=True)
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.startswith(f"{rgb_folder / split / 'images'} holds no tiles")
    assert f"their masks in {split}/masks" in message


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_image_without_mask_and_mask_without_image_are_refused(rgb_folder, split, refusal):
    image, mask = (rgb_folder / split / kind / f"{split}_0.png" for kind in ("images", "masks"))
    content = mask.read_bytes()
    mask.unlink()
    assert refusal(lambda: read_dataset(rgb_folder)) == f"{image} has no mask: add {mask} or remove the image"
    mask.write_bytes(content)
    image.unlink()
    wanted = image.with_suffix(".jpg")
    assert refusal(lambda: read_dataset(rgb_folder)) == f"{mask} has no image: add {wanted} or remove the mask"


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("content", [b"", b"this is no image"])
def test_unreadable_file_is_refused(rgb_folder, split, content, refusal):
    image = rgb_folder / split / "images" / f"{split}_0.png"
    image.write_bytes(content)
    assert refusal(lambda: read_dataset(rgb_folder)) == f"{image} cannot be read as an image: replace or remove it"


def test_one_id_in_one_split_or_two_is_refused(rgb_folder, refusal):
    path, jpeg = (rgb_folder / f"train/images/train_0.{suffix}" for suffix in ("png", "jpg"))
    shutil.copy(path, jpeg)
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message == f"{path} and train_0.jpg share the id train_0: keep one of them"
    jpeg.unlink()
    for folder in ("images", "masks"):
        shutil.copy(rgb_folder / f"train/{folder}/train_0.png", rgb_folder / f"test/{folder}/train_0.png")
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message == f"{rgb_folder}/test/images/train_0.png and {path} share the id train_0: rename one of them"


# Headers


@pytest.mark.parametrize("split", ["train", "test"])
def test_image_and_mask_of_different_size_are_refused(rgb_folder, split, refusal):
    mask = save(rgb_folder / split / "masks" / f"{split}_0.png", np.zeros((48, 80), np.uint8))
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message == f"{mask} is 80×48 px, but its image is 64×64 px: image and mask must have one size"


@pytest.mark.parametrize(
    ("file", "pixels", "words"),
    [
        ("val/masks/val_0", np.zeros((5, 64, 64), np.uint8), "has 5 bands of uint8, but a mask must be one band"),
        ("val/masks/val_0", np.zeros((1, 64, 64), np.float32), "has 1 bands of float32, but a mask must be one band"),
        ("val/images/val_1", np.zeros((1, 64, 64), np.uint8), "has 1 bands of uint8, but {first} has 3 of uint8: all"),
        ("test/images/test_0", np.zeros((3, 64, 64), np.uint16), "has 3 bands of uint16, but {first} has 3 of uint8"),
    ],
)
def test_other_bands_and_types_are_refused(rgb_folder, save_tiff, file, pixels, words, refusal):
    path = in_its_place(rgb_folder / f"{file}.png", pixels, save_tiff)
    first = rgb_folder / "train/images/train_0.png"
    assert refusal(lambda: read_dataset(rgb_folder)).startswith(f"{path} {words.format(first=first)}")


# dataset.json


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{classes: 2}", "is no JSON"),
        (b"", "is no JSON"),
        (b"\xff\xfe\x00{", "is no JSON"),
        (b'["roof"]', "is ['roof'], but Input should be a valid dictionary"),
        (b'{"colour": 3}', "colour is 3, but Extra inputs are not permitted"),
        (b'{"scale": -1}', "scale is -1, but Input should be greater than 0"),
        (b'{"classes": ["roof"]}', "classes is ['roof'], but "),
        (b'{"ignore_index": 256}', "ignore_index is 256, but "),
        (b'{"colors_rgb": [[0, 0, 0], [1, 2]]}', "colors_rgb.1.2 is "),
        (b'{"colors_rgb": [[0, 0, 0], [0, 0, 256]]}', "colors_rgb.1.2 is 256"),
        (b'{"colors_rgb": [[0, 0, 0], [0, -1, 0]]}', "colors_rgb.1.1 is -1"),
        (b'{"colors_rgb": [[0, 0, 0]]}', "has 1 colours for 2 classes: give one per class"),
        (b'{"bands": ["red", "green"]}', "names 2 bands, but the images have 3: name each band once"),
        (b'{"color_rgb": []}', "color_rgb is [], but Extra inputs are not permitted: call it colors_rgb"),
        (b'{"zoom": 3}', "zoom is 3, but Extra inputs are not permitted: mend it"),
        (b'{"scale": Infinity}', "scale is inf, but Input should be a finite number: mend it"),
        (b'{"scale": NaN}', "scale is nan, but Input should be a finite number: mend it"),
        (b'{"metres_per_pixel": Infinity}', "metres_per_pixel is inf, but Input should be a finite number: mend it"),
        (b'{"classes": ["a", "b", "A "]}', "classes is ['a', 'b', 'A '], but a is there twice: mend it"),
        (b'{"classes": ["a", " "]}', "classes is ['a', ' '], but each needs a name that is not blank: mend it"),
        (b'{"bands": ["r", "r", "b"]}', "bands is ['r', 'r', 'b'], but r is there twice: mend it"),
        (b'{"bands": ["r", "", "b"]}', "bands is ['r', '', 'b'], but each needs a name that is not blank: mend it"),
    ],
)
def test_bad_dataset_json_is_refused(rgb_folder, content, words, refusal):
    path = rgb_folder / "dataset.json"
    path.write_bytes(content)
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.startswith(str(path))
    assert words in message


# Pixels


@pytest.mark.parametrize(
    ("folder", "value", "rule"),
    [
        *(("rgb_folder", value, "2 classes may hold 0 and 1 (or 255)") for value in (-1, 2, 7, 254)),
        ("band_folder", 255, "4 classes may hold 0 to 3 and 9 (ignored)"),
    ],
)
def test_mask_value_that_is_no_class_is_refused(request, save_tiff, folder, value, rule, refusal):
    root, pixels = request.getfixturevalue(folder), np.zeros((1, 64, 64), np.int16)
    pixels[0, 10, 20] = value
    mask = in_its_place(root / "val/masks/val_1.png", pixels, save_tiff)
    message = refusal(lambda: read_all(root))
    assert message.startswith(f"{mask} holds the value {value}, but a mask of {rule}")
    assert "dataset.json" in message


def test_both_1_and_255_in_a_mask_of_two_classes_are_refused(tmp_path, write_rgb, refusal):
    path = write_rgb(tmp_path, foreground=1) / "train/masks/train_0.png"
    written = np.array(Image.open(path))
    written[:2] = 255
    save(path, written)
    message = refusal(lambda: read_all(tmp_path))
    assert message.startswith(f"{path} holds both 1 and 255")
    assert '"ignore_index": 255' in message
