"""What an adapter hands over: the tiles of a published data set, in no layout yet; and what adapters share.

An adapter is a function from the values of its flags to a `Plan`. It checks its source by names and headers; pixels are
read tile by tile, by `trainables.datasets.write`, which writes the folder.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.data.formats.raster import read_header
from trainables.data.tiles import DatasetInfo

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SEED = 42
RGB = ("red", "green", "blue")

_NUM_DRAWS = 1000

Item = TypeVar("Item")


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


def draw_splits(ids: Iterable[str], counts: Mapping[Split, int], seed: int) -> dict[str, Split]:
    """Draws the splits: another number of train tiles leaves val and test as they are, and more contain fewer.

    Args:
        ids: All tile ids, in any order.
        counts: Tiles per split.
        seed: From 0.

    Returns:
        Id to split, in the order of the ids.

    Raises:
        UserError: A count or the seed is too small, or there are fewer tiles than that.
    """
    for split, count in counts.items():
        _check_count(split, count)
    names = sorted(ids)
    wanted = sum(counts.values())
    if wanted > len(names):
        asked = " + ".join(str(count) for count in counts.values())
        raise UserError(
            f"--num-train, --num-val and --num-test ask for {asked} = {wanted} tiles, but there are {len(names)}: "
            "ask for fewer"
        )
    drawn = [names[i] for i in _generator(seed).permutation(len(names))]
    splits: dict[str, Split] = {}
    for split in reversed(SPLITS):
        splits |= dict.fromkeys(drawn[len(splits) :][: counts[split]], split)
    return {name: splits[name] for name in names if name in splits}


def take_some(items: Sequence[Item], count: int | None, split: Split, seed: int) -> tuple[Item, ...]:
    """`count` of the items, drawn, in their order; all where `count` is None. More contain fewer.

    Raises:
        UserError: The count or the seed is too small, or there are fewer items than that.
    """
    if count is None:
        return tuple(items)
    _check_count(split, count)
    if count > len(items):
        raise UserError(f"--num-{split} is {count}, but there are {len(items)} {split} tiles: ask for fewer")
    order = _generator(seed, SPLITS.index(split)).permutation(len(items))
    return tuple(items[i] for i in sorted(order[:count]))


def draw_groups(
    sizes: Mapping[str, int], share: float, seed: int, num_misses: Callable[[set[str]], int] = lambda chosen: 0
) -> set[str]:
    """Draws whole groups until they are as near to a share of all tiles as the draw comes; at least one is left out.

    Args:
        sizes: Group to its number of tiles.
        share: From 0 to 1.
        seed: From 0.
        num_misses: What is wrong with a choice; of 1000 draws the first with the fewest is taken.

    Raises:
        UserError: There is one group only, or the seed is negative.
    """
    if len(sizes) < 2:
        raise UserError(f"--src has one place, {min(sizes)}, but train and val must not share a place: get another")
    names, goal = sorted(sizes), share * sum(sizes.values())
    best: tuple[int, set[str]] | None = None
    for draw in range(_NUM_DRAWS):
        first, *others = (names[i] for i in _generator(seed, draw).permutation(len(names)))
        chosen, taken = {first}, sizes[first]
        for name in others[:-1]:
            if abs(taken + sizes[name] - goal) >= abs(taken - goal):
                break
            chosen.add(name)
            taken += sizes[name]
        misses = num_misses(chosen)
        if best is None or misses < best[0]:
            best = misses, chosen
        if misses == 0:
            break
    assert best is not None
    return best[1]


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


def _check_count(split: Split, count: int) -> None:
    least = 0 if split == "test" else 1
    if count < least:
        raise UserError(f"--num-{split} is {count}, but must be {least} or more: a study needs train and val tiles")


def _generator(*seed: int) -> np.random.Generator:
    if seed[0] < 0:
        raise UserError(f"--seed is {seed[0]}, but must be 0 or more: give another")
    return np.random.default_rng(seed)
