"""Where tiles lie on the ground, as their files say: image and mask must agree, and splits should not overlap."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from trainables.common.errors import UserError
from trainables.common.splits import independent
from trainables.data.layout.folder import named

_MOST_APART_PX = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """A georeference.

    Attributes:
        transform: From (column, row) to (x, y) of the coordinate reference system.
        crs: That system, or None where the file names none.
        height: Rows.
        width: Columns.
    """

    transform: Affine
    crs: CRS | None
    height: int
    width: int

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3), the transform for columns (column, row, 1)."""
        return np.array(self.transform, np.float64).reshape(3, 3)

    @property
    def corners(self) -> NDArray[np.float64]:
        """(3, 4): column, row and 1 of each corner, in pixels."""
        return np.array([[0, self.width, 0, self.width], [0, 0, self.height, self.height], [1, 1, 1, 1]], np.float64)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Least x, least y, most x and most y."""
        xs, ys, _ = self.matrix @ self.corners
        return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def place_of(path: Path) -> Place | None:
    """Where a file lies, from its header; None where it does not say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                if source.transform.is_identity or source.transform.is_degenerate:
                    return None
                return Place(source.transform, source.crs, source.height, source.width)
    except RasterioError as error:
        raise UserError(f"{path} cannot be read as an image: replace or remove it") from error


def check_same_place(image: Path, mask: Path) -> Place | None:
    """The place of an image, after a check that its mask lies there, too; one of them need not say where it lies.

    Raises:
        UserError: They lie more than half a pixel apart, or name different coordinate reference systems.
    """
    of_image, of_mask = place_of(image), place_of(mask)
    if of_image is None or of_mask is None:
        return of_image or of_mask
    fix = "georeference them alike, or store the mask without a georeference (as PNG) if its pixels are the image's"
    if of_image.crs and of_mask.crs and of_image.crs != of_mask.crs:
        names = [
            crs.to_string() if (code := crs.to_epsg()) is None else f"EPSG:{code}"
            for crs in (of_mask.crs, of_image.crs)
        ]
        if names[0] != names[1]:
            raise UserError(f"{mask} is georeferenced in {names[0]}, but its image in {names[1]}: {fix}")
    seen_from_image = np.linalg.inv(of_image.matrix) @ of_mask.matrix @ of_image.corners
    shifts = (seen_from_image - of_image.corners)[:2]
    right, down = shifts[:, np.abs(shifts).max(axis=0).argmax()]
    if max(abs(right), abs(down)) > _MOST_APART_PX:
        raise UserError(
            f"{mask} lies {right:+.1f} px (right) and {down:+.1f} px (down) off its image by their georeferences, but "
            f"must lie on it: {fix}"
        )
    return of_image


def overlaps(places: Mapping[str, Sequence[tuple[str, Place | None]]]) -> tuple[str, ...]:
    """A note on tiles of different splits that cover the same ground by more than a pixel; none where there are none.

    Args:
        places: Per split its tiles, each with its id and its place.
    """
    pairs = []
    for (split, tiles), (other, others) in combinations(places.items(), 2):
        if not independent(split, other):
            continue
        for system in {place.crs.to_wkt() for _, place in tiles if place and place.crs}:
            ours, theirs = (
                [(id_, place) for id_, place in some if place and place.crs and place.crs.to_wkt() == system]
                for some in (tiles, others)
            )
            if not theirs:
                continue
            boxes = np.array([place.box for _, place in theirs])
            for id_, place in ours:
                left, low, right, high = place.box
                pixel = max(
                    abs(place.transform.a) + abs(place.transform.b), abs(place.transform.d) + abs(place.transform.e)
                )
                wide = np.minimum(boxes[:, 2], right) - np.maximum(boxes[:, 0], left) > pixel
                tall = np.minimum(boxes[:, 3], high) - np.maximum(boxes[:, 1], low) > pixel
                pairs += [f"{split} tile {id_} and {other} tile {theirs[i][0]}" for i in np.flatnonzero(wide & tall)]
    if not pairs:
        return ()
    return (
        f"tiles of different splits cover the same ground by their georeferences ({named(pairs)}): scores on them are "
        "better than on new ground",
    )
