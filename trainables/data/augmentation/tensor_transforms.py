"""The transforms of the presets for tensors, so that a GPU augments what it trains on; by the parameters of the CPU's.

Of 8-bit images, the symmetries, brightness and contrast, gamma and dropped squares give the very pixels that they give
on the CPU; shifts, elastic displacements and haze do but for a level here and there, and shadows but for the pixels on
their edges. Hue is a level or two off for a third of the values, and CLAHE and JPEG, which round less here, a few
levels. Masks are the same but for pixels on the edges of classes. A test says how near each is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from trainables.data.augmentation.own_transforms import D4, GREY, GRID_PX, Elastic, Fog, HueSaturationValue, Shadow
from trainables.data.augmentation.presets import Applied
from trainables.data.augmentation.tensor_colour import compress, equalise, shift_hue, to_levels

Params = dict[str, Any]

_TURNS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "e": lambda layers: layers,
    "r90": lambda layers: layers.rot90(1, (1, 2)),
    "r180": lambda layers: layers.rot90(2, (1, 2)),
    "r270": lambda layers: layers.rot90(3, (1, 2)),
    "v": lambda layers: layers.flip(1),
    "hvt": lambda layers: layers.rot90(2, (1, 2)).transpose(1, 2),
    "h": lambda layers: layers.flip(2),
    "t": lambda layers: layers.transpose(1, 2),
}


def augment(image: torch.Tensor, mask: torch.Tensor, applied: Sequence[Applied]) -> tuple[torch.Tensor, torch.Tensor]:
    """Augments one draw on whichever device it lies; by itself, so that nothing else in a batch changes it.

    Args:
        image: (C, H, W) uint8, or float32 in 0..1.
        mask: (n, H, W) uint8.
        applied: What `Pipeline.applied` said for this draw.

    Returns:
        Image and mask of the same types; of the same shapes, but for what is turned by 90°.
    """
    for transform, params in applied:
        kind = type(transform)
        if kind is D4:
            image, mask = (_TURNS[params["group_element"]](layers) for layers in (image, mask))
        elif kind in _PLACES:
            places = _PLACES[kind](params, image.shape[1:], image.device)
            image, mask = _moved(image, places, "bilinear"), _moved(mask, places, "nearest")
        else:
            image = _PIXELS[kind](image, transform, params)
    return image, mask


def _affine_places(params: Params, shape: Sequence[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each pixel comes from, in x and in y (px), each (H, W)."""
    (a, b, c), (d, e, f), _ = np.linalg.inv(params["matrix"]).tolist()
    x, y = _pixels(shape, device)
    return a * x + (b * y + c), d * x + (e * y + f)


def _elastic_places(params: Params, shape: Sequence[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    field = torch.from_numpy(params["field"]).to(device).permute(2, 0, 1)
    size = [(points - 1) * GRID_PX + 1 for points in field.shape[1:]]
    height, width = shape
    moved = functional.interpolate(field[None], size=size, mode="bilinear", align_corners=True)[0, :, :height, :width]
    x, y = _pixels(shape, device)
    return x + moved[0], y + moved[1]


def _pixels(shape: Sequence[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns (1, W) and rows (H, 1)."""
    height, width = shape
    columns = torch.arange(width, dtype=torch.float32, device=device)
    return columns[None], torch.arange(height, dtype=torch.float32, device=device)[:, None]


def _moved(layers: torch.Tensor, places: tuple[torch.Tensor, torch.Tensor], mode: str) -> torch.Tensor:
    """What lies at the places; behind an edge it is reflected, without the edge's own pixels."""
    height, width = layers.shape[1:]
    x, y = places
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=2)[None]
    floats = layers[None].float()
    moved = functional.grid_sample(floats, grid, mode=mode, padding_mode="reflection", align_corners=True)[0]
    return to_levels(moved) if layers.dtype == torch.uint8 else moved


def _by_table(image: torch.Tensor, transform: A.BasicTransform, params: Params) -> torch.Tensor:
    """What changes each value by itself: 8-bit ones by a table of what the transform makes of all 256."""
    if image.dtype == torch.uint8:
        return _looked_up(image, transform.apply(np.arange(256, dtype=np.uint8).reshape(1, 256, 1), **params))
    if isinstance(transform, A.RandomGamma):
        return image.pow(float(params["gamma"]))
    changed: torch.Tensor = image * params["alpha"] + params["beta"]
    return changed.clamp(0, 1)


def _looked_up(image: torch.Tensor, levels: NDArray[np.uint8]) -> torch.Tensor:
    table = torch.from_numpy(levels.reshape(256)).to(image.device)
    return table[image.int()]


def _shift_hue(image: torch.Tensor, _: A.BasicTransform, params: Params) -> torch.Tensor:
    return shift_hue(image, params["hue_shift"], params["sat_shift"], params["val_shift"])


def _shadow(image: torch.Tensor, _: A.BasicTransform, params: Params) -> torch.Tensor:
    for vertices, intensity in zip(params["vertices_list"], params["intensities"], strict=True):
        darker = _looked_up(image, Shadow.levels(intensity))
        image = torch.where(_inside(vertices, image.shape[1:], image.device), darker, image)
    return image


def _inside(vertices: NDArray[Any], shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Whether each pixel is in a polygon (n, 2) in x and y: (H, W) bool.

    It is where a ray to the right crosses an odd number of edges.
    """
    x, y = _pixels(shape, device)
    inside = torch.zeros(tuple(shape), dtype=torch.bool, device=device)
    for (x1, y1), (x2, y2) in zip(vertices.tolist(), np.roll(vertices, -1, axis=0).tolist(), strict=True):
        if y1 != y2:
            is_between = (y >= min(y1, y2)) & (y < max(y1, y2))
            inside ^= is_between & (x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)))
    return inside


def _equalise(image: torch.Tensor, transform: A.BasicTransform, params: Params) -> torch.Tensor:
    return equalise(image, params["clip_limit"], transform.tile_grid_size)


def _compress(image: torch.Tensor, _: A.BasicTransform, params: Params) -> torch.Tensor:
    return compress(image, params["quality"])


def _drop(image: torch.Tensor, transform: A.BasicTransform, params: Params) -> torch.Tensor:
    image = image.clone()
    for left, top, right, bottom in params["holes"].tolist():
        image[:, top:bottom, left:right] = transform.fill
    return image


def _fog(image: torch.Tensor, _: A.BasicTransform, params: Params) -> torch.Tensor:
    field = torch.from_numpy(params["field"]).to(image.device)[None, None]
    spread = functional.interpolate(field, size=image.shape[1:], mode="bicubic", align_corners=False)[0]
    thickness = params["density"] * spread
    return to_levels(image * (1 - thickness) + GREY * thickness)


_PLACES = {A.Affine: _affine_places, Elastic: _elastic_places}

_PIXELS: dict[type, Callable[[torch.Tensor, Any, Params], torch.Tensor]] = {
    A.RandomBrightnessContrast: _by_table,
    A.RandomGamma: _by_table,
    HueSaturationValue: _shift_hue,
    Shadow: _shadow,
    A.CLAHE: _equalise,
    A.ImageCompression: _compress,
    A.CoarseDropout: _drop,
    Fog: _fog,
}
