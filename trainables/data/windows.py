"""Where windows lie over a tile that is too large to be predicted at once, and what is kept of each.

The answer depends on the tile's size alone, never on the memory that happens to be free, so that one model gives one
prediction on every machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

WHOLE_PX = 2048
"""Tiles of up to this side squared (px) are predicted at once, larger ones by windows of this side.

A U-Net of base width 64 takes 5 GiB for so many pixels in float32, which fits into one small GPU or a laptop. Tiles of
5000×5000 px, as Inria's are, would take 30 GiB.
"""

MARGIN_PX = 128
"""Least margin (px) of windows from four times that side up: more than the 108 px that an output of `unet` depends on.

Of larger windows it is an eighth. What a network over a ResNet or a transformer makes of a pixel depends on the whole
window, though little on what is far away, so that it is not the very same as on the whole tile.
"""


@dataclass(frozen=True, slots=True)
class Span:
    """A window along one side of a tile, and what is kept of it (px); stops are behind the last pixel."""

    start: int
    stop: int
    kept_start: int
    kept_stop: int


@dataclass(frozen=True, slots=True)
class Window:
    """A window in a tile: its rows and its columns. What windows keep covers each pixel of the tile once."""

    rows: Span
    columns: Span


class Cut(NamedTuple):
    """How a tile is cut into windows.

    Attributes:
        height: Of the tile with its padding (px), and `width` as well.
        window_px: Side of its windows, as `windows` takes it.
    """

    height: int
    width: int
    window_px: int | None

    @property
    def seen_px(self) -> tuple[int, int]:
        """Height and width of what is predicted at once."""
        return min(self.height, self.window_px or self.height), min(self.width, self.window_px or self.width)


def cut(
    height: int,
    width: int,
    *,
    stride: int,
    only_px: int | None = None,
    whole_px: int = WHOLE_PX,
    window_px: int | None = None,
) -> Cut:
    """How a tile is cut that a network predicts; see `predict.predict_parts`.

    Args:
        height: Of the tile (px).
        width: As well.
        stride: What sides are padded to (px).
        only_px: The one side that the network takes; None where any will do.
        whole_px: Side of the largest square that it predicts at once.
        window_px: Side of windows for any tile with a longer side.
    """
    if only_px is not None:
        window_px = only_px
    elif window_px is not None:
        window_px = max(1, window_px // stride) * stride
    elif height * width > whole_px**2:
        window_px = max(1, whole_px // stride) * stride
    bottom, right = (
        -side % stride if only_px is None else max(-side % stride, only_px - side) for side in (height, width)
    )
    return Cut(height + bottom, width + right, window_px)


def tried_px(least_px: int, stride: int) -> int:
    """A side (px) to try a network at: an odd multiple of `stride`, which no larger stride divides, from about
    `least_px` on.
    """
    return stride * (-(-least_px // stride) | 1)


def margin_of(window_px: int, stride: int) -> int:
    """What is thrown away at a window's sides that are not the tile's (px): a multiple of `stride`, at most a quarter.

    So a window's middle, and what networks pool or reduce in it, lies on the same grid as in the whole tile.
    """
    return max(window_px // 8, min(MARGIN_PX, window_px // 4)) // stride * stride


def windows(height: int, width: int, *, window_px: int | None, stride: int) -> Iterator[Window]:
    """Windows over a tile, row by row.

    Args:
        height: Of the tile (px), a multiple of `stride`.
        width: As well.
        window_px: Side of the windows, a multiple of `stride`; a side of the tile that is no longer is taken whole.
            None for one window of the whole tile.
        stride: What starts and stops of windows divide by (px).
    """
    for rows in _spans(height, window_px or height, stride):
        for columns in _spans(width, window_px or width, stride):
            yield Window(rows, columns)


def _spans(length: int, window_px: int, stride: int) -> list[Span]:
    """Windows along one side: of equal length, the last one moved back to end where the tile does."""
    if length <= window_px:
        return [Span(0, length, 0, length)]
    margin = margin_of(window_px, stride)
    starts = [*range(0, length - window_px, window_px - 2 * margin), length - window_px]
    kept_stops = [*(start + window_px - margin for start in starts[:-1]), length]
    kept_starts = [0, *kept_stops[:-1]]
    stops = (start + window_px for start in starts)
    return [Span(*edges) for edges in zip(starts, stops, kept_starts, kept_stops, strict=True)]
