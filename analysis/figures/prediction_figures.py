"""Draws some tiles with their truth and what architectures predict for them: a study at a glance."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from analysis.figures.drawing import GREY, INK, STYLE, head

_PANEL_INCHES = 1.9
_HEAD_INCHES = 1.1


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one architecture predicts.

    Attributes:
        label: Of the architecture.
        score: Its mean score, such as `test IoU 0.68`.
        pictures: A PNG or JPEG file per tile, the prediction over the image; None where it cannot be read.
        words: What is said of each picture, such as `IoU 0.71`.
    """

    label: str
    score: str
    pictures: Sequence[bytes | None]
    words: Sequence[str]


@mpl.rc_context(STYLE)
def side_by_side(
    tiles: Sequence[tuple[str, bytes, bytes]], columns: Sequence[Column], *, title: str = ""
) -> Figure | None:
    """Draws a row per tile: the image, the truth, and the prediction of each architecture with its score above it.

    Args:
        tiles: Of each tile what it is, its image, and its truth over the image, as PNG or JPEG files.
        columns: In their order, the best first, which is set in bold.
        title: Stands above all of it.

    Returns:
        None where there is no tile or no architecture.
    """
    if not tiles or not columns:
        return None
    width = _PANEL_INCHES * (2 + len(columns))
    figure = Figure(figsize=(width, _PANEL_INCHES * len(tiles) + _HEAD_INCHES), layout="constrained")
    panels = figure.subplots(len(tiles), 2 + len(columns), squeeze=False)
    for row, (what, image, truth) in zip(panels, tiles, strict=True):
        _show(row[0], image)
        _show(row[1], truth)
        row[0].set_ylabel(what, fontsize=9.5)
    for axes, heading in zip(panels[0], ("image", "truth"), strict=False):
        axes.set_title(heading, fontsize=9.5)
    for place, column in enumerate(columns):
        weight = "normal" if place else "bold"
        lines = column.label.replace(":", ":\n").replace("@", "\n@").replace(" (", "\n(")
        panels[0][place + 2].set_title(f"{lines}\n{column.score}", fontsize=9.5, fontweight=weight)
        for row, picture, words in zip(panels, column.pictures, column.words, strict=True):
            _show(row[place + 2], picture)
            row[place + 2].set_xlabel(words, fontsize=9, color=INK if picture else GREY)
    head(figure, title)
    return figure


def _show(axes: Axes, picture: bytes | None) -> None:
    """Shows a picture file, or nothing."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if picture is not None:
        with Image.open(io.BytesIO(picture)) as file:
            axes.imshow(np.asarray(file.convert("RGB")))
