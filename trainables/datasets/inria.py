"""The Inria Aerial Image Labeling tiles of Austin as sources: their files, their splits, and where each crop lies.

A crop lies in the centre of its source unless that has too little building; then it slides to the nearest place with
enough. It may be nudged by hand from there. Windows are read, never whole images.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from trainables.common.errors import UserError

MIN_PERCENT = 5
"""Least share of building in a crop, in percent: below it, a tile's score hangs on a few roofs."""

_NUMBERS = {
    "train": (2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 22, 23, 24, 25, 27, 28, 29, 30),
    "val": (1, 6, 11, 16, 21, 26),
    "test": (31, 32, 33, 34, 35, 36),
}
SPLITS = {f"austin{n}": split for n, split in sorted((n, split) for split, ns in _NUMBERS.items() for n in ns)}
"""Tile id to split, in the order of the tile numbers."""

INFO = {
    "classes": ["background", "building"],
    "bands": ["red", "green", "blue"],
    "metres_per_pixel": 0.3,
    "source": "Inria Aerial Image Labeling dataset, Austin (Maggiori et al. 2017)",
}
"""What `dataset.json` says. Of groups nothing: each crop is from a square of its own, 1500 m a side, so that intervals
are over the tiles; they speak of Austin alone."""

ReadMask = Callable[[int, int, int, int], NDArray[np.uint8]]
"""`read(top, left, height, width)` gives that window of a mask, (height, width) uint8, 0 where there is no building."""


class Crop(BaseModel):
    """One tile's crop, and its row of `crops.csv`: pixels of the source, shares of building from 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    split: str
    left_px: int = Field(ge=0)
    top_px: int = Field(ge=0)
    moved_right_px: int
    moved_down_px: int
    nudge_right_px: int
    nudge_down_px: int
    coverage_center: float = Field(ge=0, le=1)
    coverage: float = Field(ge=0, le=1)
    placed: Literal["center", "slid", "best", "nudged"]

    @property
    def nudge(self) -> tuple[int, int]:
        """(right, down) in pixels from the automatic place."""
        return self.nudge_right_px, self.nudge_down_px


@dataclass(frozen=True, slots=True)
class Source:
    """A pair of source files whose headers are right.

    Attributes:
        image: File of the image.
        mask: File of the mask.
        height_px: Of both.
        width_px: Of both.
        levels: (256,) uint8, the grey that viewers show for each value that the mask stores.
    """

    image: Path
    mask: Path
    height_px: int
    width_px: int
    levels: NDArray[np.uint8]

    def read_image(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """A window of the image, (height, width, 3) uint8.

        Raises:
            UserError: The file is damaged or truncated.
        """
        with _open(self.image) as file:
            return np.ascontiguousarray(file.read(window=Window(left, top, width, height)).transpose(1, 2, 0))

    def read_mask(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """A window of the mask, (height, width) uint8 of 0 and 255.

        Raises:
            UserError: The file is damaged or truncated, or holds other values.
        """
        with _open(self.mask) as file:
            mask: NDArray[np.uint8] = self.levels[file.read(1, window=Window(left, top, width, height))]
        strange = mask[(mask != 0) & (mask != 255)]
        if strange.size:
            raise UserError(f"{self.mask} holds the value {strange[0]}, but a mask may hold 0 and 255: replace it")
        return mask


def find_sources(src: Path, tiles: Sequence[str], side_px: int) -> dict[str, Source]:
    """The source files of `tiles`, by names and headers alone.

    Args:
        src: Folder with `imgs/` and `msks/` or with `images/` and `gt/`, or the unpacked archive.
        tiles: Tile ids.
        side_px: Side of the crops in pixels; no source may be smaller.

    Raises:
        UserError: The folder, its layout or a file is missing, or a header is not that of an Inria tile.
    """
    if not src.is_dir():
        raise UserError(f"--src {src} is no folder, but must hold the Inria tiles: check the path")
    roots = (src, src / "train", src / "AerialImageDataset" / "train")
    layouts = [(root / pair[0], root / pair[1]) for root in roots for pair in (("imgs", "msks"), ("images", "gt"))]
    found = [(images, masks) for images, masks in layouts if images.is_dir() and masks.is_dir()]
    if not found:
        raise UserError(f"--src {src} has neither imgs/ and msks/ nor images/ and gt/: name the folder that has them")
    images, masks = found[0]
    pairs = {tile: (images / f"{tile}.tif", masks / f"{tile}.tif") for tile in tiles}
    missing = [tile for tile, pair in pairs.items() if not all(path.is_file() for path in pair)]
    if missing:
        raise UserError(
            f"--src {src} lacks the image or the mask of {_enumerated(missing)}, but every tile needs both: "
            f"add {missing[0]}.tif{' and the others' if len(missing) > 1 else ''} to {images} and {masks}"
        )
    return {tile: _check_pair(*pair, side_px) for tile, pair in pairs.items()}


def find_place(read: ReadMask, height_px: int, width_px: int, side_px: int) -> tuple[int, int]:
    """The place nearest to the centre where a crop has at least `MIN_PERCENT` building.

    Distance is Euclidean between whole pixels; of equals the upper wins, then the left one. Where no place has enough,
    it is the place with the most building, of equals the nearest.

    Args:
        read: Reads a window of the mask; asked for no more than is needed to be sure.
        height_px: Height of the source in pixels, at least `side_px`.
        width_px: Width of the source in pixels, at least `side_px`.
        side_px: Side of the square crop in pixels.

    Returns:
        (top, left) of the crop in its source, in pixels.
    """
    last_top, last_left = height_px - side_px, width_px - side_px
    top, left = last_top // 2, last_left // 2
    least_px = -(-(side_px**2) * MIN_PERCENT // 100)  # in whole numbers: 0.05 is no binary fraction
    if np.count_nonzero(read(top, left, side_px, side_px)) >= least_px:
        return top, left
    radius = max(1, side_px // 4)
    while True:
        tops = np.arange(max(0, top - radius), min(last_top, top + radius) + 1, dtype=np.int32)
        lefts = np.arange(max(0, left - radius), min(last_left, left + radius) + 1, dtype=np.int32)
        mask = read(int(tops[0]), int(lefts[0]), len(tops) - 1 + side_px, len(lefts) - 1 + side_px)
        sums = cv2.integral((mask != 0).view(np.uint8), sdepth=cv2.CV_32S)
        strips = sums[side_px:] - sums[:-side_px]
        building_px = strips[:, side_px:] - strips[:, :-side_px]
        enough = building_px >= least_px
        seen_all = enough.shape == (last_top + 1, last_left + 1)
        if seen_all and not enough.any():
            enough = building_px == building_px.max()
        far = np.int32(height_px**2 + width_px**2)
        squared = np.where(enough, (tops[:, None] - top) ** 2 + (lefts - left) ** 2, far)
        row, column = divmod(int(squared.argmin()), len(lefts))  # the first of equals: upper, then left
        # A place in a corner of the searched square may be farther than one outside, but not within the radius.
        if seen_all or squared[row, column] <= radius**2:
            return int(tops[row]), int(lefts[column])
        radius *= 2


def place_crop(tile: str, source: Source, nudge: tuple[int, int], side_px: int) -> Crop:
    """Where a tile's crop lies: the automatic place, moved by `nudge` (right, down) in pixels.

    Raises:
        UserError: The nudge leaves the source, or the mask cannot be read.
    """
    last_left, last_top = source.width_px - side_px, source.height_px - side_px
    center = last_left // 2, last_top // 2
    automatic_top, automatic_left = find_place(source.read_mask, source.height_px, source.width_px, side_px)
    left, top = automatic_left + nudge[0], automatic_top + nudge[1]
    if not (0 <= left <= last_left and 0 <= top <= last_top):
        raise UserError(
            f"--nudge {tile}={nudge[0]:+d},{nudge[1]:+d} leaves the source of {source.width_px}×{source.height_px} px: "
            f"DX may be {-automatic_left:+d} to {last_left - automatic_left:+d}, "
            f"DY {-automatic_top:+d} to {last_top - automatic_top:+d}"
        )

    def building_px(left: int, top: int) -> int:
        return int(np.count_nonzero(source.read_mask(top, left, side_px, side_px)))

    covered_px = building_px(left, top)
    if nudge != (0, 0):
        placed: Literal["center", "slid", "best", "nudged"] = "nudged"
    elif 100 * covered_px < MIN_PERCENT * side_px**2:
        placed = "best"
    else:
        placed = "center" if (left, top) == center else "slid"
    return Crop(
        id=tile,
        split=SPLITS[tile],
        left_px=left,
        top_px=top,
        moved_right_px=left - center[0],
        moved_down_px=top - center[1],
        nudge_right_px=nudge[0],
        nudge_down_px=nudge[1],
        coverage_center=round(building_px(*center) / side_px**2, 4),
        coverage=round(covered_px / side_px**2, 4),
        placed=placed,
    )


def _enumerated(tiles: Sequence[str]) -> str:
    shown = list(tiles) if len(tiles) <= 3 else [*tiles[:2], f"{len(tiles) - 2} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)


def _check_pair(image: Path, mask: Path, side_px: int) -> Source:
    (height, width), mask_shape = _read_size(image, 3), _read_size(mask, 1)
    if mask_shape != (height, width):
        raise UserError(
            f"{mask} is {mask_shape[1]}×{mask_shape[0]} px, but its image is {width}×{height} px: "
            "image and mask must have one size"
        )
    if min(height, width) < side_px:
        raise UserError(f"{image} is {width}×{height} px, but a crop takes {side_px}×{side_px} px: replace it")
    return Source(image, mask, height, width, _levels(mask))


def _read_size(path: Path, num_bands: int) -> tuple[int, int]:
    with _open(path) as file:
        if file.dtypes != ("uint8",) * num_bands:
            raise UserError(
                f"{path} has {file.count} bands of {file.dtypes[0]}, but must have {num_bands} of uint8: replace it"
            )
        return file.height, file.width


def _levels(path: Path) -> NDArray[np.uint8]:
    """(256,) uint8, the grey that viewers show for each value of a mask: it may be stored in bits, or white as 0."""
    levels = np.arange(256)
    with _open(path) as file:
        if file.colorinterp[0] == ColorInterp.palette:
            colors = np.zeros((256, 3), np.int64)
            for value, color in file.colormap(1).items():
                colors[value] = color[:3]
            if (colors != colors[:, :1]).any():
                raise UserError(f"{path} is coloured, but a mask must be grey: replace it")
            levels = colors[:, 0]
        else:
            num_bits = int(file.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8))
            levels = levels * 255 // (2**num_bits - 1)
            if file.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES":
                levels = 255 - levels
    return levels.clip(0, 255).astype(np.uint8)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                yield file
    except RasterioError as error:
        raise UserError(f"{path} is damaged, truncated or no image: replace it") from error
