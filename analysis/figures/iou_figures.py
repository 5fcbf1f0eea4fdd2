"""Draws IoU: of every trial, by architecture with intervals, and against the number of tiles."""

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from analysis.figures.drawing import (
    GOLDEN,
    GREY,
    INK,
    LEGEND_CHARACTERS,
    MANY,
    STYLE,
    arm_labels,
    ended_words,
    head,
    legend,
    looks,
    metric_words,
    tiles_words,
    trivial_handle,
    trivial_judged,
    wrap,
    write_right,
)
from analysis.logs.frames import Logs
from analysis.logs.run_configs import competing
from analysis.tables import formatting as tables


@mpl.rc_context(STYLE)
def trials(logs: Logs, labels: Sequence[str] = ()) -> Figure | None:
    """Draws a dot per trial of the search, on the judged metric, with a line per arm and a panel per number of tiles.

    Filled dots are finished trials, hollow ones were stopped early; failed trials have none. The selected
    trial is a large diamond with the full-resolution val IoU of its best checkpoint as a number, and as a bar where the
    trials were judged by another metric. The dashed line is the trivial predictor on what the trials were judged on.
    Returns None where the study has no search.

    Args:
        logs: Of one study.
        labels: As for `looks`; those of the study where there are none.
    """
    search = logs.runs[logs.runs["stage"] == "search"]
    if search.empty:
        return None
    study, searched = logs.study, competing(logs.study["arms"])
    styles = looks([*labels, *arm_labels(logs)])
    judged_elsewhere = study["judged_metric"] != "val/iou"
    budgets = sorted({arm["tiles"] for arm in searched}, reverse=True)
    arms = {tiles: [arm for arm in searched if arm["tiles"] == tiles] for tiles in budgets}
    figure = Figure(figsize=(9.0, 2.0 + 0.62 * len(searched) + 0.3 * len(budgets)), layout="constrained")
    ratios = [len(arms[tiles]) + 0.3 for tiles in budgets]
    panels = figure.subplots(len(budgets), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, tiles in zip(panels, budgets, strict=True):
        names = []
        for line, arm in enumerate(arms[tiles]):
            its = search[search["arm"] == arm["arm"]]
            selected = logs.selection[logs.selection["arm"] == arm["arm"]]
            _draw_trials(axes, its, selected, line, styles[arm["architecture_label"]][0], full=judged_elsewhere)
            names.append(f"{wrap(arm['architecture_label'])}\n{ended_words(its)}")
        axes.axvline(trivial_judged(logs)[0], color=GREY, linestyle="--", linewidth=1.2, zorder=1)
        axes.set_yticks(range(len(names)), names, fontsize=9)
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_title(tiles_words(tiles), loc="left", fontsize=10, fontweight="bold")
        axes.grid(axis="x")
    panels[-1].set_xlabel(f"best of the trial: {metric_words(study['judged_metric'])}")
    head(figure, f"Trials of {study['study']}, profile {study['profile']}, seed {study['seed']}")
    legend(figure, _trial_handles(logs, full=judged_elsewhere))
    return figure


@mpl.rc_context(STYLE)
def intervals(
    means: pd.DataFrame,
    models: pd.DataFrame,
    *,
    metric: str,
    trivial: float | None,
    title: str = "",
    labels: Sequence[str] = (),
) -> Figure:
    """Draws a line per architecture: its mean with the interval, and a dot per model; a panel per number of tiles.

    Args:
        means: In the order to show: `label`, `tiles`, `mean`, `low` and `high` (missing where there is no interval),
            `num_models`.
        models: A row per model: `label`, `tiles`, `value`.
        metric: What the values are, for the axis.
        trivial: The trivial predictor's value, as a dashed line.
        title: What stands above.
        labels: As for `looks`; those of `means` where there are none.
    """
    styles = looks([*labels, *means["label"]])
    panels = {int(tiles): means[means["tiles"] == tiles] for tiles in means["tiles"].unique()}
    figure = Figure(figsize=(9.0, 1.7 + 0.48 * len(means) + 0.35 * len(panels)), layout="constrained")
    ratios = [len(group) + 0.4 for group in panels.values()]
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, (tiles, group) in zip(grid, panels.items(), strict=True):
        for line, row in enumerate(group.to_dict("records")):
            colour, marker = styles[row["label"]]
            its = (models["label"] == row["label"]) & (models["tiles"] == tiles)
            values = models.loc[its, "value"].dropna().to_numpy()
            heights = [line + 0.22 + 0.14 * (place * GOLDEN % 1) for place in range(len(values))]  # clear of the bar
            axes.plot(values, heights, "o", color=colour, markersize=4.5, alpha=0.55, mew=0, zorder=2)
            axes.hlines(line, row["low"], row["high"], color=colour, linewidth=2.4, zorder=3)
            axes.plot([row["low"], row["high"]], [line, line], "|", color=colour, markersize=9, mew=2, zorder=3)
            axes.plot(row["mean"], line, marker, color=colour, markersize=9, mec=INK, zorder=4)
            write_right(axes, line, *_mean_words(row))
        if trivial is not None:
            axes.axvline(trivial, color=GREY, linestyle="--", linewidth=1.2, zorder=1)
        axes.set_yticks(range(len(group)), [wrap(label) for label in group["label"]], fontsize=9)
        axes.set_ylim(len(group) - 0.45, -0.55)
        axes.set_title(tiles_words(tiles), loc="left", fontsize=10, fontweight="bold")
        axes.grid(axis="x")
    grid[-1].set_xlabel(metric)
    head(figure, title)
    legend(figure, _interval_handles(trivial))
    return figure


@mpl.rc_context(STYLE)
def by_tiles(
    means: pd.DataFrame,
    models: pd.DataFrame,
    *,
    metric: str,
    trivial: float | None,
    title: str = "",
    labels: Sequence[str] = (),
) -> Figure | None:
    """Draws the means against the number of tiles, a line per architecture with its intervals and a dot per model.

    Architectures stand slightly beside each other at every budget, and models at the left of their interval. The axis
    is logarithmic: twice the tiles are the same step everywhere.

    Args:
        means: As for `intervals`, like all that follows.
        models: A row per model.
        metric: What the values are.
        trivial: The trivial predictor's value.
        title: What stands above.
        labels: As for `looks`.

    Returns:
        None where there are fewer than two budgets, so nothing to compare.
    """
    budgets = sorted({int(tiles) for tiles in means["tiles"]})
    if len(budgets) < 2:
        return None
    styles = looks([*labels, *means["label"]])
    shown = [label for label in styles if label in set(means["label"])]
    figure = Figure(figsize=(9.0, 4.6 + 0.12 * len(shown)), layout="constrained")
    axes = figure.subplots()
    gap = min(math.log2(more / fewer) for fewer, more in pairwise(budgets))
    step = min(0.05, 0.6 * gap / len(shown))  # in doublings of the tiles
    handles = []
    for place, label in enumerate(shown):
        colour, marker = styles[label]
        aside = 2.0 ** (step * (place - (len(shown) - 1) / 2))
        its = means[means["label"] == label].sort_values("tiles").dropna(subset="mean")
        its_models = models[models["label"] == label]
        tiles = its["tiles"].astype("float64") * aside
        beside = its_models["tiles"].astype("float64") * aside * 2.0 ** (-0.3 * step)
        axes.plot(beside, its_models["value"], "o", color=colour, markersize=4, alpha=0.45, mew=0, zorder=2)
        axes.vlines(tiles, its["low"], its["high"], color=colour, linewidth=1.8, zorder=3)
        axes.plot(tiles, its["mean"], color=colour, marker=marker, markersize=7.5, mec=INK, linewidth=1.6, zorder=4)
        handles.append(
            Line2D([], [], color=colour, marker=marker, markersize=7.5, mec=INK, label=wrap(label, LEGEND_CHARACTERS))
        )
    if trivial is not None:
        axes.axhline(trivial, color=GREY, linestyle="--", linewidth=1.2, zorder=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(budgets, [str(tiles) for tiles in budgets])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("labelled tiles to learn from")
    axes.set_ylabel(metric)
    axes.grid(axis="y")
    head(figure, title)
    legend(figure, [*handles, *_interval_handles(trivial)[1:]])
    return figure


def _draw_trials(
    axes: Axes, search: pd.DataFrame, selected: pd.DataFrame, line: int, colour: str, *, full: bool
) -> None:
    """Draws the trials of one arm on the line of that number; `full` marks the full-resolution val IoU as well."""
    others = search[~search["number"].isin(selected["number"])]
    heights = line + 0.5 * (others["number"] * GOLDEN % 1 - 0.5)  # spread, so that equal values stay apart
    for state, face in (("finished", colour), ("stopped", "white")):
        its = others["state"] == state
        axes.plot(
            others.loc[its, "judged"], heights[its], "o", markersize=6 if len(others) <= MANY else 4, alpha=0.7,
            markerfacecolor=face, markeredgecolor=colour, zorder=2, rasterized=len(others) > MANY,
        )  # fmt: skip
    for judged, val_iou in zip(selected["judged"], selected["val_iou"], strict=True):
        axes.plot(judged, line, "D", markersize=10, markerfacecolor=colour, markeredgecolor=INK, zorder=4)
        if full:
            axes.plot(val_iou, line, "|", markersize=18, markeredgewidth=2.5, color=INK, zorder=3)
        write_right(axes, line, tables.MISSING if math.isnan(val_iou) else f"{val_iou:.3f}")


def _trial_handles(logs: Logs, *, full: bool) -> list[Line2D]:
    selected = "selected trial" if full else "selected trial, its val IoU at the right"
    handles = [
        Line2D([], [], linestyle="", color=GREY, marker="o", label="finished trial"),
        Line2D(
            [], [], linestyle="", color=GREY, marker="o", markerfacecolor="white", label="trial stopped early by ASHA"
        ),
        Line2D([], [], linestyle="", color=GREY, marker="D", markersize=9, mec=INK, label=selected),
    ]
    if full:
        bar = Line2D([], [], linestyle="", color=INK, marker="|", markersize=14, markeredgewidth=2.5)
        bar.set_label("its val IoU at full resolution, as at the right")
        handles.append(bar)
    return [*handles, trivial_handle(trivial_judged(logs)[1])]


def _mean_words(row: Mapping[Hashable, Any]) -> tuple[str, str]:
    """Returns a row's mean, and its interval or why there is none."""
    if not pd.isna(row["low"]):
        return f"{row['mean']:.3f}", f"[{row['low']:.3f}, {row['high']:.3f}]"
    count = int(row["num_models"])
    mean = tables.MISSING if pd.isna(row["mean"]) else f"{row['mean']:.3f}"
    return mean, "n = 1" if count == 1 else f"n = {count}, no interval" if count else "no model"


def _interval_handles(trivial: float | None) -> list[Line2D]:
    handles = [
        Line2D([], [], linestyle="", color=GREY, marker="o", markersize=8, mec=INK, label="mean"),
        Line2D([], [], color=GREY, linewidth=2.2, label="95 % interval, where there is one"),
        Line2D([], [], linestyle="", color=GREY, marker="o", markersize=4.5, alpha=0.5, mew=0, label="one model"),
    ]
    if trivial is not None:
        handles.append(trivial_handle(f"trivial predictor ({trivial:.3f})"))
    return handles
