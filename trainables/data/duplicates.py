"""Finds images that are in several splits: as they are, turned or mirrored, compressed anew, brighter or rescaled."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.common.splits import independent
from trainables.data.layout.folder import named

SIDE_PX = 16

SAMPLED_PX = 128
"""Of larger images every so many-th pixel is looked at: all of them would take 50 ms for 1024×1024."""

ALIKE = 0.95
"""Least correlation of two thumbnails of one image.

Source: tiles of roofs, roads and clouds have at most 0.76 with each other, in all eight views; and at least 0.99 with
themselves after 20 % more brightness and JPEG of quality 30.
"""

CHUNK = 256
"""Tiles that are compared with all of another split at a time: 10,000 take 80 MB then."""

Thumbnails = NDArray[np.float32]
"""(N, SIDE_PX, SIDE_PX) with mean 0 and norm 1 each; 0 all over for an image without contrast, which is like none."""


def thumbnails(images: Iterable[NDArray[np.generic]]) -> Thumbnails:
    """Thumbnails of images (H, W, C) of any sizes and dtype: their mean over bands, NaN being 0."""
    found = [_thumbnail(image) for image in images]
    return np.stack(found) if found else np.empty((0, SIDE_PX, SIDE_PX), np.float32)


def _thumbnail(image: NDArray[np.generic]) -> Thumbnails:
    rows, columns = (max(1, side // SAMPLED_PX) for side in image.shape[:2])
    grey = np.nan_to_num(image[::rows, ::columns].astype(np.float32)).mean(axis=2)
    small: Thumbnails = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    centred = small - small.mean()
    norm = float(np.linalg.norm(centred))
    return centred / norm if norm > 1e-4 * float(np.abs(small).sum()) else np.zeros_like(small)


def duplicates(splits: Mapping[str, tuple[Sequence[str], Thumbnails]]) -> tuple[str, ...]:
    """A sentence on images that two splits share; none where they share none.

    Args:
        splits: Ids and thumbnails of the tiles, by split.
    """
    pairs = []
    for (split, (ids, ours)), (other, (other_ids, theirs)) in combinations(splits.items(), 2):
        if not independent(split, other):
            continue
        views = np.stack([view.reshape(len(theirs), SIDE_PX**2) for view in _views(theirs)], axis=1)
        for start in range(0, len(ours), CHUNK):
            flat = ours[start : start + CHUNK].reshape(-1, SIDE_PX**2)
            best = np.einsum("ap,bvp->abv", flat, views, optimize=True).max(axis=2, initial=-1.0)
            pairs += [
                f"{split} tile {ids[start + a]} and {other} tile {other_ids[b]}" for a, b in np.argwhere(best > ALIKE)
            ]
    if not pairs:
        return ()
    return (
        f"tiles of different splits show the same image, as it is, turned or slightly changed ({named(pairs)}): scores "
        "on them are better than on new images",
    )


def _views(small: Thumbnails) -> list[Thumbnails]:
    """The eight views of a square: turned by quarters, and mirrored."""
    return [np.rot90(image, turns, axes=(1, 2)) for image in (small, small.transpose(0, 2, 1)) for turns in range(4)]
