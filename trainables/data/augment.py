"""Augmentation presets NONE to EXTREME, each the one before with more transforms behind it.

A preset is one function that returns its additional transforms. All draw from one keyed stream in a fixed order, so
LIGHT's flips for a draw are the same in EXTREME.
"""

import os
from collections.abc import Callable
from typing import Any, Protocol

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import looks for updates on the network otherwise

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError


class Augment(Protocol):
    """(image (H, W, C), mask (H, W) or (H, W, n), seed) to an augmented pair of the same shapes and types."""

    def __call__(
        self, image: NDArray[Any], mask: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Augments one draw; the same seed gives the same result."""


TURNED_BANDS = (1, 3, 4)
"""Numbers of bands of any usual type that OpenCV transposes: it has a function per size of a pixel, up to 32 bytes."""

_TURNS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "e": lambda pixels: pixels,
    "r90": lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
    "r180": lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    "r270": lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    "v": lambda pixels: cv2.flip(pixels, 0),
    "hvt": lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    "h": lambda pixels: cv2.flip(pixels, 1),
    "t": cv2.transpose,
}
"""The eight symmetries of the square, by the library's names."""


class D4(A.D4):  # type: ignore[misc]
    """The library's eight symmetries, turned by OpenCV: the same pixels, 10 → 1.5 ms for a turn of 1024² (measured)."""

    def apply(self, img: NDArray[Any], group_element: str, **others: Any) -> NDArray[Any]:
        """Turns (H, W) or (H, W, C)."""
        if img.ndim == 3 and img.shape[2] not in TURNED_BANDS:
            result: NDArray[Any] = super().apply(img, group_element, **others)
            return result
        turned: NDArray[Any] = _TURNS[group_element](img)
        return turned.reshape(*turned.shape[:2], *img.shape[2:])  # OpenCV leaves out the axis of a single channel


class Shadow(A.RandomShadow):  # type: ignore[misc]
    """The library's dark polygons, from a table of the 256 levels: the same pixels, 10 → 2 ms for 1024² (measured)."""

    def apply(
        self, img: NDArray[np.uint8], vertices_list: list[NDArray[np.int32]], intensities: NDArray[Any], **_: Any
    ) -> NDArray[np.uint8]:
        """Darkens (H, W, 3) uint8; a later polygon darkens what is dark already."""
        shadowed = img.copy()
        for vertices, intensity in zip(vertices_list, intensities, strict=True):
            mask = cv2.fillPoly(np.zeros(img.shape[:2], np.uint8), [vertices], (255,))
            levels = (np.arange(256) * (1 - intensity)).astype(np.uint8)  # cut off, as the library does
            cv2.copyTo(cv2.LUT(shadowed, levels), mask, shadowed)
        return shadowed


class Fog(A.ImageOnlyTransform):  # type: ignore[misc]
    """Uneven haze: blends RGB uint8 images towards light grey by a smooth random field, `density_range` at its peak.

    Albumentations' RandomFog draws thousands of blurred circles and takes 0.6 to 1.2 s for 1024² (measured); this
    takes milliseconds, which is what lets EXTREME feed a trial.
    """

    class InitSchema(A.ImageOnlyTransform.InitSchema):  # type: ignore[misc]
        """What strict mode checks."""

        density_range: tuple[float, float]

    def __init__(self, density_range: tuple[float, float] = (0.1, 0.3), p: float = 0.5):
        super().__init__(p=p)
        self.density_range = density_range

    def get_params(self) -> dict[str, Any]:
        """One density and a 4×4 field of relative thickness per draw."""
        return {
            "density": self.py_random.uniform(*self.density_range),
            "field": self.random_generator.uniform(0.5, 1.0, (4, 4)).astype(np.float32),
        }

    def apply(self, img: NDArray[np.uint8], density: float, field: NDArray[np.float32], **_: Any) -> NDArray[np.uint8]:
        """Blends (H, W, 3) uint8 towards grey level 235."""
        thickness = density * cv2.resize(field, img.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., None]
        hazy = img * (1.0 - thickness) + 235.0 * thickness
        result: NDArray[np.uint8] = np.clip(hazy + 0.5, 0, 255).astype(np.uint8)
        return result


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
        A.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=15, val_shift_limit=15, p=0.3),
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
        A.ElasticTransform(alpha=300, sigma=12, border_mode=cv2.BORDER_REFLECT_101, p=0.3),
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

NEEDS_RGB_UINT8 = (A.HueSaturationValue, Shadow, A.CLAHE, A.ImageCompression, Fog)
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


def make_augment(preset: str, *, rgb_uint8: bool) -> Augment:
    """The preset as a function; not to be shared between threads, since its stream is reseeded per draw.

    Images are uint8, or float32 in 0..1 (brightness and gamma clip to that).
    """
    pipeline = A.Compose(transforms(preset, rgb_uint8=rgb_uint8), strict=True, seed=0)

    def augment(image: NDArray[Any], mask: NDArray[np.uint8], seed: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        # One by one: OpenCV rounds to the nearest pixel otherwise where it moves several layers at once
        is_one = mask.ndim == 2
        layers = {"mask": mask} if is_one else {"masks": list(np.ascontiguousarray(np.moveaxis(mask, 2, 0)))}
        parts = []
        for start in range(0, image.shape[2], MAX_BANDS):
            pipeline.set_random_seed(seed)  # one seed, one draw: the parts go together
            result = pipeline(image=np.ascontiguousarray(image[..., start : start + MAX_BANDS]), **layers)
            parts.append(result["image"])
        image = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return image, result["mask"] if is_one else np.stack(result["masks"], axis=2)

    return augment
