"""Augmentation presets NONE to EXTREME, each the one before with more transforms behind it.

A preset is one function that returns its additional transforms. All draw from one keyed stream in a fixed order, so
LIGHT's flips for a draw are the same in EXTREME.
"""

import os
import random
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import looks for updates on the network otherwise

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.data.augmentation.own_transforms import D4, TRANSPOSING, Elastic, Fog, HueSaturationValue, Shadow


def none() -> list[A.BasicTransform]:
    """No augmentation."""
    return []


def light() -> list[A.BasicTransform]:
    """The eight symmetries of the square, equally likely: free for nadir imagery."""
    return [D4(p=1.0)]


def medium() -> list[A.BasicTransform]:
    """Shift, scale and colour.

    The reference recipe's `rotate=0.4` is in degrees for albumentations, so practically none; it is kept as it is.
    `Affine` is what its ShiftScaleRotate stands for, with one scale for both axes.
    """
    return [
        A.Affine(
            translate_percent=(-0.2, 0.2),
            scale=(0.7, 1.3),
            rotate=(-0.4, 0.4),
            keep_ratio=True,
            border_mode=cv2.BORDER_REFLECT_101,
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            p=0.7,
        ),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.5),
        HueSaturationValue(hue_shift_limit=10, sat_shift_limit=15, val_shift_limit=15, p=0.3),
    ]


def heavy() -> list[A.BasicTransform]:
    """Shadows, exposure and mild JPEG artefacts."""
    return [
        Shadow(shadow_roi=(0, 0, 1, 1), shadow_intensity_range=(0.3, 0.5), p=0.3),
        A.RandomGamma(gamma_limit=(80, 120), p=0.3),
        A.CLAHE(clip_limit=(1, 2), p=0.2),
        A.ImageCompression(quality_range=(75, 95), p=0.3),
    ]


def extreme() -> list[A.BasicTransform]:
    """Mild elastic distortion (about 1.4 px), dropped squares and haze."""
    return [
        Elastic(std_px=1.4, sigma=12, p=0.3),
        A.CoarseDropout(
            num_holes_range=(1, 8),
            hole_height_range=(0.03, 0.08),
            hole_width_range=(0.03, 0.08),
            fill=0,
            fill_mask=None,
            p=0.3,
        ),
        Fog(density_range=(0.1, 0.3), p=0.2),
    ]


PRESETS: dict[str, Callable[[], list[A.BasicTransform]]] = {
    "NONE": none,
    "LIGHT": light,
    "MEDIUM": medium,
    "HEAVY": heavy,
    "EXTREME": extreme,
}
"""From mild to strong; each preset also has the transforms of all before it.

Source: the reference study's presets, which leave out blur and noise on purpose (`There is not much variety of blur in
the given images`).
"""

NEEDS_RGB_UINT8 = (HueSaturationValue, Shadow, A.CLAHE, A.ImageCompression, Fog)
"""Transforms that mean something for 8-bit RGB only; they are left out for other bands and types."""


MAX_BANDS = 128
"""Bands that OpenCV turns at once (CV_CN_MAX in its versions before 5); images of more are augmented in parts."""


def transforms(preset: str, *, rgb_uint8: bool) -> list[A.BasicTransform]:
    """All transforms of a preset in their order, for 8-bit RGB tiles or for any others.

    Raises:
        UserError: There is no such preset.
    """
    if preset not in PRESETS:
        raise UserError(f"augmentation {preset!r} is unknown, but must be one of {', '.join(PRESETS)}")
    names = list(PRESETS)
    chain = [transform for name in names[: names.index(preset) + 1] for transform in PRESETS[name]()]
    return [transform for transform in chain if rgb_uint8 or not isinstance(transform, NEEDS_RGB_UINT8)]


class Applied(NamedTuple):
    """A transform that a draw applies, and with what parameters."""

    transform: A.BasicTransform
    params: dict[str, Any]


class Pipeline:
    """A preset as a function; not to be shared between threads, since its stream is seeded anew for each draw.

    Raises:
        UserError: There is no such preset.
        ValueError: A transform has wrong arguments.
    """

    def __init__(self, preset: str, *, rgb_uint8: bool):
        self._transforms = transforms(preset, rgb_uint8=rgb_uint8)
        A.Compose(self._transforms, strict=True)  # raises for arguments that transforms alone only warn of

    def applied(self, shape: tuple[int, ...], dtype: Any, seed: int) -> list[Applied]:
        """What a draw applies to an image (H, W, C) of this shape and type; the same seed gives the same.

        The library's `Compose.set_random_seed` would start each transform from the same numbers, so that those of one
        probability would always be applied together. Here all transforms go on with one stream.
        """
        generators = np.random.default_rng(seed), random.Random(seed)
        image = np.broadcast_to(np.zeros((), dtype), shape)  # parameters follow from its shape and its type alone
        applied = []
        for transform in self._transforms:
            transform.set_random_state(*generators)
            if not transform.should_apply():
                continue
            params = transform.update_transform_params(transform.get_params(), {"image": image})
            params |= transform.get_params_dependent_on_data(params, {"image": image})
            applied.append(Applied(transform, params))
            if params.get("group_element") in TRANSPOSING:
                image = image.swapaxes(0, 1)
        return applied

    def __call__(
        self, image: NDArray[Any], mask: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Augments a draw.

        Args:
            image: (H, W, C) uint8, or float32 in 0..1, which brightness and gamma clip to.
            mask: (H, W) or (H, W, n) uint8.
            seed: Of all that is random.

        Returns:
            Image and mask of the same types; of the same shapes, but for what is turned by 90°.
        """
        applied = self.applied(image.shape, image.dtype, seed)
        images = [image[..., start : start + MAX_BANDS] for start in range(0, image.shape[2], MAX_BANDS)]
        # Masks one by one: OpenCV rounds to the nearest pixel otherwise where it moves several layers at once
        masks = [mask] if mask.ndim == 2 else list(np.moveaxis(mask, 2, 0))
        for transform, params in applied:
            images = [transform.apply_with_params(params, image=part)["image"] for part in images]
            masks = [transform.apply_with_params(params, mask=part)["mask"] for part in masks]
        image = images[0] if len(images) == 1 else np.concatenate(images, axis=2)
        return image, masks[0] if mask.ndim == 2 else np.stack(masks, axis=2)
