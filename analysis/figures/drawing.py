"""Says how all figures look: colours, markers, words, the legend, and how a figure becomes a file."""

import io
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import RcKeyType

from analysis.logs.frames import STARTED, Logs
from analysis.tables import formatting as tables

# Source: Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/; its yellow is too light here.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1A1A1B")
MARKERS = "osD^vPX"
INK, GREY, GRID = "#1a1a1b", "#666666", "#dddddd"
"""Of text and outlines, of what is secondary, and of grid lines: the page replaces greys and white by its theme's."""
STYLE: dict[RcKeyType, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # names of classes and tiles are no formulas
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples modulo 1 spread evenly, however many there are
MANY = 200  # more lines or markers than this in one panel are drawn as pixels, which keeps the file small
LEGEND_CHARACTERS = 48
_PNG_DPI = 160


def render(figure: Figure, kind: str) -> bytes:
    """Returns a figure as a "png" or "svg" file: the same bytes whenever it is the same.

    An SVG has no background of its own, so that a page can show it in its theme; a PNG is on white.
    """
    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "png": {"Software": None}}.get(kind)
    paper = "none" if kind == "svg" else "white"
    with mpl.rc_context({**STYLE, "svg.hashsalt": "fewtile"}):
        figure.savefig(buffer, format=kind, dpi=_PNG_DPI, metadata=metadata, facecolor=paper)
    return buffer.getvalue()


def looks(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns the colour and the marker of each architecture, by its label.

    Args:
        labels: In an order that is the same for every figure of a report; repeated ones count once.
    """
    return {
        label: (COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)])
        for place, label in enumerate(dict.fromkeys(labels))
    }


def arm_labels(logs: Logs) -> list[str]:
    """Returns the architecture label of each arm of a study."""
    return [arm["architecture_label"] for arm in logs.study["arms"]]


def ended_words(trials: pd.DataFrame) -> str:
    """Returns how many of some trials finished, were stopped and failed; what else ends a trial is a failure."""
    states = trials.loc[trials["state"] != STARTED, "state"]
    counts = states.where(states.isin(["finished", "stopped"]), "failed").value_counts()
    ended = [f"{counts[state]} {state}" for state in ("finished", "stopped", "failed") if state in counts]
    return ", ".join(ended) or "none has ended"


def tiles_words(tiles: int) -> str:
    """Returns a number of tiles as a panel is headed."""
    return f"{tiles} tile{'s' * (tiles != 1)}"


def metric_words(metric: str) -> str:
    """Returns the judged metric as an axis names it."""
    if metric == "val/iou":
        return "val IoU, full resolution"
    window = re.fullmatch(r"val/iou_center(\d+)", metric)
    return f"val IoU on the centre {window[1]} px of each tile" if window else metric


def trivial_judged(logs: Logs) -> tuple[float, str]:
    """Returns the trivial predictor's IoU on what the trials were judged on, and what a legend calls it."""
    trivial = logs.study["trivial"]
    same = logs.study["judged_metric"] != "val/iou" and "judged" in trivial
    words = f"{tables.trivial_label(logs)} ({'on the same pixels' if same else 'full resolution'})"
    return trivial["judged" if same else "iou"], words


def trivial_handle(words: str) -> Line2D:
    """Returns the legend's line for the trivial predictor."""
    return Line2D([], [], linestyle="--", linewidth=1.2, color=GREY, label=wrap(words, LEGEND_CHARACTERS))


def wrap(text: str, characters: int = 30) -> str:
    """Breaks a label into lines of at most so many characters."""
    return textwrap.fill(text, characters)


def head(figure: Figure, text: str) -> None:
    """Writes what stands above a figure, in lines that fit; nothing where there is no text."""
    if text:
        figure.suptitle(wrap(text, int(10 * figure.get_figwidth())), fontsize=12)


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Puts the legend below the figure."""
    columns = 2 if figure.get_figwidth() >= 7 else 1
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, fontsize=9.5)


def write_right(axes: Axes, line: float, text: str, aside: str = "") -> None:
    """Writes a text at the right of the axes, at that height of the data, and another one in grey below it."""
    for words, colour, size, down in ((text, INK, 10, 5 if aside else 0), (aside, GREY, 8.5, -6)):
        axes.annotate(
            words, (1, line), xycoords=("axes fraction", "data"), xytext=(8, down), textcoords="offset points",
            va="center", color=colour, fontsize=size,
        )  # fmt: skip
