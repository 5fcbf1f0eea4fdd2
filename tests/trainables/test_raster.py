"""One raster file: what its header says, and its pixels as people mean them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image, ImageOps

from trainables.raster import read_header, read_image, read_pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
PHOTO = np.asarray(Image.fromarray(PIXELS).resize((60, 40)))
PALETTE = [255, 255, 255, 200, 10, 30, 0, 0, 0, 7, 8, 9]


def write_tiff(path: Path, pixels: Any, **profile: Any) -> Path:
    count, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=pixels.dtype, **profile
    ) as target:
        target.write(pixels)
    return path


@pytest.fixture(autouse=True)
def without_places(recwarn: pytest.WarningsRecorder) -> None:
    """Files of these tests lie nowhere on earth, and writing them says so."""


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_every_orientation_is_turned_as_viewers_turn_it(tmp_path, suffix, orientation):
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    if suffix == "tif":
        Image.fromarray(PHOTO).save(path, tiffinfo={0x0112: orientation})
    else:
        Image.fromarray(PHOTO).save(path, exif=exif)
    plain = tmp_path / f"plain.{suffix}"
    Image.fromarray(PHOTO).save(plain)
    image = Image.fromarray(read_image(plain))
    image.getexif()[0x0112] = orientation
    found = read_image(path)
    assert np.array_equal(found, np.asarray(ImageOps.exif_transpose(image)))
    assert read_header(path)[:3] == found.shape


def test_masks_are_turned_as_images_are(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "mask.png", exif=exif)
    assert np.array_equal(read_pixels(tmp_path / "mask.png").stored[0], np.rot90(PIXELS[..., 0], -1))


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_means_nothing_is_upright(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), PIXELS)


# Palettes


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_palette_is_three_bands_for_images_and_indices_for_masks(tmp_path, suffix):
    indices = (PIXELS[..., 0] % 4).astype(np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(PALETTE)
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    colors = np.array(PALETTE, np.uint8).reshape(-1, 3)
    assert tuple(read_header(path)) == (20, 30, 3, "uint8", 1)
    assert np.array_equal(read_image(path), colors[indices])
    raster = read_pixels(path)
    assert np.array_equal(raster.stored[0], indices)
    assert raster.palette is not None
    assert np.array_equal(raster.palette[:4, :3], colors)


def test_transparent_colours_of_a_palette_are_no_data(tmp_path):
    indices = (PIXELS[..., 0] % 4).astype(np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(PALETTE)
    image.save(tmp_path / "a.png", transparency=bytes([255, 0, 255, 0]))
    pixels, missing = read_pixels(tmp_path / "a.png").image()
    assert pixels.shape == (20, 30, 3)
    assert np.array_equal(missing, indices % 2 == 1)


def test_files_without_a_palette_have_none(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    assert read_pixels(tmp_path / "a.png").palette is None
