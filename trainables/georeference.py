"""Where tiles lie on the ground, as their files say: image and mask must agree, and splits should not overlap."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from trainables.errors import UserError
from trainables.tile_files import named

_MOST_APART_PX = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """A georeference.

    Attributes:
        transform: From (column, row) to (x, y) of the coordinate reference system.
        crs: That system, or None where the file names none.
        corners: (4, 2) columns and rows of the corners, in pixels.
    """

    transform: Affine
    crs: CRS | None
    corners: tuple[tuple[int, int], ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Least x, least y, most x and most y."""
        xs, ys = zip(*(self.transform * corner for corner in self.corners), strict=True)
        return min(xs), min(ys), max(xs), max(ys)


def place_of(path: Path) -> Place | None:
    """Where a file lies, from its header; None where it does not say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                if source.transform.is_identity or source.transform.is_degenerate:
                    return None
                width, height = source.width, source.height
                return Place(source.transform, source.crs, ((0, 0), (width, 0), (0, height), (width, height)))
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
    seen_from_image = ~of_image.transform * of_mask.transform
    shifts = [np.subtract(seen_from_image * corner, corner) for corner in of_image.corners]
    right, down = max(shifts, key=lambda shift: float(np.abs(shift).max()))
    if max(abs(right), abs(down)) > _MOST_APART_PX:
        raise UserError(
            f"{mask} lies {right:+.1f} px (right) and {down:+.1f} px (down) off its image by their georeferences, but "
            f"must lie on it: {fix}"
        )
    return of_image


def overlaps(places: Mapping[str, Sequence[tuple[str, Place | None]]]) -> tuple[str, ...]:
    """What to say of tiles in different splits that cover the same ground by more than a pixel.

    Args:
        places: Per split its tiles, each with its id and its place.
    """
    pairs = []
    for (split, tiles), (other, others) in combinations(places.items(), 2):
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
