"""Tiles in memory: decoded train and val tiles, and what is known of their classes and bands."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from trainables.common.errors import UserError

IGNORE = 255
"""Value of ignored pixels in decoded masks, whatever the files use."""


Level = Annotated[int, Field(ge=0, le=255)]


def check_names(names: Iterable[str]) -> None:
    """Refuses names of classes or bands that are blank, or that nothing but capitals and spaces tells apart.

    Raises:
        ValueError: They are; its words go after "but".
    """
    counts = Counter(name.strip().lower() for name in names)
    if "" in counts:
        raise ValueError("each needs a name that is not blank")
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"{twice[0]} is there twice")


class DatasetInfo(BaseModel):
    """What `dataset.json` may say; every field has a default that follows from the image files.

    Attributes:
        classes: Class names; mask value i is `classes[i]`. Two classes are a binary task (masks 0/1 or 0/255).
        bands: Band names in file order.
        scale: Factor from stored pixel values to the floats that models see (reflectance, or 0..1 for photographs).
        ignore_index: Mask value of pixels that count nowhere, or None.
        colors_rgb: A colour per class, 0..255: of overlays, and of masks that have colours.
        metres_per_pixel: Ground sampling distance in metres.
        groups: Tile id (or file name, until it was read) to place; tiles of one place are not independent.
        source: Where the tiles come from, free text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] = Field(default=("background", "foreground"), min_length=2, max_length=IGNORE)
    bands: tuple[str, ...] = Field(default=(), validate_default=False)
    scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    ignore_index: int | None = Field(default=None, ge=0, le=IGNORE)
    colors_rgb: tuple[tuple[Level, Level, Level], ...] | None = None
    metres_per_pixel: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    groups: dict[str, str] = {}
    source: str | None = None

    @field_validator("classes", "bands")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_names(names)
        return names

    @property
    def num_outputs(self) -> int:
        """Channels of the logits: 1 for a binary task, else one per class."""
        return 1 if len(self.classes) == 2 else len(self.classes)


def is_rgb(bands: Iterable[str]) -> bool:
    """Whether bands of these names are red, green and blue, in this order."""
    return tuple(band.lower() for band in bands) in (("red", "green", "blue"), ("r", "g", "b"))


@dataclass(frozen=True, slots=True)
class Tiles:
    """Decoded tiles of one split.

    Attributes:
        ids: One id per tile, sorted.
        images: (H, W, C) arrays in the files' own dtype; sizes may differ between tiles.
        masks: (H, W) uint8 arrays of class indices, `IGNORE` where a pixel counts nowhere.
        nodata: (H, W) bool arrays, true where an image has no data, or None for a tile that has data everywhere; empty
            where all tiles have. Masks are `IGNORE` there, and images hold some value that means nothing.
    """

    ids: tuple[str, ...]
    images: tuple[NDArray[Any], ...]
    masks: tuple[NDArray[np.uint8], ...]
    nodata: tuple[NDArray[np.bool_] | None, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def missing(self, index: int) -> NDArray[np.bool_] | None:
        """(H, W) bool, true where a tile's image has no data; None where it has data everywhere."""
        return self.nodata[index] if self.nodata else None

    def take(self, indices: Iterable[int]) -> "Tiles":
        """The tiles at `indices`, in that order, sharing memory with this set."""
        chosen = list(indices)
        return Tiles(
            tuple(self.ids[i] for i in chosen),
            tuple(self.images[i] for i in chosen),
            tuple(self.masks[i] for i in chosen),
            tuple(self.nodata[i] for i in chosen) if self.nodata else (),
        )

    def center_windows(self, size_px: int) -> "Tiles":
        """The middle `size_px` square of each tile (all of a side that is shorter), sharing memory with this set."""
        windows = []
        for mask in self.masks:
            height, width = (min(size_px, side) for side in mask.shape)
            top, left = (mask.shape[0] - height) // 2, (mask.shape[1] - width) // 2
            windows.append((slice(top, top + height), slice(left, left + width)))
        return Tiles(
            self.ids,
            tuple(image[window] for image, window in zip(self.images, windows, strict=True)),
            tuple(mask[window] for mask, window in zip(self.masks, windows, strict=True)),
            tuple(None if missing is None else missing[windows[index]] for index, missing in enumerate(self.nodata)),
        )


@dataclass(frozen=True, slots=True)
class TrainVal:
    """All that a tuning trial may see: train and val tiles, never test tiles.

    Attributes:
        info: Classes, bands and scale.
        train: Tiles to learn from.
        val: Tiles to judge by.
        notes: What the reader should know of their pixels and masks, a sentence each.
    """

    info: DatasetInfo
    train: Tiles
    val: Tiles
    notes: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """Factor from stored pixel values to floats."""
        assert self.info.scale is not None, "decode_train_val fills the scale in"
        return self.info.scale

    @property
    def is_photograph(self) -> bool:
        """Whether the bands are red, green and blue in 8 bits, which some transforms and pretrained weights expect."""
        return is_rgb(self.info.bands) and self.train.images[0].dtype == np.uint8

    def budget(self, num_tiles: int, subset_seed: int) -> "TrainVal":
        """The same val tiles with `num_tiles` of the train tiles, nested: 5 ⊂ 12 ⊂ 24 for one `subset_seed`.

        Raises:
            UserError: There are fewer train tiles than that.
        """
        if not 1 <= num_tiles <= len(self.train):
            raise UserError(
                f"--tiles {num_tiles} asks for {num_tiles} train tiles, but there are {len(self.train)}: "
                f"ask for 1 to {len(self.train)}"
            )
        order = np.random.default_rng([subset_seed]).permutation(len(self.train))
        return replace(self, train=self.train.take(sorted(order[:num_tiles])))

    def digest(self) -> str:
        """SHA-256 over ids, pixels, masks and nodata of both splits: two studies with one digest saw the same tiles."""
        digest = TilesDigest()
        for tiles in (self.train, self.val):
            for index, (tile_id, image, mask) in enumerate(zip(tiles.ids, tiles.images, tiles.masks, strict=True)):
                digest.add(tile_id, image, mask, tiles.missing(index))
            digest.end_split()
        return digest.hex()


class TilesDigest:
    """`TrainVal.digest()` of tiles that are seen one after the other: train, then val."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(
        self, tile_id: str, image: NDArray[Any], mask: NDArray[np.uint8], missing: NDArray[np.bool_] | None
    ) -> None:
        """Takes the next tile of a split in."""
        self._sha.update(f"{tile_id} {image.shape} {image.dtype}".encode())
        for array in (image, mask, missing):
            if array is not None:
                self._sha.update(array.reshape(-1).data)  # no copy of arrays in one piece

    def end_split(self) -> None:
        """Says that the tiles of a split were all."""
        self._sha.update(b"|")

    def hex(self) -> str:
        """64 hex digits."""
        return self._sha.hexdigest()
