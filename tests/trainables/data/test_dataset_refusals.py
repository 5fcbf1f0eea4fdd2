"""What a bad folder is told: one line with the file, the value and the fix."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainables.common.errors import UserError
from trainables.data.dataset import Dataset, read_dataset
from trainables.data.decode import decode_train_val


def read_all(root: Path) -> Any:
    return decode_train_val(read_dataset(root))


def truncate(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def save_mask(path: Path, pixels: Any) -> None:
    Image.fromarray(np.asarray(pixels)).save(path)


# What a bad folder is told


def test_read_dataset_refuses_missing_folder(tmp_path, refusal):
    message = refusal(lambda: read_dataset(tmp_path / "nowhere"))
    assert message.startswith(f"{tmp_path / 'nowhere'} is no folder")
    assert "check the path" in message


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("how", ["empty", "missing"])
def test_read_dataset_refuses_split_without_tiles(rgb_folder, split, how, refusal):
    shutil.rmtree(rgb_folder / split)
    if how == "empty":
        (rgb_folder / split / "images").mkdir(parents=True)
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.startswith(f"{rgb_folder / split / 'images'} holds no tiles")
    assert f"their masks in {split}/masks" in message


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_read_dataset_refuses_image_without_mask(rgb_folder, split, refusal):
    mask = rgb_folder / split / "masks" / f"{split}_0.png"
    mask.unlink()
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.startswith(f"{rgb_folder / split / 'images' / f'{split}_0.png'} has no mask")
    assert f"add {mask} or remove the image" in message


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_read_dataset_refuses_mask_without_image(rgb_folder, split, refusal):
    (rgb_folder / split / "images" / f"{split}_0.png").unlink()
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.startswith(f"{rgb_folder / split / 'masks' / f'{split}_0.png'} has no image")
    assert "or remove the mask" in message


@pytest.mark.parametrize("split", ["train", "test"])
def test_read_dataset_refuses_image_and_mask_of_different_size(rgb_folder, split, refusal):
    mask = rgb_folder / split / "masks" / f"{split}_0.png"
    save_mask(mask, np.zeros((48, 80), np.uint8))
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message == f"{mask} is 80×48 px, but its image is 64×64 px: image and mask must have one size"


def test_read_dataset_refuses_colour_mask(rgb_folder, refusal):
    mask = rgb_folder / "val/masks/val_0.png"
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:9] = (230, 57, 70)
    save_mask(mask, pixels)
    assert refusal(lambda: read_all(rgb_folder)) == (
        f"{mask} has the colour (0, 0, 0), but dataset.json does not say which class it is: give each class its colour "
        'there ("colors_rgb": [[0, 0, 0], [230, 57, 70]]), or store class indices in one band'
    )


def test_read_dataset_refuses_mask_of_many_bands(rgb_folder, save_tiff, refusal):
    (rgb_folder / "val/masks/val_0.png").unlink()
    mask = save_tiff(rgb_folder / "val/masks/val_0.tif", np.zeros((5, 64, 64), np.uint8))
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.startswith(f"{mask} has 5 bands of uint8, but a mask must be one band of integer class indices")


def test_read_dataset_refuses_float_mask(rgb_folder, save_tiff, refusal):
    (rgb_folder / "val/masks/val_0.png").unlink()
    mask = save_tiff(rgb_folder / "val/masks/val_0.tif", np.zeros((1, 64, 64), np.float32))
    assert refusal(lambda: read_dataset(rgb_folder)).startswith(f"{mask} has 1 bands of float32, but a mask must be")


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("content", [b"", b"this is no image"])
def test_read_dataset_refuses_unreadable_file(rgb_folder, split, content, refusal):
    image = rgb_folder / split / "images" / f"{split}_0.png"
    image.write_bytes(content)
    assert refusal(lambda: read_dataset(rgb_folder)) == f"{image} cannot be read as an image: replace or remove it"


def test_read_dataset_refuses_other_bands(rgb_folder, refusal):
    image = rgb_folder / "val/images/val_1.png"
    save_mask(image, np.zeros((64, 64), np.uint8))
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.startswith(f"{image} has 1 bands of uint8, but {rgb_folder / 'train/images/train_0.png'} has 3 of")
    assert "same bands and type" in message


def test_read_dataset_refuses_other_type(rgb_folder, save_tiff, refusal):
    (rgb_folder / "test/images/test_0.png").unlink()
    image = save_tiff(rgb_folder / "test/images/test_0.tif", np.zeros((3, 64, 64), np.uint16))
    assert refusal(lambda: read_dataset(rgb_folder)).startswith(f"{image} has 3 bands of uint16, but ")


def test_read_dataset_refuses_one_id_in_two_splits(rgb_folder, refusal):
    for folder in ("images", "masks"):
        shutil.copy(rgb_folder / f"train/{folder}/train_0.png", rgb_folder / f"test/{folder}/train_0.png")
    message = refusal(lambda: read_dataset(rgb_folder))
    copy, original = rgb_folder / "test/images/train_0.png", rgb_folder / "train/images/train_0.png"
    assert message == f"{copy} and {original} share the id train_0: rename one of them"


def test_read_dataset_refuses_one_id_with_two_suffixes(rgb_folder, refusal):
    shutil.copy(rgb_folder / "train/images/train_0.png", rgb_folder / "train/images/train_0.jpg")
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.endswith("share the id train_0: keep one of them")
    assert str(rgb_folder / "train/images/train_0.png") in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{classes: 2}", "is no JSON"),
        ("", "is no JSON"),
        ('["roof"]', "is ['roof'], but Input should be a valid dictionary"),
        ('{"colour": 3}', "colour is 3, but Extra inputs are not permitted"),
        ('{"scale": -1}', "scale is -1, but Input should be greater than 0"),
        ('{"classes": ["roof"]}', "classes is ['roof'], but "),
        ('{"ignore_index": 256}', "ignore_index is 256, but "),
        ('{"colors_rgb": [[0, 0, 0], [1, 2]]}', "colors_rgb.1.2 is "),
        ('{"bands": ["red", "green"]}', "names 2 bands, but the images have 3: name each band once"),
        ('{"colors_rgb": [[0, 0, 0]]}', "has 1 colours for 2 classes: give one per class"),
    ],
)
def test_read_dataset_refuses_bad_dataset_json(rgb_folder, content, words, refusal):
    path = rgb_folder / "dataset.json"
    path.write_text(content)
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.startswith(str(path))
    assert words in message


def test_read_dataset_refuses_dataset_json_that_is_no_text(rgb_folder, refusal):
    (rgb_folder / "dataset.json").write_bytes(b"\xff\xfe\x00{")
    assert "is no JSON" in refusal(lambda: read_dataset(rgb_folder))


@pytest.mark.parametrize("color", [[0, 0, 256], [0, -1, 0]])
def test_read_dataset_refuses_colours_outside_8_bits(rgb_folder, color, refusal):
    (rgb_folder / "dataset.json").write_text(json.dumps({"colors_rgb": [[0, 0, 0], color]}))
    message = refusal(lambda: read_dataset(rgb_folder))
    assert message.startswith(f"{rgb_folder / 'dataset.json'}: colors_rgb.1.")


@pytest.mark.parametrize("value", [2, 7, 254])
def test_decode_refuses_mask_value_that_is_no_class(rgb_folder, value, refusal):
    mask = rgb_folder / "val/masks/val_1.png"
    pixels = np.array(Image.open(mask))
    pixels[10, 20] = value
    save_mask(mask, pixels)
    message = refusal(lambda: read_all(rgb_folder))
    assert message.startswith(f"{mask} holds the value {value}, but a mask of 2 classes may hold 0 and 1 (or 255)")
    assert "dataset.json" in message


def test_decode_refuses_255_where_there_are_more_classes(band_folder, refusal):
    mask = band_folder / "train/masks/train_0.png"
    save_mask(mask, np.full((64, 64), 255, np.uint8))
    message = refusal(lambda: read_all(band_folder))
    assert f"{mask} holds the value 255, but a mask of 4 classes may hold 0 to 3 and 9 (ignored)" in message


def test_decode_refuses_negative_mask_values(rgb_folder, save_tiff, refusal):
    (rgb_folder / "train/masks/train_0.png").unlink()
    mask = save_tiff(rgb_folder / "train/masks/train_0.tif", np.full((1, 64, 64), -1, np.int16))
    assert f"{mask} holds the value -1" in refusal(lambda: read_all(rgb_folder))


@pytest.mark.parametrize("folder", ["images", "masks"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_decode_refuses_truncated_png(rgb_folder, split, folder, refusal):
    path = rgb_folder / split / folder / f"{split}_0.png"
    truncate(path, 0.6)
    dataset = read_dataset(rgb_folder)  # the header is whole
    assert refusal(lambda: decode_train_val(dataset)) == f"{path} is damaged or truncated: replace it"


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory, write_rgb, write_bands) -> dict[str, tuple[Dataset, Path, bytes]]:
    """Per suffix a dataset, the image that a test may damage, and its content."""
    found = {}
    for suffix in ("png", "jpg", "tif"):
        root = tmp_path_factory.mktemp(suffix)
        folder = write_bands(root) if suffix == "tif" else write_rgb(root, suffix=f".{suffix}")
        image = folder / "train/images" / f"train_0.{suffix}"
        found[suffix] = (read_dataset(folder), image, image.read_bytes())
    return found


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@given(share=st.floats(0, 0.999))
def test_decode_refuses_images_truncated_anywhere(whole_files, suffix, share, refusal):
    dataset, image, content = whole_files[suffix]
    image.write_bytes(content[: int((len(content) - 8) * share)])
    assert refusal(lambda: decode_train_val(dataset)) == f"{image} is damaged or truncated: replace it"


@given(at=st.floats(0.1, 0.9), bit=st.integers(0, 7))
def test_decode_refuses_png_with_a_flipped_bit(whole_files, at, bit, refusal):
    dataset, image, content = whole_files["png"]
    flipped = bytearray(content)
    flipped[int(len(content) * at)] ^= 1 << bit
    image.write_bytes(bytes(flipped))
    assert refusal(lambda: decode_train_val(dataset)) == f"{image} is damaged or truncated: replace it"


@given(at=st.floats(0.6, 0.9))
def test_decode_refuses_jpeg_with_overwritten_bytes(whole_files, at, refusal):
    dataset, image, content = whole_files["jpg"]
    start = int(len(content) * at)
    # two restart markers where the picture has none: libjpeg only warns
    image.write_bytes(content[:start] + b"\xff\xd3\xff\xd5" + content[start + 4 :])
    assert refusal(lambda: decode_train_val(dataset)) == f"{image} is damaged or truncated: replace it"


def test_decode_refuses_a_binary_mask_with_both_1_and_255(tmp_path, write_rgb):
    write_rgb(tmp_path, foreground=1)
    path = tmp_path / "train/masks/train_0.png"
    written = np.array(Image.open(path))
    written[:2] = 255
    save_mask(path, written)
    with pytest.raises(UserError, match=r'holds both 1 and 255.*"ignore_index": 255') as error:
        read_all(tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_decode_refuses_pixels_that_are_no_numbers(tmp_path, write_bands, save_tiff, bad):
    write_bands(tmp_path)
    for path in sorted(tmp_path.glob("*/images/*.tif")):
        with rasterio.open(path) as source:
            pixels = source.read().astype(np.float32)
        if path.name.startswith("train_1"):
            pixels[0, 3, 3] = bad
        save_tiff(path, pixels)
    with pytest.raises(UserError, match=r"train_1\.tif holds NaN or infinite pixels"):
        read_all(tmp_path)
