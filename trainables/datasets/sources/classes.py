"""Classes in a source's masks: a split of one class alone is refused, and classes that train lacks are noted."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.data.tiles import DatasetInfo
from trainables.datasets.sources.plan import SPLITS, SourceTile

_MOST_VALUES = 8


def check_classes(tiles: Mapping[str, SourceTile], pixels: Mapping[str, NDArray[np.int64]], info: DatasetInfo) -> None:
    """Refuses a split that is of one class alone: of two classes any split, of more the train split.

    Args:
        tiles: By id.
        pixels: (K + 1,) pixels per class and ignored, by id of the tile.
        info: Of the classes.

    Raises:
        UserError: There is such a split; the message names the values that the masks' own files hold.
    """
    for split in SPLITS:
        its = [tile for tile in tiles.values() if tile.split == split]
        counts = sum((pixels[tile.id] for tile in its), np.zeros(len(info.classes) + 1, np.int64))
        there = [name for name, count in zip(info.classes, counts, strict=False) if count]
        if not its or len(there) > 1 or (there and len(info.classes) > 2 and split != "train"):
            continue
        masks = f"all {len(its)} {split} masks are" if len(its) > 1 else f"the one {split} mask is"
        needed = " and ".join(info.classes) if len(info.classes) == 2 else "two classes or more"
        raise UserError(
            f"{masks} {there[0] if there else 'ignored'} throughout{_values(its)}, but a split needs pixels of "
            f"{needed}: check the masks, or take other tiles"
        )


def absent_class_notes(counts: Mapping[str, NDArray[np.int64]], info: DatasetInfo) -> list[str]:
    """A note on the classes that no train tile has; none where it has all.

    Args:
        counts: (K + 1,) pixels per class and ignored, by split.
        info: Of the classes.
    """
    absent = [name for name, count in zip(info.classes, counts["train"], strict=False) if not count]
    return [f"No train tile has a pixel of {', '.join(absent)}: no model can learn that."] if absent else []


def _values(tiles: Sequence[SourceTile]) -> str:
    """The values in the masks' own files, in brackets; empty where they are not known."""
    found: set[int] = set()
    for tile in tiles:
        if tile.mask_values is None:
            return ""
        found |= {int(value) for value in np.unique(tile.mask_values())}
    shown = [str(value) for value in sorted(found)[:_MOST_VALUES]]
    more = f" and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return f" (in the files: {', '.join(shown)}{more})"
