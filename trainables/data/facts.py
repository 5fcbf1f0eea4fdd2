"""What is known of a tile once its pixels were seen: notes and checks need no more of 8-bit tiles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.bands import extremes
from trainables.data.duplicates import Thumbnails, thumbnails
from trainables.data.formats.mask import values_in
from trainables.data.tiles import IGNORE


@dataclass(frozen=True, slots=True)
class TileFacts:
    """What is known of a decoded tile.

    Attributes:
        id: Of the tile.
        num_pixels: Height times width.
        num_missing: Pixels whose image has no data.
        classes: The classes in its mask, and `IGNORE` where some pixels count nowhere; ascending.
        extremes: (2, C) float64: least and greatest value per band, in stored units, of pixels that are data; (0, C)
            where none is.
        thumbnail: (SIDE_PX, SIDE_PX) float32, by which the image is found in other splits.
    """

    id: str
    num_pixels: int
    num_missing: int
    classes: tuple[int, ...]
    extremes: NDArray[np.float64]
    thumbnail: Thumbnails

    @property
    def is_void(self) -> bool:
        """Whether no pixel of its mask counts."""
        return self.classes == (IGNORE,)

    @property
    def has_data(self) -> bool:
        """Whether any pixel of its image is data."""
        return self.num_missing < self.num_pixels


def tile_facts(
    tile_id: str, image: NDArray[Any], mask: NDArray[np.uint8], missing: NDArray[np.bool_] | None
) -> TileFacts:
    """Looks at a tile's image (H, W, C), its classes (H, W) and where it has no data (H, W), if anywhere."""
    pixels = image.reshape(-1, image.shape[2]) if missing is None else image[~missing]
    return TileFacts(
        id=tile_id,
        num_pixels=mask.size,
        num_missing=mask.size - len(pixels),
        classes=values_in(mask),
        extremes=np.stack(extremes(pixels)) if len(pixels) else np.empty((0, image.shape[2])),
        thumbnail=thumbnails([image])[0],
    )


def overall_extremes(tiles: Sequence[TileFacts]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest value per band, each (C,) float64, of all pixels that are data; there must be some."""
    of_tiles = np.concatenate([tile.extremes for tile in tiles])
    return of_tiles.min(axis=0), of_tiles.max(axis=0)
