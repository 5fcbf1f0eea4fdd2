"""What an adapter makes: a plan of the tiles of a published data set; with the flags and checks that adapters share.

An adapter is a function from the values of its flags to a `Plan`. It checks its source by names and headers.
`trainables.datasets.write` then reads the pixels tile by tile and writes the folder.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.data.formats.raster import read_header, read_image
from trainables.data.tiles import DatasetInfo
from trainables.datasets.sources.masks import BinaryMasks, read_grey

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SEED = 42
RGB = ("red", "green", "blue")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTile:
    """A tile that can be read.

    Attributes:
        id: Its name in the folder, unique over all splits.
        split: The split it goes to.
        suffix: How its image is written: `.png` for (H, W, 3) uint8, `.tif` for any type and bands; `.jpg` if copied.
        load_image: Gives (H, W, C) pixels in their own dtype.
        load_mask: Gives (H, W) uint8 class indices, `IGNORE` where a pixel counts nowhere.
        copy_of: The file that is taken over byte for byte as the image; None where the image is written anew.
        group: The place it lies in; tiles of one place are not independent.
        mask_values: Gives what the mask's own file holds, for errors; None where nobody knows.
    """

    id: str
    split: Split
    suffix: str
    load_image: Callable[[], NDArray[Any]]
    load_mask: Callable[[], NDArray[np.uint8]]
    copy_of: Path | None = None
    group: str | None = None
    mask_values: Callable[[], NDArray[Any]] | None = None


def copied_tile(split: Split, id_: str, suffix: str, image: Path, mask: Path, masks: BinaryMasks) -> SourceTile:
    """A photograph that is taken over byte for byte, with its grey mask of background and foreground."""
    return SourceTile(
        id=id_,
        split=split,
        suffix=suffix,
        copy_of=image,
        load_image=lambda: read_image(image),
        load_mask=lambda: masks.read(mask),
        mask_values=lambda: read_grey(mask),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What becomes of a source: its tiles, what `dataset.json` will say besides the groups, and notes to print.

    `info.source` says how the splits came to be, with every flag that had a say: two plans with the same tiles and
    `info` make the same folder.
    """

    tiles: tuple[SourceTile, ...]
    info: DatasetInfo
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A row of the table of data sets.

    Attributes:
        about: The data set in a few words, for `--help`.
        add_flags: Adds its flags, whose names are the arguments of `plan`; `--dst` is every data set's.
        plan: Turns the values of the flags into a plan.
    """

    about: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    plan: Callable[..., Plan]


def add_src_flag(parser: argparse.ArgumentParser, about: str) -> None:
    """Adds `--src`, the folder of the published data set."""
    parser.add_argument("--src", type=Path, required=True, metavar="DIR", help=about)


def add_draw_flags(parser: argparse.ArgumentParser, *counts: int | None) -> None:
    """Adds `--seed` and, where defaults are given (None: all there are), `--num-train`, `--num-val`, `--num-test`."""
    for split, default in zip(SPLITS, counts, strict=False):
        about = f"{split} tiles ({'all' if default is None else default})"
        parser.add_argument(f"--num-{split}", type=int, default=default, metavar="N", help=about)
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help=f"decides what is drawn ({SEED})")


def check_folder(src: Path, what: str) -> None:
    """Refuses a `--src` that is no folder.

    Raises:
        UserError: It is none.
    """
    if not src.is_dir():
        raise UserError(f"--src {src} is no folder, but must hold {what}: check the path")


def check_pair(image: Path, mask: Path, *, size_px: tuple[int, int] | None = None) -> None:
    """Checks that an image is 8-bit RGB and its mask has its size, by their headers.

    Args:
        image: File of the image.
        mask: File of the mask, 8-bit; its bands are looked at when it is read.
        size_px: The (height, width) that the publisher names, in pixels; None where sizes differ.

    Raises:
        UserError: They are not, or a file has no readable header.
    """
    height, width, num_bands, dtype, _ = read_header(image)
    if (num_bands, dtype) != (3, "uint8"):
        raise UserError(f"{image} has {num_bands} bands of {dtype}, but must have 3 of uint8: replace it")
    if size_px is not None and (height, width) != size_px:
        raise UserError(
            f"{image} is {width}×{height} px, but is published with {size_px[1]}×{size_px[0]} px: replace it"
        )
    mask_height, mask_width, _, mask_dtype, _ = read_header(mask)
    if (mask_height, mask_width) != (height, width):
        raise UserError(
            f"{mask} is {mask_width}×{mask_height} px, but its image is {width}×{height} px: "
            "image and mask must have one size"
        )
    if mask_dtype != "uint8":
        raise UserError(f"{mask} is of {mask_dtype}, but must be of uint8: replace it")
