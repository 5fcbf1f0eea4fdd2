"""Arrays in pickle files, as a cloud notebook has them, as a source of tiles: any number of bands, any plain type."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.common.whole_files import digest
from trainables.data.tiles import IGNORE, DatasetInfo, check_names
from trainables.datasets.safe_pickle import load_arrays
from trainables.datasets.sources.draws import draw_splits
from trainables.datasets.sources.files import plain_name
from trainables.datasets.sources.plan import SEED, Adapter, Plan, SourceTile, Split, add_draw_flags

NUM_TRAIN, NUM_VAL, NUM_TEST = 24, 6, 6


def plan_pickled(
    images: Path,
    masks: Path,
    *,
    classes: Sequence[str] = ("background", "foreground"),
    bands: Sequence[str] = (),
    scale: float | None = None,
    ignore: int | None = None,
    num_train: int = NUM_TRAIN,
    num_val: int = NUM_VAL,
    num_test: int = NUM_TEST,
    seed: int = SEED,
) -> Plan:
    """Draws train, val and test tiles from arrays.

    Args:
        images: Pickle of an (N, H, W, C) array, or of a list, tuple or dict of (H, W, C) arrays, of any plain type.
        masks: Pickle of an (N, H, W) array, or of a list, tuple or dict of (H, W) arrays, of whole numbers or booleans
            that are class indices (a last axis of length 1 is fine); in a dict with the keys of the images.
        classes: Class names; mask value i is `classes[i]`. Of two classes, 255 is the second, too.
        bands: Band names in the order of the last axis.
        scale: Factor from pixel values to the floats that models see; None for 1 / the type's maximum, or 1 for floats.
        ignore: Mask value of pixels that count nowhere.
        num_train: Train tiles.
        num_val: Val tiles.
        num_test: Test tiles.
        seed: Decides what is drawn.

    Raises:
        UserError: A file cannot be read or holds something else, images and masks do not go together, a mask holds a
            value that is no class, or a flag is wrong.
    """
    if not 2 <= len(classes) < IGNORE:
        raise UserError(f"--classes names {len(classes)}, but there must be 2 to {IGNORE - 1}: name every class")
    for flag, names in (("classes", classes), ("bands", bands)):
        try:
            check_names(names)
        except ValueError as error:
            raise UserError(f"--{flag} is {' '.join(names)!r}, but {error}: name each once") from error
    if ignore is not None and not 0 <= ignore <= IGNORE:
        raise UserError(f"--ignore is {ignore}, but must be 0 to {IGNORE}: name the mask value that counts nowhere")
    if scale is not None and not 0 < scale < np.inf:
        raise UserError(f"--scale is {scale}, but must be above 0: name the factor from pixel values to floats")
    by_id = _by_id(images, "--images", 3, "(N, H, W, C)")
    masks_by_id = _by_id(masks, "--masks", 2, "(N, H, W)")
    if by_id.keys() != masks_by_id.keys():
        lacking = sorted(by_id.keys() ^ masks_by_id.keys())[0]
        raise UserError(
            f"--images has {len(by_id)} arrays and --masks {len(masks_by_id)}, and only one of them has {lacking}: "
            "give each image its mask"
        )
    counts: dict[Split, int] = {"train": num_train, "val": num_val, "test": num_test}
    splits = draw_splits(by_id, counts, seed)
    tiles = [
        _tile(
            id_,
            split,
            by_id[id_],
            _class_indices(masks_by_id[id_], classes, ignore, f"--masks {masks}: {id_}"),
            masks_by_id[id_],
        )
        for id_, split in splits.items()
    ]
    return Plan(
        tiles=tuple(tiles),
        info=DatasetInfo(
            classes=tuple(classes),
            bands=tuple(bands),
            scale=scale,
            ignore_index=None if ignore is None else IGNORE,
            source=(
                f"{images.name} (SHA-256 {digest(images)[:16]}…) and {masks.name} ({digest(masks)[:16]}…): "
                f"{num_train} train, {num_val} val and {num_test} test tiles of {len(by_id)}, seed {seed}"
                f"{'' if ignore is None else f', mask value {ignore} ignored'}"
            ),
        ),
        notes=("Where these tiles lie is not known here: tiles of one place may be in several splits.",),
    )


def _by_id(path: Path, flag: str, num_axes: int, rule: str) -> dict[str, NDArray[Any]]:
    """Id to array; ids are the keys of a dict, or positions."""
    loaded = load_arrays(path, flag)
    if isinstance(loaded, np.ndarray):
        if loaded.ndim == num_axes + 2 and loaded.shape[-1] == 1:
            loaded = loaded[..., 0]
        if loaded.ndim != num_axes + 1:
            raise UserError(f"{flag} {path} holds an array of shape {loaded.shape}, but must be {rule}: reshape it")
        loaded = list(loaded)
    if isinstance(loaded, list):
        width = len(str(max(0, len(loaded) - 1)))
        loaded = {f"{index:0{width}}": array for index, array in enumerate(loaded)}
    arrays = {plain_name(str(key)): array for key, array in loaded.items()}
    if len(arrays) < len(loaded):
        raise UserError(f"{flag} {path} has two keys that read the same: name each array once")
    for id_, array in arrays.items():
        if array.ndim == num_axes + 1 and array.shape[-1] == 1:
            arrays[id_] = array[..., 0]
        elif array.ndim != num_axes:
            raise UserError(
                f"{flag} {path}: {id_} has the shape {array.shape}, but must be {rule.replace('N, ', '')}: "
                f"{'add the axis of bands' if num_axes == 3 else 'take argmax over one-hot classes'}, or reshape it"
            )
        if not array.size:
            raise UserError(f"{flag} {path}: {id_} has the shape {array.shape}, which holds nothing: leave it out")
    return arrays


def _class_indices(mask: NDArray[Any], classes: Sequence[str], ignore: int | None, where: str) -> NDArray[np.uint8]:
    """(H, W) uint8 class indices with `IGNORE`, from a mask in the file's own values."""
    if not (np.issubdtype(mask.dtype, np.integer) or mask.dtype == np.bool_):
        raise UserError(f"{where} is of {mask.dtype}, but masks must be whole numbers or booleans: convert them")
    indices = np.full(mask.shape, IGNORE, np.uint8)
    values = [int(value) for value in np.unique(mask) if int(value) != ignore]
    is_0_255 = len(classes) == 2 and not {1, 255} <= set(values)
    for value in values:
        if 0 <= value < len(classes):
            indices[mask == value] = value
        elif is_0_255 and value == 255:
            indices[mask == value] = 1
        else:
            raise UserError(
                f"{where} holds the value {value}, but --classes names {len(classes)}, so that 0 to {len(classes) - 1} "
                f"are allowed{'' if ignore is None else f', and {ignore}'}: name all classes, or --ignore {value}"
            )
    return indices


def _tile(id_: str, split: Split, image: NDArray[Any], mask: NDArray[np.uint8], values: NDArray[Any]) -> SourceTile:
    return SourceTile(
        id=id_,
        split=split,
        suffix=".tif",
        load_image=lambda: image.astype(image.dtype.newbyteorder("="), copy=False),
        load_mask=lambda: mask,
        mask_values=lambda: values,
    )


def _add_flags(parser: argparse.ArgumentParser) -> None:
    what = {"images": "(N, H, W, C) array", "masks": "(N, H, W) array of class indices"}
    for name, shape in what.items():
        about = f"pickle of an {shape}, or of a list, tuple or dict of them; nothing in it is run"
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE", help=about)
    names = {"classes": ("background", "foreground"), "bands": ()}
    for name, default in names.items():
        about = f"names of the {name}{f' ({chr(32).join(default)})' if default else ''}"
        parser.add_argument(f"--{name}", nargs="+", default=default, metavar="NAME", help=about)
    about = "factor from pixel values to floats (1 / the maximum of a whole-number type)"
    parser.add_argument("--scale", type=float, metavar="X", help=about)
    parser.add_argument("--ignore", type=int, metavar="VALUE", help="mask value of pixels that count nowhere")
    add_draw_flags(parser, NUM_TRAIN, NUM_VAL, NUM_TEST)


ADAPTER = Adapter(about="arrays in pickle files, any bands and type", add_flags=_add_flags, plan=plan_pickled)
