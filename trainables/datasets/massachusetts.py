"""The Massachusetts Roads data set as a source of tiles, in both layouts that are about, with its published splits."""

import argparse
from pathlib import Path

from trainables.common.errors import UserError
from trainables.data.tiles import DatasetInfo
from trainables.datasets.sources.draws import take_some
from trainables.datasets.sources.files import files_by_id
from trainables.datasets.sources.masks import BinaryMasks
from trainables.datasets.sources.plan import (
    RGB,
    SEED,
    SPLITS,
    Adapter,
    Plan,
    Split,
    add_draw_flags,
    add_src_flag,
    check_folder,
    check_pair,
    copied_tile,
)

SIDE_PX = 1500
METRES_PER_PIXEL = 1.0

_LAYOUTS: tuple[dict[Split, tuple[str, str]], ...] = (
    {split: (f"tiff/{split}", f"tiff/{split}_labels") for split in SPLITS},
    {"train": ("train/sat", "train/map"), "val": ("valid/sat", "valid/map"), "test": ("test/sat", "test/map")},
)
"""Split to the folders of images and of masks."""


def plan_massachusetts(
    src: Path,
    *,
    num_train: int | None = None,
    num_val: int | None = None,
    num_test: int | None = None,
    seed: int = SEED,
    side_px: int = SIDE_PX,
) -> Plan:
    """Takes the published splits, or as many tiles of each as are asked for.

    Args:
        src: Folder with `tiff/{train,val,test}` and `tiff/{train,val,test}_labels`, or `{train,valid,test}/{sat,map}`.
        num_train: Train tiles; None for all.
        num_val: Val tiles; None for all.
        num_test: Test tiles; None for all.
        seed: Decides which are taken where not all are.
        side_px: Side of the published images in pixels.

    Raises:
        UserError: A folder, an image or a mask is missing, one that is taken has another kind or size, or a number is
            wrong.

    Source: Mnih 2013, Machine Learning for Aerial Image Labeling.
    """
    check_folder(src, "the Massachusetts tiles")
    found = [layout for layout in _LAYOUTS if all((src / name).is_dir() for pair in layout.values() for name in pair)]
    if not found:
        raise UserError(
            f"--src {src} has neither tiff/{{train,val,test}} with tiff/{{train,val,test}}_labels nor "
            "{train,valid,test}/{sat,map}: name the folder that has them"
        )
    chosen: list[tuple[Split, str, Path, Path]] = []
    shares = []
    for split, count in zip(SPLITS, (num_train, num_val, num_test), strict=True):
        pairs = _pairs(*(src / name for name in found[0][split]))
        taken = take_some(pairs, count, split, seed)
        for id_, image, mask in taken:
            check_pair(image, mask, size_px=(side_px, side_px))
            chosen.append((split, id_, image, mask))
        shares.append(f"{len(taken)} of {len(pairs)} {split}")
    masks = BinaryMasks(paths=[mask for *_, mask in chosen])
    return Plan(
        tiles=tuple(copied_tile(split, id_, ".tif", image, mask, masks) for split, id_, image, mask in chosen),
        info=DatasetInfo(
            classes=("background", "road"),
            bands=RGB,
            metres_per_pixel=METRES_PER_PIXEL,
            source=f"Massachusetts Roads (Mnih 2013), published splits: {', '.join(shares)} tiles, seed {seed}",
        ),
        notes=("White areas of some images have no photograph, but their masks go on there: look at the overview.",),
    )


def _pairs(images: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """(id, image, mask) of a published split, sorted by id."""
    by_folder = [files_by_id(folder, ".tif", ".tiff") for folder in (images, masks)]
    for files, others, other in ((by_folder[0], by_folder[1], masks), (by_folder[1], by_folder[0], images)):
        missing = sorted(files.keys() - others.keys())
        if missing:
            raise UserError(
                f"{files[missing[0]]} has no partner in {other}, but every tile needs an image and a mask "
                f"({len(missing)} without): add or remove"
            )
    return [(id_, path, by_folder[1][id_]) for id_, path in by_folder[0].items()]


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_src_flag(parser, "folder with tiff/{train,val,test} and tiff/..._labels, or {train,valid,test}/{sat,map}")
    add_draw_flags(parser, None, None, None)


ADAPTER = Adapter(
    about="Massachusetts Roads: 1500×1500 px, 1 m/px, published splits", add_flags=_add_flags, plan=plan_massachusetts
)
