"""DeepGlobe Road Extraction as a source of tiles: only its `train/` has masks, so all three splits come from there."""

import argparse
from pathlib import Path

from trainables.common.errors import UserError
from trainables.data.tiles import DatasetInfo
from trainables.datasets.sources.draws import draw_splits
from trainables.datasets.sources.files import files_by_id
from trainables.datasets.sources.masks import BinaryMasks
from trainables.datasets.sources.plan import (
    RGB,
    SEED,
    Adapter,
    Plan,
    Split,
    add_draw_flags,
    add_src_flag,
    check_folder,
    check_pair,
    copied_tile,
)

SIDE_PX = 1024
THRESHOLD = 128
"""Mask values from here on are road: some masks are not pure 0 and 255. Source: the challenge's data description."""
METRES_PER_PIXEL = 0.5
NUM_TRAIN, NUM_VAL, NUM_TEST = 24, 6, 6


def plan_deepglobe(
    src: Path,
    *,
    num_train: int = NUM_TRAIN,
    num_val: int = NUM_VAL,
    num_test: int = NUM_TEST,
    seed: int = SEED,
    side_px: int = SIDE_PX,
) -> Plan:
    """Draws train, val and test tiles from those that are published with masks.

    Args:
        src: Folder with `train/<id>_sat.jpg` and `train/<id>_mask.png`.
        num_train: Train tiles.
        num_val: Val tiles.
        num_test: Test tiles.
        seed: Decides what is drawn.
        side_px: Side of the published images in pixels.

    Raises:
        UserError: The folder or its tiles are missing, a drawn one has another kind or size, or a number is wrong.

    Source: Demir et al. 2018, DeepGlobe 2018: A Challenge to Parse the Earth through Satellite Images.
    """
    folder = src / "train"
    check_folder(src, "DeepGlobe's train/")
    images, mask_files = files_by_id(folder, "_sat.jpg"), files_by_id(folder, "_mask.png")
    masked = {id_: (path, mask_files[id_]) for id_, path in images.items() if id_ in mask_files}
    if not masked:
        raise UserError(
            f"{folder} has no <id>_sat.jpg with its <id>_mask.png: name the folder that has DeepGlobe's train/"
        )
    counts: dict[Split, int] = {"train": num_train, "val": num_val, "test": num_test}
    splits = draw_splits(masked, counts, seed)
    for id_ in splits:
        check_pair(*masked[id_], size_px=(side_px, side_px))
    masks = BinaryMasks(paths=[masked[id_][1] for id_ in splits], threshold=THRESHOLD)
    notes = [
        "DeepGlobe's own valid/ and test/ have no masks: all tiles were drawn from its train/.",
        "Where its tiles lie is not published, so tiles of one place may be in several splits.",
    ]
    if len(masked) < len(images):
        notes.append(f"{len(images) - len(masked)} of {len(images)} images in {folder} have no mask and were left out.")
    return Plan(
        tiles=tuple(copied_tile(split, id_, ".jpg", *masked[id_], masks) for id_, split in splits.items()),
        info=DatasetInfo(
            classes=("background", "road"),
            bands=RGB,
            metres_per_pixel=METRES_PER_PIXEL,
            source=(
                f"DeepGlobe Road Extraction (Demir et al. 2018), train/: {num_train} train, {num_val} val and "
                f"{num_test} test tiles of {len(masked)} with masks, seed {seed}"
            ),
        ),
        notes=tuple(notes),
    )


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_src_flag(parser, "folder with train/<id>_sat.jpg and train/<id>_mask.png")
    add_draw_flags(parser, NUM_TRAIN, NUM_VAL, NUM_TEST)


ADAPTER = Adapter(about="DeepGlobe Road Extraction: 1024×1024 px, 0.5 m/px", add_flags=_add_flags, plan=plan_deepglobe)
