"""Reading and decoding a good folder, and the seal over its test tiles."""

import shutil

import numpy as np
import pytest
import rasterio
from PIL import Image

from tests.trainables.made_up_sources import read_all, save
from trainables.common.errors import UserError
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.formats.raster import read_pixels
from trainables.data.tiles import IGNORE


def test_read_dataset_lists_tiles_of_each_split_sorted_and_fills_in_info_of_rgb(rgb_folder):
    dataset = read_dataset(rgb_folder)
    assert [tile.id for tile in dataset.train.tiles] == ["train_0", "train_1", "train_2"]
    assert [tile.id for tile in dataset.val.tiles] == ["val_0", "val_1"]
    assert [tile.id for tile in dataset.test.tiles] == ["test_0"]
    assert (dataset.train.split, dataset.val.split) == ("train", "val")
    first = dataset.train.tiles[0]
    assert first.image == rgb_folder / "train/images/train_0.png"
    assert first.mask == rgb_folder / "train/masks/train_0.png"
    info = dataset.info
    assert (dataset.dtype, info.bands, info.scale) == ("uint8", ("red", "green", "blue"), 1 / 255)
    assert (info.classes, info.num_outputs) == (("background", "foreground"), 1)


def test_read_dataset_takes_info_from_dataset_json(band_folder):
    dataset = read_dataset(band_folder)
    info = dataset.info
    assert (dataset.dtype, info.bands, info.scale) == ("uint16", ("red", "green", "blue", "nir"), 1e-4)
    assert info.num_outputs == 4
    assert (dataset.places, dataset.num_bands) == ((0, 1, 2, 3), 4)


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 1 / 255), ("uint16", 1 / 65535), ("float32", 1.0)])
def test_read_dataset_scales_by_type_where_nothing_is_said(tmp_path, write_rgb, save_tiff, dtype, scale):
    write_rgb(tmp_path, counts={"train": 1, "val": 1})
    for split in ("train", "val"):
        (tmp_path / split / "images" / f"{split}_0.png").unlink()
        save_tiff(tmp_path / split / "images" / f"{split}_0.tif", np.ones((2, 64, 64), dtype))
    dataset = read_dataset(tmp_path)
    assert dataset.info.scale == scale
    assert dataset.info.bands == ("band1", "band2")
    assert read_all(tmp_path).train.images[0].dtype == dtype


def test_decode_keeps_pixels_as_written(rgb_folder):
    tiles = read_all(rgb_folder)
    for tile_id, image, mask in zip(tiles.train.ids, tiles.train.images, tiles.train.masks, strict=True):
        assert image.flags.c_contiguous
        assert np.array_equal(image, np.array(Image.open(rgb_folder / f"train/images/{tile_id}.png")))
        assert np.array_equal(mask * 255, np.array(Image.open(rgb_folder / f"train/masks/{tile_id}.png")))
    assert tiles.train.images[0].dtype == np.uint8
    assert tiles.train.masks[0].dtype == np.uint8


def test_decode_keeps_uint16_bands_in_file_order_and_turns_ignore_index_into_ignore(band_folder):
    tiles = read_all(band_folder)
    with rasterio.open(band_folder / "train/images/train_1.tif") as source:
        written = source.read()
    image = tiles.train.images[1]
    assert (image.dtype, image.shape) == (np.uint16, (64, 64, 4))
    assert all(np.array_equal(image[..., band], written[band]) for band in range(4))
    mask = tiles.val.masks[0]
    assert (mask[:, :3] == IGNORE).all()
    assert set(np.unique(mask[:, 3:])) == {0, 1, 2, 3}


def test_read_dataset_takes_uppercase_suffixes_and_does_without_test_tiles(tmp_path, write_rgb):
    write_rgb(tmp_path, suffix=".JPG")
    mask = tmp_path / "train/masks/train_0.png"
    mask.rename(mask.with_suffix(".PNG"))
    shutil.rmtree(tmp_path / "test")
    assert read_dataset(tmp_path).test.tiles == ()
    assert read_all(tmp_path).train.ids == ("train_0", "train_1", "train_2")


def test_read_dataset_allows_tiles_of_different_sizes(rgb_folder):
    save(rgb_folder / "train/images/wide.png", np.zeros((64, 96, 3), np.uint8))
    save(rgb_folder / "train/masks/wide.png", np.zeros((64, 96), np.uint8))
    dataset = read_dataset(rgb_folder)
    (wide,) = [tile for tile in dataset.train.tiles if tile.id == "wide"]
    assert (wide.height_px, wide.width_px) == (64, 96)
    tiles = decode_train_val(dataset)
    assert tiles.train.images[tiles.train.ids.index("wide")].shape == (64, 96, 3)


def test_read_dataset_reads_real_roofs(real_roofs):
    dataset = read_dataset(real_roofs)
    assert (len(dataset.train.tiles), len(dataset.val.tiles), len(dataset.test.tiles)) == (24, 6, 6)
    assert all(tile.height_px == tile.width_px == 1024 for tile in dataset.train.tiles)
    assert {tile.id for tile in dataset.train.tiles} <= set(dataset.info.groups)


# The seal


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_destroyed_test_pixels_are_never_met(tmp_path, write_rgb, write_bands, suffix):
    root = write_bands(tmp_path) if suffix == "tif" else write_rgb(tmp_path, suffix=f".{suffix}")
    for path in (root / "test").rglob("*.*"):  # cut in half, which leaves the header whole
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match="damaged or truncated"):
            read_pixels(path)
    dataset = read_dataset(root)
    tiles = decode_train_val(dataset)
    assert (len(tiles.train), len(tiles.val)) == (3, 2)
    assert [tile.id for tile in dataset.test.tiles] == ["test_0"]


# Chosen bands


@pytest.mark.parametrize("bands", [("nir", "red"), ("4", "1"), ("NIR", "1")])
def test_bands_are_chosen_by_name_or_number_in_their_order(band_folder, bands):
    whole, chosen = read_all(band_folder), decode_train_val(read_dataset(band_folder, bands))
    assert chosen.info.bands == ("nir", "red")
    for image, all_bands in zip(chosen.train.images, whole.train.images, strict=True):
        assert np.array_equal(image, all_bands[..., [3, 0]])
    assert chosen.digest() != whole.digest()


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        (("swir",), "--bands names swir, but the images have red, green, blue, nir (1 to 4): name some of these"),
        (("0",), "--bands names 0, but the images have red, green, blue, nir (1 to 4): name some of these"),
        (("red", "1"), "--bands names red and 1, which are one band: name each once"),
    ],
)
def test_bands_that_are_not_there_are_refused(band_folder, bands, words, refusal):
    assert refusal(lambda: read_dataset(band_folder, bands)) == words
