"""Cityscapes as a source of tiles: 19 classes, half the published size, val split off by whole cities."""

import argparse
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.data.formats.raster import read_image
from trainables.data.tiles import IGNORE, DatasetInfo
from trainables.datasets.sources.draws import draw_groups, take_some
from trainables.datasets.sources.files import files_by_id, is_clutter, plain_name
from trainables.datasets.sources.masks import read_indices
from trainables.datasets.sources.plan import (
    RGB,
    SEED,
    SPLITS,
    Adapter,
    Plan,
    SourceTile,
    Split,
    add_draw_flags,
    add_src_flag,
    check_folder,
    check_pair,
)

SIZE_PX = (1024, 2048)
"""Published (height, width) in pixels."""

VAL_SHARE = 0.2
"""Of the published train images, about. Source: the SegFormer course's split, 595 of 2975."""

LABELS: dict[int, tuple[str, tuple[int, int, int]]] = {
    7: ("road", (128, 64, 128)),
    8: ("sidewalk", (244, 35, 232)),
    11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)),
    13: ("fence", (190, 153, 153)),
    17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)),
    20: ("traffic sign", (220, 220, 0)),
    21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)),
    23: ("sky", (70, 130, 180)),
    24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)),
    26: ("car", (0, 0, 142)),
    27: ("truck", (0, 0, 70)),
    28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)),
    32: ("motorcycle", (0, 0, 230)),
    33: ("bicycle", (119, 11, 32)),
}
"""Label id to name and colour of the classes that count, in the order of their train ids 0 to 18; others are ignored.

Source: https://github.com/mcordts/cityscapesScripts, cityscapesscripts/helpers/labels.py
"""

_TRAIN_IDS = np.full(256, IGNORE, np.uint8)
_TRAIN_IDS[list(LABELS)] = np.arange(len(LABELS))

_Pair = tuple[str, str, Path, Path]  # city, id, image, mask


def plan_cityscapes(
    src: Path,
    *,
    num_train: int | None = None,
    num_val: int | None = None,
    num_test: int | None = None,
    seed: int = SEED,
    size_px: tuple[int, int] = SIZE_PX,
) -> Plan:
    """Makes the published val split the test split, and takes val from the published train split by whole cities.

    Args:
        src: Folder with `leftImg8bit/{train,val}/<city>/` and `gtFine/{train,val}/<city>/`.
        num_train: Train tiles; None for all.
        num_val: Val tiles; None for all.
        num_test: Test tiles; None for all.
        seed: Decides the cities of val, and which tiles are taken where not all are.
        size_px: (height, width) of the published images in pixels, both even; tiles are half as high and wide.

    Raises:
        UserError: A folder, an image or a mask is missing, one that is taken has another kind or size, or a number is
            wrong.

    Source: Cordts et al. 2016, The Cityscapes Dataset for Semantic Urban Scene Understanding.
    """
    check_folder(src, "leftImg8bit/ and gtFine/")
    published = {split: _pairs(src, split) for split in ("train", "val")}
    sizes = Counter(city for city, *_ in published["train"])
    val_cities = draw_groups(sizes, VAL_SHARE, seed)
    of: dict[Split, list[_Pair]] = {
        "train": [pair for pair in published["train"] if pair[0] not in val_cities],
        "val": [pair for pair in published["train"] if pair[0] in val_cities],
        "test": published["val"],
    }
    tiles: list[SourceTile] = []
    shares = []
    for split, count in zip(SPLITS, (num_train, num_val, num_test), strict=True):
        taken = take_some(of[split], count, split, seed)
        for city, id_, image, mask in taken:
            check_pair(image, mask, size_px=size_px)
            tiles.append(_tile(split, city, id_, image, mask))
        shares.append(f"{len(taken)} of {len(of[split])} {split}")
    cities = ", ".join(sorted(val_cities))
    colors = tuple(color for _, color in LABELS.values())
    return Plan(
        tiles=tuple(tiles),
        info=DatasetInfo(
            classes=tuple(name for name, _ in LABELS.values()),
            bands=RGB,
            ignore_index=IGNORE,
            colors_rgb=colors,
            source=(
                f"Cityscapes (Cordts et al. 2016), fine annotations at {size_px[1] // 2}×{size_px[0] // 2} px; test is "
                f"the published val split, val the published train split's {cities}: {', '.join(shares)} tiles, "
                f"seed {seed}"
            ),
        ),
        notes=(
            "The published test split has no labels: the published val split is the test split here.",
            f"Val is {len(of['val'])} of the {len(published['train'])} published train images, whole cities: {cities}.",
            "Images are halved by area, labels by nearest; scores are not those of the benchmark.",
        ),
    )


def _pairs(src: Path, split: str) -> list[_Pair]:
    """(city, id, image, mask) of a published split, sorted by name."""
    images, masks = src / "leftImg8bit" / split, src / "gtFine" / split
    mask_folders = {plain_name(folder.name): folder for folder in _folders(masks)}
    found = []
    for folder in _folders(images):
        city = plain_name(folder.name)
        mask_folder = mask_folders.get(city, masks / city)
        by_id = files_by_id(mask_folder, "_gtfine_labelids.png")
        for id_, image in files_by_id(folder, "_leftimg8bit.png").items():
            if id_ not in by_id:
                lacking = mask_folder / f"{id_}_gtFine_labelIds.png"
                raise UserError(f"{image} has no {lacking}: unpack gtFine_trainvaltest.zip there")
            found.append((city, id_, image, by_id[id_]))
    if not found:
        raise UserError(
            f"{images} has no <city>/*_leftImg8bit.png: name the folder that has Cityscapes' leftImg8bit/ and gtFine/"
        )
    return found


def _folders(parent: Path) -> list[Path]:
    """The folders of cities, sorted by name."""
    return sorted(path for path in parent.glob("*") if path.is_dir() and not is_clutter(path))


def _tile(split: Split, city: str, id_: str, image: Path, mask: Path) -> SourceTile:
    return SourceTile(
        id=id_,
        split=split,
        suffix=".png",
        load_image=lambda: _halve(read_image(image)),
        load_mask=lambda: _TRAIN_IDS[read_indices(mask)[::2, ::2]],  # of each 2×2 all are nearest: the upper left one
        mask_values=lambda: read_indices(mask),
        group=city,
    )


def _halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to (H / 2, W / 2, 3): the mean of each 2×2 pixels, rounded."""
    height, width = image.shape[:2]
    halved = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(halved, np.uint8)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_src_flag(parser, "folder with leftImg8bit/{train,val}/ and gtFine/{train,val}/")
    add_draw_flags(parser, None, None, None)


ADAPTER = Adapter(
    about="Cityscapes: 19 classes, halved to 1024×512 px, val by whole cities",
    add_flags=_add_flags,
    plan=plan_cityscapes,
)
