"""A mask as its file stores it: values as viewers show them, colours of palettes, and repair after JPEG."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.data.formats.raster import Raster
from trainables.data.tiles import DatasetInfo

Color: TypeAlias = tuple[int, int, int]

MOST_BANDS = 4
"""Of a mask: red, green, blue and opacity."""

NEAR = 16
"""Grey levels that black and white may be off: in a JPEG of pure black and white, and in a palette."""

_MOST_COLORS = 256


@dataclass(frozen=True, slots=True)
class StoredMask:
    """A mask as its file stores it.

    Attributes:
        path: The file.
        pixels: (H, W) integers: the file's own values, or numbers of colours where it has colours alone.
        values: Those that occur, ascending.
        white: The value that viewers show as white.
        colors: The colour of each value; None where the mask is grey.
        is_indexed: Whether the values may be classes: false where the file has colours alone.
        is_thresholded: Whether its values were a few grey levels off black and white, as in JPEGs, and were cut.
    """

    path: Path
    pixels: NDArray[Any]
    values: tuple[int, ...]
    white: int
    colors: Mapping[int, Color] | None = None
    is_indexed: bool = True
    is_thresholded: bool = False


def stored_mask(raster: Raster, info: DatasetInfo) -> StoredMask:
    """Reads the values and colours of a mask out of its raster.

    Args:
        raster: All of the file.
        info: The classes.

    Raises:
        UserError: It has more than one band and no colours, or see-through pixels; or it was compressed by JPEG, which
            smears classes, and not just black and white.
    """
    path, pixels, white = raster.path, raster.stored, 2**raster.num_bits - 1
    if raster.palette is not None:
        used = values_in(pixels[0])
        colors: dict[int, Color] = {value: tuple(raster.palette[value, :3].tolist()) for value in used}
        is_grey = all(color == (value, value, value) for value, color in colors.items())
        return StoredMask(path, pixels[0], used, white, None if is_grey else colors)
    if raster.alpha is not None:
        if (pixels[raster.alpha] != white).any():
            raise UserError(f"{path} has see-through pixels, but every pixel of a mask must say its class: fill them")
        pixels = np.delete(pixels, raster.alpha, axis=0)
    if len(pixels) not in (1, 3):
        raise UserError(f"{path} has {len(pixels)} bands, but a mask must have one, or three of colours: convert it")
    if len(pixels) == 3 and not _is_grey(pixels, raster.is_lossy):
        return _refuse_smeared(path, info) if raster.is_lossy else _colored(path, pixels, white)
    named_greys = {red for red, *others in info.colors_rgb or () if {red} == {*others}}
    if len(pixels) == 3 and set(values_in(pixels[0])) <= named_greys:
        return _colored(path, pixels, white)
    # TIFF's MinIsWhite
    grey = white - pixels[0] if raster.is_min_white else pixels[0]
    mask = StoredMask(path, grey, values_in(grey), white)
    return _without_smear(mask, info) if raster.is_lossy else mask


def values_in(pixels: NDArray[Any]) -> tuple[int, ...]:
    """The different values of an array of integers, ascending."""
    if pixels.dtype == np.uint8:
        return tuple(np.flatnonzero(cv2.calcHist([pixels], [0], None, [256], [0, 256])).tolist())
    return tuple(np.unique(pixels).tolist())


def _is_grey(pixels: NDArray[Any], is_lossy: bool) -> bool:
    """Whether red, green and blue are equal, up to the errors of JPEG."""
    if not is_lossy:
        return bool((pixels == pixels[0]).all())
    signed = pixels.astype(np.int16)
    return bool((np.abs(signed - signed[0]) <= NEAR // 2).all())


def _colored(path: Path, pixels: NDArray[Any], white: int) -> StoredMask:
    """A mask of colours alone; its values are their numbers, in the order of red, green and blue."""
    if pixels.dtype != np.uint8:
        raise UserError(f"{path} has colours of {pixels.dtype}, but a colour mask must have 8 bits: convert it")
    codes = (pixels[0].astype(np.uint32) << 16) | (pixels[1].astype(np.uint32) << 8) | pixels[2]
    found, numbers = np.unique(codes, return_inverse=True)
    if len(found) > _MOST_COLORS:
        raise UserError(
            f"{path} has {len(found)} colours, which are more than classes can be: store class indices, or one colour "
            "per class without soft edges"
        )
    colors = {i: (int(c) >> 16, (int(c) >> 8) & 255, int(c) & 255) for i, c in enumerate(found)}
    values = numbers.reshape(codes.shape).astype(np.uint8)
    return StoredMask(path, values, tuple(colors), white, colors, is_indexed=False)


def _without_smear(mask: StoredMask, info: DatasetInfo) -> StoredMask:
    """Cuts a JPEG of black and white at mid-grey.

    Raises:
        UserError: It is anything else, so that smeared pixels cannot be told from classes.
    """
    is_sharp = all(value <= NEAR or value >= 255 - NEAR for value in mask.values)
    has_only_dark = 0 < mask.values[-1] <= NEAR
    if len(info.classes) != 2 or info.ignore_index is not None or not is_sharp or has_only_dark:
        return _refuse_smeared(mask.path, info)
    if set(mask.values) <= {0, 255}:
        return mask
    pixels = np.where(mask.pixels > 127, np.uint8(255), np.uint8(0))
    return StoredMask(mask.path, pixels, values_in(pixels), mask.white, is_thresholded=True)


def _refuse_smeared(path: Path, info: DatasetInfo) -> StoredMask:
    fix = "export the masks again as PNG"
    if len(info.classes) == 2 and info.ignore_index is None:
        files = f"{shlex.quote(str(path.parent))}/*{path.suffix}"
        fix = (
            'export them again as PNG, or cut at mid-grey and move the JPEGs away: python -c "import sys; from PIL '
            "import Image; [Image.open(p).convert('L').point(lambda v: 255 * (v > 127)).save(p.rpartition('.')[0] + "
            f"'.png') for p in sys.argv[1:]]\" {files}"
        )
    raise UserError(f"{path} is a mask compressed by JPEG, which smears class values at every edge: {fix}")
