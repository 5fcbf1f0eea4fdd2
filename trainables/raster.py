"""One raster file: its header, and its pixels as people mean them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from trainables.errors import UserError

Image.MAX_IMAGE_PIXELS = None  # satellite scenes are no decompression bombs

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def read_header(path: Path) -> tuple[int, int, int, str]:
    """(height, width, bands, dtype) of one image or mask, without decoding a pixel.

    Raises:
        UserError: It has no readable header, or its bands are of several types.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                if len(set(source.dtypes)) > 1:
                    raise UserError(f"{path} mixes {', '.join(sorted(set(source.dtypes)))}: store one type per file")
                return source.height, source.width, source.count, source.dtypes[0]
    except RasterioError as error:
        raise UserError(f"{path} cannot be read as an image: replace or remove it") from error


def read_image(path: Path) -> NDArray[Any]:
    """The pixels of one image, (H, W, bands) in its own type.

    Raises:
        UserError: It is missing, damaged or truncated, or holds what is no number.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file, but must be an image ({', '.join(SUFFIXES)}): check the path")
    return finite(read_pixels(path), path)


def read_pixels(path: Path) -> NDArray[Any]:
    """(bands, H, W) pixels of one file."""
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path) as png:
                png.verify()  # GDAL decodes a truncated PNG to zeros without a word (seen with rasterio 1.4.4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING="YES"), rasterio.open(path) as source:
                pixels: NDArray[Any] = source.read()
                return pixels
    except (RasterioError, OSError, SyntaxError) as error:
        raise UserError(f"{path} is damaged or truncated: replace it") from error


def finite(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """(bands, H, W) as read to (H, W, bands), refused where a float is NaN or infinite."""
    if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
        raise UserError(f"{path} holds NaN or infinite pixels, but every pixel must be a number: fill them")
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
