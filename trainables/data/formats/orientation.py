"""How a stored picture is turned to be upright, by the EXIF or TIFF tag 274 (Orientation)."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from trainables.data.formats import png_chunks

_TAG = 0x0112
UPRIGHT = 1


def orientation(path: Path, driver: str) -> int:
    """The orientation, 1 to 8, of a file that GDAL opens by `driver`; 1 (upright) where the file says nothing of use.

    Reads headers only.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's on odd EXIF data, which then say nothing
            if driver == "GTiff":
                value = _of_tiff(path)
            elif driver == "PNG":
                exif = Image.Exif()
                exif.load(png_chunks.exif(path))
                value = exif.get(_TAG)
            else:
                with Image.open(path) as image:
                    value = image.getexif().get(_TAG)
    except Exception:  # what Pillow raises depends on the bytes that it meets
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _of_tiff(path: Path) -> Any:
    with path.open("rb") as stream:
        header = stream.read(8)
        if header[2] == 43 or header[3] == 43:  # BigTIFF
            header += stream.read(8)
        directory = ImageFileDirectory_v2(header)
        stream.seek(directory.next)
        directory.load(stream)
        return directory.get(_TAG)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(…, H, W) as stored to the same as viewers show it.

    Source: EXIF 2.32, tag 274, as `PIL.ImageOps.exif_transpose` has it.
    """
    if orientation >= 5:  # stored rows are columns
        pixels = pixels.swapaxes(-2, -1)
    if orientation in (3, 4, 7, 8):
        pixels = np.flip(pixels, -2)
    if orientation in (2, 3, 6, 7):
        pixels = np.flip(pixels, -1)
    return pixels
