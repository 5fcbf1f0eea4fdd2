"""Masks of a published data set as their files mean them: grey as viewers show it, indices, colours; 0/1 or 0/255.

What is stored differs: one bit per pixel, a palette, white as 0 (MinIsWhite). A threshold is for what is shown.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainables.common.errors import UserError


def read_grey(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 of a mask that is grey, as viewers show it: 0 is black and 255 white, however that is stored.

    Raises:
        UserError: The file is missing, damaged or truncated, is coloured, or has more than 8 bits.
    """
    with _opened(path) as image:
        if image.mode in ("1", "L", "LA"):
            return np.asarray(image.convert("L"))
        return _one_band(_rgb(image, path), path)


def read_indices(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 of a mask of class indices: as `read_grey`, but of a palette the index and not the colour.

    Raises:
        UserError: As there.
    """
    with _opened(path) as image:
        if image.mode == "P":
            return np.asarray(image)
    return read_grey(path)


def read_colors(path: Path) -> NDArray[np.uint32]:
    """(H, W) uint32 of a colour mask, red · 65536 + green · 256 + blue; palettes are looked up, opacity is left out.

    Raises:
        UserError: The file is missing, damaged or truncated, or has more than 8 bits.
    """
    with _opened(path) as image:
        rgb = _rgb(image.convert("L") if image.mode in ("1", "L", "LA") else image, path)
    colors: NDArray[np.uint32] = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return colors


@dataclass(frozen=True, kw_only=True)
class BinaryMasks:
    """The grey masks of a source that know background and foreground, judged together.

    Attributes:
        paths: All that are taken.
        threshold: Grey values from here on are foreground; None where masks may hold 0 and 255 only.
    """

    paths: Sequence[Path]
    threshold: int | None = None

    @cached_property
    def are_0_1(self) -> bool:
        """Whether 1 is the foreground: the highest value of all masks. One alone may be almost black by chance."""
        tops = (int(read_grey(path).max()) for path in self.paths)
        highest = 0
        for top in tops:
            highest = max(highest, top)
            if highest > 1:  # the first mask with a foreground tells, so that few are read twice
                return False
        return highest == 1

    def read(self, path: Path) -> NDArray[np.uint8]:
        """(H, W) uint8 of 0 and 1.

        Raises:
            UserError: The file cannot be read as grey, or its values are not those of the source.
        """
        mask = read_grey(path)
        if self.are_0_1:
            return mask
        if self.threshold is None:
            strange = mask[(mask != 0) & (mask != 255)]
            if strange.size:
                raise UserError(f"{path} holds the value {strange[0]}, but a mask may hold 0 and 255: replace it")
            return mask // np.uint8(255)
        if mask.max() == 1:
            raise UserError(f"{path} holds 0 and 1, but other masks of this data set go up to 255: multiply it by 255")
        return (mask >= self.threshold).astype(np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            image.verify()  # decoding leaves some of a PNG's checksums alone
        with Image.open(path) as image:
            image.load()
            turned = ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise UserError(f"{path} is no file, but must be a mask: put it there") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is damaged or truncated: replace it") from error
    yield turned


def _rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8; opacity is left out."""
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"):
        raise UserError(f"{path} is of the kind {image.mode}, but a mask must have 8 bits per band: convert it")
    mode = "RGBA" if image.mode in ("P", "PA") else "RGB"  # a palette may hold opacities
    return np.asarray(image.convert(mode))[..., :3]


def _one_band(bands: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    if (bands != bands[..., :1]).any():
        raise UserError(f"{path} is coloured, but a mask must be grey: check that it belongs to this data set")
    return np.ascontiguousarray(bands[..., 0])
