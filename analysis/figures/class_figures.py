"""Draws how often each class occurs, and how well each architecture finds it."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.drawing import GREY, INK, STYLE, head, legend, looks, wrap
from analysis.tables.classes import MEAN

_SPLITS = {"train": 1.0, "val": 0.6, "test": 0.3}
"""How opaque the bars of each split are."""

_STEP = 0.62  # of a class's line, that its architectures' marks are spread over


@mpl.rc_context(STYLE)
def shares(frame: pd.DataFrame, colors: Mapping[str, str], *, title: str = "") -> Figure:
    """Draws the share of each class in the pixels of each split, a bar per class and split.

    Args:
        frame: As of `classes.class_shares`.
        colors: `#rrggbb` by class; what it lacks is grey.
        title: What stands above.
    """
    splits = [split for split in _SPLITS if split in frame]
    figure = Figure(figsize=(8.0, 1.3 + 0.42 * len(frame)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(splits)
    for place, split in enumerate(splits):
        lines = [line - 0.4 + (place + 0.5) * height for line in range(len(frame))]
        filled = [colors.get(name, GREY) for name in frame["class"]]
        bars = axes.barh(lines, frame[split].fillna(0), height * 0.9, color=filled, edgecolor=INK, linewidth=0.6)
        for bar, share in zip(bars, frame[split], strict=True):
            bar.set_alpha(_SPLITS[split])
            words = "unknown" if pd.isna(share) else f"{split} {100 * share:.1f} %"
            axes.annotate(
                words, (0 if pd.isna(share) else share, bar.get_y() + bar.get_height() / 2), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=7.5, color=INK,
            )  # fmt: skip
    axes.set_yticks(range(len(frame)), [wrap(name) for name in frame["class"]], fontsize=9)
    axes.set_ylim(len(frame) - 0.45, -0.55)
    axes.set_xlim(0, 1.12 * frame[splits].to_numpy(dtype="float64", na_value=0.0).max())
    axes.set_xlabel("share of the pixels that count (ignored: of all pixels)")
    axes.tick_params(left=False)
    axes.grid(axis="x")
    head(figure, title)
    return figure


@mpl.rc_context(STYLE)
def by_class(frame: pd.DataFrame, *, metric: str, title: str = "", labels: Sequence[str] = ()) -> Figure:
    """Draws every architecture's score of each class, a line per class, and the trivial predictor's as a grey bar.

    Args:
        frame: `class`, its share of the pixels, then a column per architecture, the trivial predictor's
            last.
        metric: What the values are, for the axis.
        title: What stands above.
        labels: As for `looks`; those of the frame where there are none.
    """
    *architectures, trivial = frame.columns[2:]
    styles = looks([*labels, *architectures])
    figure = Figure(figsize=(9.0, 1.9 + (0.3 + 0.11 * len(architectures)) * len(frame)), layout="constrained")
    axes = figure.subplots()
    step = _STEP / max(1, len(architectures) - 1)
    for line, row in enumerate(frame.to_dict("records")):
        axes.axhline(line + 0.5, color=GREY, linewidth=0.4, alpha=0.5)
        axes.plot([row[trivial]] * 2, [line - 0.4, line + 0.4], color=GREY, linewidth=3, solid_capstyle="butt")
        for place, label in enumerate(architectures):
            colour, marker = styles[label]
            height = line + (place * step - _STEP / 2 if len(architectures) > 1 else 0.0)
            axes.plot(row[label], height, marker, color=colour, markersize=7, mec=INK, mew=0.6)
    names = [
        name if pd.isna(share) else f"{name} ({100 * share:.1f} %)" for name, share in frame.iloc[:, :2].to_numpy()
    ]
    axes.set_yticks(range(len(frame)), [wrap(name) for name in names], fontsize=9)
    for text, name in zip(axes.get_yticklabels(), frame["class"], strict=True):
        text.set_fontweight("bold" if name == MEAN else "normal")
    axes.set_ylim(len(frame) - 0.45, -0.55)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(metric)
    axes.tick_params(left=False)
    axes.grid(axis="x")
    head(figure, title)
    handles = [
        Line2D([], [], linestyle="", marker=styles[label][1], color=styles[label][0], mec=INK, label=wrap(label, 44))
        for label in architectures
    ]
    legend(figure, [*handles, Line2D([], [], color=GREY, linewidth=3, label=trivial)])
    return figure
