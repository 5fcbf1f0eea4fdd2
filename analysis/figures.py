"""Draws the figures of a study from its logs; nothing here keeps state between figures."""

import io
import math
import re
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import tables
from analysis.logs import Logs

# Source: Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/; its yellow is too light here.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
_GREY = "#666666"
_PICTURES_PER_ROW = 3
_PICTURE_WIDTH, _HEADING, _MARGIN = 4.2, 0.3, 0.15  # inches
_GOLDEN = (math.sqrt(5) - 1) / 2
_PNG_DPI = 160
_JPG_DPI = 110


def iou_by_architecture(logs: Logs) -> Figure:
    """Draws a dot per trial, on the judged metric, with a line per arm and a panel per number of tiles.

    Filled dots are trials that ran their course, hollow ones were stopped early; failed trials have none. The selected
    trial is a large diamond with the full-resolution val IoU of its best checkpoint as a number, and as a bar where the
    trials were judged by another metric. The dashed line is the trivial predictor on the pixels that the trials were
    judged on.
    """
    study = logs.study
    looks = _looks(logs)
    judged_elsewhere = study["judged_metric"] != "val/iou"
    budgets = sorted({arm["tiles"] for arm in study["arms"]}, reverse=True)
    arms = {tiles: [arm for arm in study["arms"] if arm["tiles"] == tiles] for tiles in budgets}
    num_lines = sum(len(group) for group in arms.values())
    figure = Figure(figsize=(9.0, 1.7 + 0.62 * num_lines + 0.3 * len(budgets)), layout="constrained")
    panels = figure.subplots(
        len(budgets), 1, sharex=True, squeeze=False, height_ratios=[len(arms[tiles]) + 0.3 for tiles in budgets]
    )[:, 0]
    for axes, tiles in zip(panels, budgets, strict=True):
        for line, arm in enumerate(arms[tiles]):
            _draw_arm(axes, logs, arm["arm"], line, looks[arm["architecture_label"]][0], full=judged_elsewhere)
        axes.axvline(_trivial_judged(logs)[0], color=_GREY, linestyle="--", linewidth=1.2, zorder=1)
        axes.set_yticks(range(len(arms[tiles])), [_arm_label(logs, arm) for arm in arms[tiles]])
        axes.set_ylim(len(arms[tiles]) - 0.45, -0.55)
        axes.set_title(f"{tiles} tiles", loc="left", fontsize=10, fontweight="bold")
        _clean(axes, grid="x")
    panels[-1].set_xlabel(_metric_words(study["judged_metric"]))
    figure.suptitle(f"Trials of {study['study']}, profile {study['profile']}, seed {study['seed']}", fontsize=12)
    figure.legend(handles=_legend(logs, full=judged_elsewhere), loc="outside lower center", ncols=2, frameon=False)
    return figure


def iou_by_tiles(logs: Logs) -> Figure | None:
    """Draws the best val IoU against the number of labelled tiles, a line per architecture.

    Returns None where there are fewer than two budgets, so nothing to compare.
    """
    table = tables.iou_by_tiles(logs)
    budgets = [int(column) for column in table.columns[1:]]
    if len(budgets) < 2:
        return None
    study = logs.study
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    for label, (colour, marker) in _looks(logs).items():
        values = table.loc[table["architecture"] == label].iloc[0, 1:].astype("float64")
        known = [(tiles, value) for tiles, value in zip(budgets, values, strict=True) if not math.isnan(value)]
        axes.plot(*zip(*known, strict=True) if known else ((), ()), color=colour, marker=marker, label=label)
    axes.axhline(study["trivial"]["iou"], color=_GREY, linestyle="--", linewidth=1.2, label=tables.trivial_label(logs))
    axes.set_xticks(budgets)
    axes.set_xlabel("labelled tiles to learn from (the smaller subsets are part of the larger)")
    axes.set_ylabel("val IoU at full resolution, best of the arm's trials")
    axes.set_title(f"{study['study']}, profile {study['profile']}, seed {study['seed']}", fontsize=12)
    _clean(axes, grid="y")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def predictions(logs: Logs) -> Figure | None:
    """Draws the logged pictures of the selected trials, a block per arm, or returns None where none are logged.

    Each picture shows one val tile: image, truth and prediction side by side.
    """
    if logs.images.empty:
        return None
    pictures = {
        arm: [(row["caption"], matplotlib.image.imread(row["path"])) for row in rows.to_dict("records")]
        for arm, rows in logs.images.groupby("arm", sort=False)
    }
    num_columns = min(_PICTURES_PER_ROW, max(len(block) for block in pictures.values()))
    aspects = [image.shape[0] / image.shape[1] for block in pictures.values() for _, image in block]
    picture_height = _PICTURE_WIDTH * max(aspects)
    num_rows = sum(math.ceil(len(block) / num_columns) for block in pictures.values())
    width = _MARGIN + num_columns * (_PICTURE_WIDTH + _MARGIN)
    height = _HEADING * (1 + len(pictures)) + num_rows * (_HEADING + picture_height) + _MARGIN
    figure = Figure(figsize=(width, height))

    def write(text: str, left: float, top: float, **font: Any) -> None:
        figure.text(left / width, 1 - (top + _HEADING / 2) / height, text, va="center", **font)

    write("Selected trials on the val tiles: image, truth, prediction", _MARGIN, 0, fontsize=13)
    top = _HEADING
    labels = {arm["arm"]: f"{arm['architecture_label']}, {arm['tiles']} tiles" for arm in logs.study["arms"]}
    for arm, block in pictures.items():
        write(labels[str(arm)], _MARGIN, top, fontsize=11, fontweight="bold")
        top += _HEADING
        for place, (caption, image) in enumerate(block):
            left = _MARGIN + (place % num_columns) * (_PICTURE_WIDTH + _MARGIN)
            bottom = top + (place // num_columns + 1) * (_HEADING + picture_height)
            write(caption, left, bottom - picture_height - _HEADING, fontsize=9)
            axes = figure.add_axes(
                (left / width, 1 - bottom / height, _PICTURE_WIDTH / width, picture_height / height), anchor="NW"
            )
            axes.imshow(image, cmap="gray")
            axes.set_axis_off()
        top += math.ceil(len(block) / num_columns) * (_HEADING + picture_height)
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """Returns a figure as a "png", "svg" or "jpg" (photographs) file: the same bytes whenever it is the same."""
    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "png": {"Software": None}}.get(kind)
    with mpl.rc_context({"svg.hashsalt": "fewtile"}):
        figure.savefig(buffer, format=kind, dpi=_JPG_DPI if kind == "jpg" else _PNG_DPI, metadata=metadata)
    return buffer.getvalue()


def _draw_arm(axes: Axes, logs: Logs, arm: str, line: int, colour: str, *, full: bool) -> None:
    """Draws the trials of one arm on the line of that number; `full` marks the full-resolution val IoU as well."""
    trials = logs.runs[(logs.runs["arm"] == arm) & logs.runs["state"].isin(["finished", "stopped"])]
    selected = logs.selection[logs.selection["arm"] == arm]
    for number, state, judged in zip(trials["number"], trials["state"], trials["judged"], strict=True):
        if number in set(selected["number"]):
            continue
        height = line + 0.5 * (number * _GOLDEN % 1 - 0.5)  # spread, so that equal values stay apart
        face = colour if state == "finished" else "white"
        axes.plot(judged, height, "o", markersize=6, markerfacecolor=face, markeredgecolor=colour, alpha=0.7, zorder=2)
    for judged, val_iou in zip(selected["judged"], selected["val_iou"], strict=True):
        axes.plot(judged, line, "D", markersize=10, markerfacecolor=colour, markeredgecolor="black", zorder=4)
        if full:
            axes.plot(val_iou, line, "|", markersize=18, markeredgewidth=2.5, color="black", zorder=3)
        axes.annotate(
            f"{val_iou:.3f}", (1, line), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=10,
        )  # fmt: skip


def _legend(logs: Logs, *, full: bool) -> list[Line2D]:
    selected = "selected trial" if full else "selected trial, its val IoU at the right"
    handles = [
        Line2D([], [], linestyle="", color=_GREY, marker="o", label="trial that ran its course"),
        Line2D([], [], linestyle="", color=_GREY, marker="o", markerfacecolor="white", label="trial stopped early"),
        Line2D([], [], linestyle="", color=_GREY, marker="D", markersize=9, mec="black", label=selected),
        Line2D([], [], linestyle="--", color=_GREY, label=f"{tables.trivial_label(logs)} ({_trivial_judged(logs)[1]})"),
    ]
    if full:
        bar = Line2D([], [], linestyle="", marker="|", markersize=14, markeredgewidth=2.5, color="black")
        bar.set_label("its val IoU at full resolution, as at the right")
        handles.insert(3, bar)
    return handles


def _trivial_judged(logs: Logs) -> tuple[float, str]:
    """Returns the trivial predictor's IoU on what the trials were judged on, and what that is."""
    trivial = logs.study["trivial"]
    if logs.study["judged_metric"] != "val/iou" and "judged" in trivial:
        return trivial["judged"], "on the same pixels"
    return trivial["iou"], "full resolution"


def _arm_label(logs: Logs, arm: dict[str, object]) -> str:
    states = logs.runs.loc[logs.runs["arm"] == arm["arm"], "state"].replace(dict.fromkeys(tables.FAILED, "failed"))
    counts = states.value_counts()
    ended = [f"{counts[state]} {state}" for state in ("finished", "stopped", "failed") if state in counts]
    return f"{arm['architecture_label']}\n{', '.join(ended) or 'no trial has ended'}"


def _looks(logs: Logs) -> dict[str, tuple[str, str]]:
    """Returns the colour and the marker of each architecture, by its label: the same in every figure of the study."""
    labels = dict.fromkeys(arm["architecture_label"] for arm in logs.study["arms"])
    return {
        label: (COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)])
        for place, label in enumerate(labels)
    }


def _metric_words(metric: str) -> str:
    if metric == "val/iou":
        return "best val IoU of the trial, full resolution"
    window = re.fullmatch(r"val/iou_center(\d+)", metric)
    if window:
        return f"best val IoU of the trial, on the centre {window[1]} px of each tile ({metric})"
    return f"best {metric} of the trial"


def _clean(axes: Axes, *, grid: Literal["x", "y"]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
