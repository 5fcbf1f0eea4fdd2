"""Own transforms, where the library's are slow: D4, HueSaturationValue, Shadow, Elastic and Fog."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import looks for updates on the network otherwise

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

GRID_PX = 4
"""Distance of the points at which elastic displacements are drawn (px): a third of the blur's deviation."""

GREY = 235.0
"""The level that haze has where it is thick."""

TURNED_BANDS = (1, 3, 4)
"""Numbers of bands of any usual type that OpenCV transposes: it has a function per size of a pixel, up to 32 bytes."""

STRIP_ROWS = 64
"""Of an image of 1024 px, 192 KiB."""

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

TRANSPOSING = ("r90", "r270", "t", "hvt")
"""Those that make a height of a width."""


class D4(A.D4):  # type: ignore[misc]
    """The library's eight symmetries, turned by OpenCV: the same pixels, 10 → 1.5 ms for a turn of 1024² (measured)."""

    def apply(self, img: NDArray[Any], group_element: str, **others: Any) -> NDArray[Any]:
        """Turns (H, W) or (H, W, C)."""
        if img.ndim == 3 and img.shape[2] not in TURNED_BANDS:
            result: NDArray[Any] = super().apply(img, group_element, **others)
            return result
        turned: NDArray[Any] = _TURNS[group_element](img)
        return turned.reshape(*turned.shape[:2], *img.shape[2:])  # OpenCV leaves out the axis of a single channel


class HueSaturationValue(A.HueSaturationValue):  # type: ignore[misc]
    """The library's, in strips whose steps stay in the cache: the same pixels, 18 → 9 ms for 1024² (measured)."""

    def apply(self, img: NDArray[np.uint8], **params: Any) -> NDArray[np.uint8]:
        """Shifts (H, W, 3) uint8."""
        shifted = np.empty_like(img, order="C")
        for top in range(0, len(img), STRIP_ROWS):
            shifted[top : top + STRIP_ROWS] = super().apply(img[top : top + STRIP_ROWS], **params)
        return shifted


class Shadow(A.RandomShadow):  # type: ignore[misc]
    """The library's dark polygons, from a table of the 256 levels: the same pixels, 10 → 2 ms for 1024² (measured)."""

    def apply(
        self, img: NDArray[np.uint8], vertices_list: list[NDArray[np.int32]], intensities: NDArray[Any], **_: Any
    ) -> NDArray[np.uint8]:
        """Darkens (H, W, 3) uint8; a later polygon darkens what is dark already."""
        shadowed = img.copy()
        for vertices, intensity in zip(vertices_list, intensities, strict=True):
            mask = cv2.fillPoly(np.zeros(img.shape[:2], np.uint8), [vertices], (255,))
            cv2.copyTo(cv2.LUT(shadowed, self.levels(intensity)), mask, shadowed)
        return shadowed

    @staticmethod
    def levels(intensity: float) -> NDArray[np.uint8]:
        """What becomes of each of the 256 levels in a shadow; cut off, as the library does."""
        return (np.arange(256) * (1 - intensity)).astype(np.uint8)


class Elastic(A.ElasticTransform):  # type: ignore[misc]
    """Smooth random displacements of `std_px` on average, which are alike over about `sigma` px.

    The library blurs a random number per pixel, 75 → 12 ms for 1024² (measured). These are drawn and blurred on a grid
    of every fourth pixel, and interpolated: the same distribution, since nothing finer outlives the blur.
    """

    class InitSchema(A.BasicTransform.InitSchema):  # type: ignore[misc]
        """What strict mode checks."""

        std_px: Annotated[float, Field(gt=0)]
        sigma: Annotated[float, Field(ge=GRID_PX)]

    def __init__(self, std_px: float = 1.4, sigma: float = 12.0, p: float = 0.5):
        super().__init__(sigma=sigma, border_mode=cv2.BORDER_REFLECT_101, p=p)
        self.std_px = std_px

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Displacements (rows, columns, 2) float32, in x and in y (px), on the grid."""
        rows, columns = (-(-side // GRID_PX) + 1 for side in params["shape"][:2])
        sigma = self.sigma / GRID_PX
        margin = math.ceil(4 * sigma)  # all that the blur sees lies on the grid, so that edges move like the middle
        noise = self.random_generator.standard_normal((rows + 2 * margin, columns + 2 * margin, 2), dtype=np.float32)
        blurred = cv2.GaussianBlur(noise, (0, 0), sigma)[margin:-margin, margin:-margin]
        # The blur leaves noise of deviation 1 a variance of 1 / (4 π σ²), the sum of its squared weights
        return {"field": np.ascontiguousarray(blurred) * np.float32(self.std_px * 2 * math.sqrt(math.pi) * sigma)}

    def apply(self, img: NDArray[Any], field: NDArray[np.float32], **others: Any) -> NDArray[Any]:
        """Moves (H, W, C), interpolated."""
        moved: NDArray[Any] = super().apply(img, *maps(field, img.shape), **others)
        return moved

    def apply_to_mask(self, mask: NDArray[np.uint8], field: NDArray[np.float32], **others: Any) -> NDArray[np.uint8]:
        """Moves (H, W), to the nearest."""
        moved: NDArray[np.uint8] = super().apply_to_mask(mask, *maps(field, mask.shape), **others)
        return moved


def maps(field: NDArray[np.float32], shape: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each pixel of (H, W) comes from, in x and in y (px), each (H, W) float32, by displacements on the grid."""
    height, width = shape[:2]
    place = np.array([[GRID_PX, 0, 0], [0, GRID_PX, 0]], np.float32)  # grid point i lies on pixel i · GRID_PX
    moved = cv2.warpAffine(field, place, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    return moved[..., 0] + columns, moved[..., 1] + rows


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
        """Blends (H, W, 3) uint8 towards light grey."""
        thickness = density * cv2.resize(field, img.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., None]
        hazy = img * (1.0 - thickness) + GREY * thickness
        result: NDArray[np.uint8] = np.clip(hazy + 0.5, 0, 255).astype(np.uint8)
        return result
