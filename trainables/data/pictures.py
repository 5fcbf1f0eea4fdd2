"""Tiles and masks as pictures for the eye: bands to RGB, classes to colours."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.tiles import IGNORE, DatasetInfo

PALETTE = ((0, 0, 0), (230, 57, 70), (69, 123, 157), (244, 162, 97), (42, 157, 143), (131, 56, 236), (255, 190, 11))
"""Overlay colours of classes where the data set names none."""


GAP_PX = 8
"""White columns between two panels of a picture; a study's logs say how many, for whoever cuts the panels out."""


def side_by_side(
    image: NDArray[Any], truth: NDArray[np.uint8], prediction: NDArray[np.uint8], info: DatasetInfo
) -> NDArray[np.uint8]:
    """(H, 3·W + 2·GAP_PX, 3) uint8 RGB: the image, the truth over it and the prediction over it."""
    base = to_rgb(image, info)
    gap = np.full((base.shape[0], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([base, gap, overlay(base, truth, info), gap, overlay(base, prediction, info)], axis=1)


def to_rgb(image: NDArray[Any], info: DatasetInfo) -> NDArray[np.uint8]:
    """(H, W, C) as stored to (H, W, 3) uint8 for the eye: red, green and blue by name, else the first bands.

    8-bit photographs are shown as they are; others are stretched between their 2nd and 98th percentile.
    """
    named = [info.bands.index(band) for band in ("red", "green", "blue") if band in info.bands]
    bands = named if len(named) == 3 else [min(i, image.shape[2] - 1) for i in range(3)]
    rgb = image[..., bands]
    if rgb.dtype == np.uint8:
        return np.ascontiguousarray(rgb)
    low, high = np.percentile(rgb, (2, 98))
    stretched: NDArray[np.uint8] = np.clip((rgb - low) / max(high - low, 1e-12) * 255.0, 0, 255).astype(np.uint8)
    return stretched


def class_color(info: DatasetInfo, index: int) -> tuple[int, int, int]:
    """The RGB colour (0..255) of a class in overlays and legends."""
    if info.colors_rgb is not None:
        return info.colors_rgb[index]
    return PALETTE[1 + (index - 1) % (len(PALETTE) - 1)] if index else PALETTE[0]


def overlay(rgb: NDArray[np.uint8], classes: NDArray[np.uint8], info: DatasetInfo) -> NDArray[np.uint8]:
    """(H, W, 3) RGB with classes tinted in their colours; ignored pixels and the background of two are left alone."""
    result = rgb.astype(np.float32)
    for index in range(1 if len(info.classes) == 2 else 0, len(info.classes)):
        where = classes == index
        result[where] = 0.5 * result[where] + 0.5 * np.array(class_color(info, index), np.float32)
    tinted: NDArray[np.uint8] = result.astype(np.uint8)
    return tinted


def class_map(classes: NDArray[np.uint8], info: DatasetInfo) -> NDArray[np.uint8]:
    """(H, W) class indices to (H, W, 3) uint8 RGB in the classes' colours; ignored pixels are white."""
    table = np.zeros((IGNORE + 1, 3), np.uint8)
    for index in range(len(info.classes)):
        table[index] = class_color(info, index)
    table[IGNORE] = 255
    return table[classes]
