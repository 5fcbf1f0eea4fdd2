"""The picture of where a pixel of an image looks, one panel per stage of SegFormer."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.drawing import GREY, STYLE, head, render
from trainables.common.errors import UserError
from trainables.common.whole_files import write_all

KINDS = ("png", "svg")

_NEEDED = {"image", "pixel", "padded_px", "model", "stage1"}
_HEAT, _OPACITY = "inferno", 0.6
_GREY_WEIGHTS = (0.299, 0.587, 0.114)  # Source: ITU-R BT.601
_PIXEL = "#56B4E9"  # stands out from the heat map's colours, also to colour-blind eyes


@dataclass(frozen=True, kw_only=True)
class Attention:
    """What `python -m trainables.attention` wrote.

    Attributes:
        model: The architecture's label.
        image: (H, W, 3) uint8 RGB.
        x, y: The pixel that looks: column and row, from 0.
        padded_px: Height and width of what the keys cover, at least the image's.
        stages: (heads, h, w) per stage; each head's sum over keys is 1.
    """

    model: str
    image: NDArray[np.uint8]
    x: int
    y: int
    padded_px: tuple[int, int]
    stages: tuple[NDArray[np.float32], ...]


def read_attention(path: Path) -> Attention:
    """Reads a file of `python -m trainables.attention`.

    Raises:
        UserError: There is no such file, or it holds something else.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file, but must be what python -m trainables.attention wrote: check it")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise UserError(f"{path} is damaged or no .npz file: write it again") from error
    if missing := sorted(_NEEDED - content.keys()):
        raise UserError(f"{path} has no {', '.join(missing)}: pass a file that python -m trainables.attention wrote")
    names = sorted(name for name in content if name.startswith("stage"))
    return Attention(
        model=str(content["model"]),
        image=content["image"],
        x=int(content["pixel"][0]),
        y=int(content["pixel"][1]),
        padded_px=(int(content["padded_px"][0]), int(content["padded_px"][1])),
        stages=tuple(content[name] for name in names),
    )


def shown(stage: NDArray[np.float32], head_number: int | None) -> NDArray[np.float32] | None:
    """Returns the (h, w) weights of one head of a stage (heads, h, w), counted from 1; the mean over heads for None.

    None where the stage has no such head.
    """
    if head_number is None:
        mean: NDArray[np.float32] = stage.mean(axis=0)
        return mean
    return stage[head_number - 1] if head_number <= len(stage) else None


@mpl.rc_context(STYLE)
def draw(attention: Attention, head_number: int | None = None) -> Figure:
    """Returns a row of panels, one per stage: the weights over the greyed image, and the pixel that looks.

    Each has a colour bar of its own, from 0 to its largest weight.

    Raises:
        UserError: No stage has that head.
    """
    most = max(len(stage) for stage in attention.stages)
    if head_number is not None and not 1 <= head_number <= most:
        raise UserError(f"--head is {head_number}, but the stages have heads 1 to {most}: choose one of these")
    height, width = attention.image.shape[:2]
    panel_inches = 3.4
    figure = Figure(
        figsize=(panel_inches * len(attention.stages), 0.9 + panel_inches * 0.8 * min(1.6, height / width)),
        layout="constrained",
    )
    panels = figure.subplots(1, len(attention.stages), squeeze=False)[0]
    for number, (axes, stage) in enumerate(zip(panels, attention.stages, strict=True), start=1):
        weights = shown(stage, head_number)
        _draw_image(axes, attention)
        rows, columns = stage.shape[1:]
        title = f"stage {number}: {rows}×{columns} keys, {len(stage)} head{'s' * (len(stage) > 1)}"
        axes.set_title(title, fontsize=10)
        if weights is None:
            axes.set_xlabel(f"no head {head_number}", color=GREY)
            continue
        heat = axes.imshow(
            weights,
            extent=(0, attention.padded_px[1], attention.padded_px[0], 0),
            cmap=_HEAT,
            alpha=_OPACITY,
            vmin=0.0,
            interpolation="nearest",
        )
        axes.set_xlim(0, width)  # what the image was padded by is not shown
        axes.set_ylim(height, 0)
        bar = figure.colorbar(heat, ax=axes, shrink=0.8, pad=0.02)
        bar.ax.tick_params(labelsize=8)
        bar.ax.locator_params(nbins=4)
    bar.set_label("attention weight of a key", fontsize=9)
    of_head = "mean over heads" if head_number is None else f"head {head_number}"
    where = f"column {attention.x}, row {attention.y}"
    head(figure, f"Attention of {attention.model} from the pixel in {where}; weights sum to 1, {of_head}")
    return figure


def _draw_image(axes: Axes, attention: Attention) -> None:
    height, width = attention.image.shape[:2]
    grey = attention.image.astype(np.float32) @ np.array(_GREY_WEIGHTS, np.float32)
    # No darker than half of white, so that shadows do not look like little attention
    axes.imshow(grey, cmap="gray", vmin=-255, vmax=255, extent=(0, width, height, 0))
    middle = (attention.x + 0.5, attention.y + 0.5)
    axes.plot(*middle, marker="o", markersize=11, markerfacecolor="none", markeredgecolor="white", markeredgewidth=3.5)
    axes.plot(*middle, marker="o", markersize=11, markerfacecolor="none", markeredgecolor=_PIXEL, markeredgewidth=2)
    axes.set_xticks([])
    axes.set_yticks([])


def write_picture(path: Path, to: Path, head_number: int | None = None) -> None:
    """Draws a file of `python -m trainables.attention` into another one, PNG or SVG by its ending.

    Raises:
        UserError: It cannot be read or drawn; nothing is written then.
    """
    kind = to.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise UserError(f"--to is {to}, but must end in .{' or .'.join(KINDS)}: name it so")
    write_all({to: render(draw(read_attention(path), head_number), kind)})
