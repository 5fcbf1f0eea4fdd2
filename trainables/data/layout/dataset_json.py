"""`dataset.json`: what it may say, checked, and what the image files add where it says nothing."""

import difflib
import json
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from trainables.common.errors import UserError
from trainables.data.formats.raster import read_header
from trainables.data.scale import SCALED_BY_TYPE
from trainables.data.tiles import DatasetInfo

OPACITY_NAMES = ("alpha", "a", "opacity")
"""Names of a last band that say what the image file says by itself: it is left out."""


def read_info(root: Path) -> DatasetInfo:
    """What the `dataset.json` of a folder says; the defaults where there is none.

    Raises:
        UserError: It is no JSON, or not what `DatasetInfo` allows.
    """
    path = root / "dataset.json"
    if not path.exists():
        return DatasetInfo()
    try:
        content = json.loads(path.read_bytes())  # UTF-8 or 16, with a byte-order mark or without
        return DatasetInfo.model_validate(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no JSON ({error}): mend or remove it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        rule = first["msg"].removeprefix("Value error, ")
        is_unknown = first["type"] == "extra_forbidden"
        near = difflib.get_close_matches(where, DatasetInfo.model_fields, 1) if is_unknown else ()
        fix = f"call it {near[0]}" if near else "mend it"
        raise UserError(f"{path}: {where} is {first['input']!r}, but {rule}: {fix}") from error


def without_opacity(info: DatasetInfo, image: Path) -> DatasetInfo:
    """The same without a last band that is named as opacity, where the image file calls it opacity, too."""
    if info.bands and info.bands[-1].lower() in OPACITY_NAMES and read_header(image).bands == len(info.bands) - 1:
        return info.model_copy(update={"bands": info.bands[:-1]})
    return info


def complete(info: DatasetInfo, num_bands: int, dtype: str, root: Path) -> DatasetInfo:
    """The same with band names and scale, which follow from the images where nothing is said.

    The scale of wide whole numbers stays None: `scale.fill_scale` finds it in the pixels.

    Args:
        info: What `dataset.json` says.
        num_bands: Of the images.
        dtype: Of the images.
        root: The folder, for errors.

    Raises:
        UserError: The images have another number of bands, or there is not a colour for each class.
    """
    if info.bands and len(info.bands) != num_bands:
        raise UserError(
            f"{root / 'dataset.json'} names {len(info.bands)} bands, but the images have {num_bands}: "
            "name each band once"
        )
    if info.colors_rgb is not None and len(info.colors_rgb) != len(info.classes):
        raise UserError(
            f"{root / 'dataset.json'} has {len(info.colors_rgb)} colours for {len(info.classes)} classes: "
            "give one per class"
        )
    numbered = tuple(f"band{number}" for number in range(1, num_bands + 1))
    bands = info.bands or (("red", "green", "blue") if num_bands == 3 else numbered)
    scale = info.scale
    if scale is None and np.issubdtype(np.dtype(dtype), np.integer):
        scale = 1.0 / float(np.iinfo(dtype).max) if dtype in SCALED_BY_TYPE else None
    elif scale is None:
        scale = 1.0
    return info.model_copy(update={"bands": bands, "scale": scale})
