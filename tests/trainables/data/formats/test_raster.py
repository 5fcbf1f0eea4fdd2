"""One raster file: what its header says, and its pixels as people mean them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image, ImageOps

from tests.trainables.made_up_sources import write_tiff
from trainables.data.formats.raster import read_header, read_image, read_pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
PHOTO = np.asarray(Image.fromarray(PIXELS).resize((60, 40)))
PALETTE = [255, 255, 255, 200, 10, 30, 0, 0, 0, 7, 8, 9]


@pytest.fixture(autouse=True)
def without_places(recwarn: pytest.WarningsRecorder) -> None:
    """Files of these tests lie nowhere on earth, and writing them says so."""


# Orientation


@pytest.mark.parametrize(
    ("suffix", "orientation"),
    [*itertools.product(("png", "jpg", "tif"), range(1, 9)), *itertools.product(("png", "tif"), (0, 9, 77))],
)
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
    assert np.array_equal(read_pixels(path).stored[0], found[..., 0])  # as of a mask


# Palettes


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_palette_is_three_bands_for_images_where_it_is_not_transparent_and_indices_for_masks(tmp_path, suffix):
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
    image.save(tmp_path / "a.png", transparency=bytes([255, 0, 255, 0]))  # colours of which are no data
    pixels, missing = read_pixels(tmp_path / "a.png").image()
    assert pixels.shape == (20, 30, 3)
    assert np.array_equal(missing, indices % 2 == 1)


# Opacity


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opacity_is_no_band(tmp_path, mode):
    path, bands = tmp_path / "a.png", len(mode) - 1
    pixels = np.dstack([PIXELS[..., :bands], np.full((20, 30), 255, np.uint8)])
    Image.fromarray(pixels, mode).save(path)
    assert tuple(read_header(path)) == (20, 30, bands, "uint8", bands + 1)
    found, missing = read_pixels(path).image()
    assert np.array_equal(found, PIXELS[..., :bands])
    assert missing is None


def test_transparent_pixels_are_no_data(tmp_path):
    alpha = np.full((20, 30), 255, np.uint8)
    alpha[:5], alpha[5, :10] = 0, 77  # a soft edge is data
    Image.fromarray(np.dstack([PIXELS, alpha])).save(tmp_path / "a.png")
    pixels, missing = read_pixels(tmp_path / "a.png").image()
    assert np.array_equal(missing, alpha == 0)
    assert np.array_equal(pixels[5:], PIXELS[5:])
    assert (pixels[:5] == np.rint(PIXELS[5:].mean(axis=(0, 1)))).all()


def test_a_last_band_that_is_named_is_a_band_and_is_asked_about_where_it_is_not(tmp_path, refusal):
    alpha = PIXELS[..., 1]
    path = write_tiff(tmp_path / "a.tif", np.dstack([PIXELS, alpha]).transpose(2, 0, 1))
    with rasterio.open(path) as source:
        assert source.colorinterp[3].name == "alpha"  # as GDAL has it of any four 8-bit bands
    assert read_header(path).bands_named(4) == 4
    assert read_header(path).bands_named(0) == 3
    pixels, missing = read_pixels(path).image(4)
    assert np.array_equal(pixels[..., 3], alpha)
    assert missing is None
    message = refusal(lambda: read_image(path))
    assert message.startswith(f"{path} calls its last band opacity (alpha), but ")
    assert 'name every stored band in dataset.json ("bands": ["red", "green", "blue", "nir"])' in message


# No data


def floats(bad: float, **places: Any) -> np.ndarray:
    pixels = np.random.default_rng(1).uniform(1, 2, (3, 20, 30)).astype(np.float32)
    pixels[0, 2, 3] = pixels[:, 10:12, 5] = bad
    return pixels


@pytest.mark.parametrize("tag", [-9999.0, -3.4028234663852886e38, float("nan"), float("inf")])
def test_pixels_of_the_nodata_value_are_no_data_where_any_band_has_it(tmp_path, tag):
    path = write_tiff(tmp_path / "a.tif", floats(tag), nodata=tag)
    pixels, missing = read_pixels(path).image()
    assert missing is not None
    assert sorted(zip(*np.nonzero(missing), strict=True)) == [(2, 3), (10, 5), (11, 5)]
    kept = floats(0).transpose(1, 2, 0)[~missing]
    assert np.array_equal(pixels[~missing], kept)
    np.testing.assert_allclose(pixels[2, 3], kept.mean(axis=0), rtol=1e-5)


def test_only_chosen_bands_decide_where_there_is_no_data(tmp_path):
    assert read_pixels(write_tiff(tmp_path / "b.tif", floats(1.5), nodata=-9999)).image()[1] is None  # a tag of none
    raster = read_pixels(write_tiff(tmp_path / "a.tif", floats(-9999), nodata=-9999))
    _, missing = raster.image(places=[2, 1])
    assert missing is not None
    assert missing.sum() == 2


def test_8_bit_pixels_of_the_nodata_value_are_no_data_where_all_bands_have_it(tmp_path):
    pixels = np.maximum(PIXELS, 1)
    pixels[4, 4], pixels[5, 5, 0] = 0, 0
    path = write_tiff(tmp_path / "a.tif", pixels.transpose(2, 0, 1), nodata=0)
    _, missing = read_pixels(path).image()
    assert missing is not None
    assert np.argwhere(missing).tolist() == [[4, 4]]


def test_an_internal_mask_says_where_there_is_no_data(tmp_path):
    valid = np.full((20, 30), 255, np.uint8)
    valid[3:6, 7] = 0
    path = tmp_path / "a.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", count=3, height=20, width=30, dtype="uint16") as target,
    ):
        target.write(PIXELS.transpose(2, 0, 1).astype(np.uint16))
        target.write_mask(valid)
    _, missing = read_pixels(path).image()
    assert np.array_equal(missing, valid == 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_what_is_no_number_is_refused_where_it_is_data(tmp_path, refusal, bad):
    pixels = floats(0).astype(np.float64)
    pixels[1, 7, 7] = bad
    path = write_tiff(tmp_path / "a.tif", pixels, nodata=-9999)
    message = refusal(lambda: read_image(path))
    assert message.startswith(f"{path} holds NaN or infinite pixels")
    assert "--nodata nan" in message


# Pages, types, formats


def save_pages(path: Path, pages: list[Any]) -> Path:
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others)
    return path


def test_pages_of_one_band_are_bands_and_overviews_are_no_pages(tmp_path):
    path = save_pages(tmp_path / "a.tif", [PIXELS[..., band] for band in range(3)])
    assert tuple(read_header(path)) == (20, 30, 3, "uint8", 3)
    assert np.array_equal(read_image(path), PIXELS)
    path = write_tiff(tmp_path / "b.tif", PIXELS.transpose(2, 0, 1))
    with rasterio.open(path, "r+") as target:
        target.build_overviews([2])
    assert np.array_equal(read_image(path), PIXELS)


@pytest.mark.parametrize("second", [PHOTO[..., 0], PIXELS, PIXELS[..., 0].astype(np.uint16)])
def test_pages_that_are_no_bands_are_refused(tmp_path, refusal, second):
    path = save_pages(tmp_path / "a.tif", [PIXELS[..., 0], second])
    assert refusal(lambda: read_header(path)).startswith(f"{path} has 2 pages that are no bands of one image (page 2")


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_numbers_are_refused(tmp_path, refusal, dtype):
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", count=1, height=4, width=4, dtype=dtype) as target:
        target.write(np.ones((1, 4, 4), np.complex64))
    message = refusal(lambda: read_header(path))
    assert message.startswith(f"{path} holds complex numbers ({dtype})")
    assert "store the magnitude" in message


def test_another_format_than_the_name_says_is_refused(tmp_path, refusal):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path, "BMP")
    assert refusal(lambda: read_header(path)) == f"{path} is a BMP file, but must be PNG, JPEG or TIFF: convert it"
