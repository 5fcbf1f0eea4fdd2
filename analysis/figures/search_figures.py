"""Draws what mattered in a search: importance, parallel coordinates, and fixed values of one hyperparameter."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.figures.drawing import (
    GOLDEN,
    GREY,
    INK,
    LEGEND_CHARACTERS,
    MANY,
    STYLE,
    head,
    legend,
    looks,
    metric_words,
    tiles_words,
    trivial_handle,
    wrap,
)
from analysis.logs.frames import Logs
from analysis.stats.arrays import FloatArray
from analysis.tables import formatting as tables
from analysis.tables.contrasts import PRESETS
from analysis.tables.settings import HYPERPARAMETERS

# Without its ends, viridis can be seen on white and on black. Source: van der Walt and Smith, matplotlib 1.5, 2015.
_VALUES = LinearSegmentedColormap.from_list("values", [*mpl.colormaps["viridis"](np.linspace(0.3, 0.85, 64))])
_SPREAD = 0.07  # of an axis: what lines that share a category are spread over


@mpl.rc_context(STYLE)
def importance(frame: pd.DataFrame, *, title: str = "", labels: Sequence[str] = ()) -> Figure:
    """Draws how much each hyperparameter decided, a bar per architecture in a panel per hyperparameter.

    Args:
        frame: `label`, `tiles`, `hyperparameter`, `importance` (in [0, 1], missing where unknown),
            `at_bound` (whether the selected value lies at an end of its range, which is marked); in the order to show,
            a row of panels per number of tiles.
        title: What stands above.
        labels: As for `looks`; those of the frame where there are none.
    """
    styles = looks([*labels, *frame["label"]])
    budgets = list(dict.fromkeys(int(tiles) for tiles in frame["tiles"]))
    names = list(dict.fromkeys(frame["hyperparameter"]))
    shown = {tiles: list(dict.fromkeys(frame.loc[frame["tiles"] == tiles, "label"])) for tiles in budgets}
    ratios = [len(shown[tiles]) + 0.5 for tiles in budgets]
    figure = Figure(figsize=(2.4 + 1.65 * max(2, len(names)), 1.5 + 0.4 * sum(ratios)), layout="constrained")
    panels = figure.subplots(len(budgets), len(names), sharex=True, sharey="row", squeeze=False, height_ratios=ratios)
    for row, tiles in zip(panels, budgets, strict=True):
        for axes, name in zip(row, names, strict=True):
            its = frame[(frame["tiles"] == tiles) & (frame["hyperparameter"] == name)].set_index("label")
            for line, label in enumerate(shown[tiles]):
                if label in its.index:
                    _draw_share(axes, line, its.loc[label, "importance"], bool(its.loc[label, "at_bound"]),
                                styles[label][0])  # fmt: skip
            axes.axvline(0, color=GREY, linewidth=0.8)
            axes.spines[["left", "bottom"]].set_visible(False)
            axes.tick_params(left=False, bottom=False, labelbottom=False)
        row[0].set_yticks(range(len(shown[tiles])), [wrap(label) for label in shown[tiles]], fontsize=9)
        row[0].set_ylim(len(shown[tiles]) - 0.45, -0.55)
        words = f"{tiles_words(tiles)}\n" if len(budgets) > 1 else ""
        for axes, name in zip(row, names, strict=True):
            axes.set_title(f"{words}{tables.heading(name)}", loc="left", fontsize=10, fontweight="bold")
            words = "\n" if words else ""
    panels[0, 0].set_xlim(0, 1.45)
    head(figure, title)
    bound = Line2D([], [], linestyle="", color=INK, marker="<", label="the selected value lies at an end of its range")
    legend(figure, [bound, Line2D([], [], linestyle="", label=f"{tables.MISSING}  unknown: too few trials")])
    return figure


@mpl.rc_context(STYLE)
def parallel_coordinates(logs: Logs) -> Figure | None:
    """Draws a line per trial of the search through its hyperparameters to its judged value, a panel per arm.

    Finished trials are coloured by their value, which is the last axis and the same in all panels; those
    that were stopped early are grey, failed ones are left out, and the selected one is thick. Lines that share a
    category are spread a little. Of many trials every second, third, ... is drawn, and the title says so.

    Args:
        logs: Of one study.

    Returns:
        None where no trial of a search has a value.
    """
    search = logs.runs[(logs.runs["stage"] == "search") & logs.runs["state"].isin(["finished", "stopped"])]
    search = search[search["judged"].notna()]
    if search.empty:
        return None
    arms = [arm for arm in logs.study["arms"] if (search["arm"] == arm["arm"]).any()]
    judged = {"low": search["judged"].min(), "high": search["judged"].max()}
    finished = search.loc[search["state"] == "finished", "judged"]
    shades = Normalize(finished.min(), finished.max())
    figure = Figure(figsize=(9.0, 1.4 + 2.3 * len(arms)), layout="constrained")
    for axes, arm in zip(figure.subplots(len(arms), 1, squeeze=False)[:, 0], arms, strict=True):
        its = search[search["arm"] == arm["arm"]].sort_values("number")
        selected = set(logs.selection.loc[logs.selection["arm"] == arm["arm"], "number"])
        every = math.ceil(len(its) / MANY)
        drawn = its[(np.arange(len(its)) % every == 0) | its["number"].isin(selected)]
        _draw_coordinates(axes, drawn, arm.get("ranges", {}), judged, shades, selected)
        words = f"{arm['architecture_label']}, {tiles_words(arm['tiles'])}"
        words += f", {len(drawn)} of {len(its)} trials" if every > 1 else ""
        axes.set_title(wrap(words, 90), loc="left", fontsize=10, fontweight="bold", pad=8)
    head(figure, f"Settings of {logs.study['study']} and {metric_words(logs.study['judged_metric'])}")
    legend(
        figure,
        [
            Line2D([], [], color=_VALUES(0.8), linewidth=1.6, label="finished, coloured by its score"),
            Line2D([], [], color=INK, linewidth=2.8, marker="D", label="the selected trial"),
            Line2D([], [], color="#999999", linewidth=0.9, linestyle=":", label="stopped early"),
        ],
    )
    return figure


@mpl.rc_context(STYLE)
def fixed_values(
    frame: pd.DataFrame,
    *,
    name: str,
    metric: str,
    title: str = "",
    trivial: float | None = None,
    labels: Sequence[str] = (),
) -> Figure:
    """Draws the score of each value of one hyperparameter, a line per architecture with intervals.

    Args:
        frame: `label`, `value` (text or a number), `mean`, `low` and `high` (missing where there is no interval), and
            `tiles` where there are several numbers of them, which have a panel each.
        name: The hyperparameter; the axis of `lr` is logarithmic.
        metric: What the values are.
        title: What stands above.
        trivial: The trivial predictor's value.
        labels: As for `looks`; those of the frame where there are none.
    """
    styles = looks([*labels, *frame["label"]])
    shown = [label for label in styles if label in set(frame["label"])]
    tiles = frame["tiles"] if "tiles" in frame else pd.Series(0, frame.index)
    budgets = sorted({int(count) for count in tiles}, reverse=True)
    is_number = pd.api.types.is_numeric_dtype(frame["value"])
    order = [*PRESETS, *frame["value"]] if not is_number else []
    words = [value for value in dict.fromkeys(order) if value in set(frame["value"])]
    places = frame["value"].astype("float64") if is_number else frame["value"].map(words.index).astype("float64")
    is_log = name == "lr"
    along = np.log10(places) if is_log else places
    gaps = [np.diff(np.unique(along[frame["label"] == label])).min(initial=1.0) for label in shown]
    step = min(0.12, 0.6 / len(shown)) * min(gaps)  # between architectures, so that their intervals stay apart
    figure = Figure(figsize=(9.0, 1.2 + 3.4 * len(budgets) + 0.13 * len(shown)), layout="constrained")
    panels = figure.subplots(len(budgets), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, count in zip(panels, budgets, strict=True):
        if is_log:
            axes.set_xscale("log")
        for number, label in enumerate(shown):
            colour, marker = styles[label]
            where = (frame["label"] == label) & (tiles == count)
            its = frame[where].assign(x=places[where]).sort_values("x")
            aside = step * (number - (len(shown) - 1) / 2)
            x = its["x"] * 10.0**aside if is_log else its["x"] + aside
            axes.vlines(x, its["low"], its["high"], color=colour, linewidth=1.8, zorder=3)
            line = "-" if is_number or words[0] in PRESETS else ""  # what has no order is not joined
            axes.plot(
                x, its["mean"], line, color=colour, marker=marker, markersize=7.5, mec=INK, linewidth=1.5, zorder=4
            )
        if trivial is not None:
            axes.axhline(trivial, color=GREY, linestyle="--", linewidth=1.2, zorder=1)
        if not is_number:
            axes.set_xticks(range(len(words)), words)
        elif not is_log:
            axes.set_xticks(np.unique(places))
        if is_log:  # decades in plain digits; matplotlib's own labels are formulas
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel(wrap(metric))
        axes.grid(axis="y")
        if "tiles" in frame:
            axes.set_title(tiles_words(count), loc="left", fontsize=10, fontweight="bold")
    panels[-1].set_xlabel(tables.heading(name))
    head(figure, title)
    handles = [Line2D([], [], color=styles[label][0], marker=styles[label][1], mec=INK, markersize=7.5,
                      label=wrap(label, LEGEND_CHARACTERS)) for label in shown]  # fmt: skip
    bar = Line2D([], [], color=GREY, linewidth=2.2, label="95 % interval, where there is one")
    dashed = [] if trivial is None else [trivial_handle(f"trivial predictor ({trivial:.3f})")]
    legend(figure, [*handles, bar, *dashed])
    return figure


def _draw_share(axes: Axes, line: int, share: float, at_bound: bool, colour: str) -> None:
    known = not pd.isna(share)
    end = share if known else 0.0
    if known:
        axes.barh(line, end, height=0.6, color=colour, edgecolor=INK, linewidth=0.6)
    axes.text(end + 0.04, line, f"{share:.2f}" if known else tables.MISSING, va="center", fontsize=9)
    if at_bound:
        axes.plot(end + 0.38, line, "<", color=INK, markersize=6)


def _draw_coordinates(
    axes: Axes,
    trials: pd.DataFrame,
    ranges: Mapping[str, Any],
    judged: Mapping[str, Any],
    shades: Normalize,
    selected: set[int],
) -> None:
    """Draws the trials of one arm over its axes; `judged` is the range of the last, `shades` the values' of colours."""
    columns = {name: f"hyperparameters/{name}" for name in (*HYPERPARAMETERS, *sorted({*ranges} - {*HYPERPARAMETERS}))}
    columns = {name: key for name, key in columns.items() if key in trials and trials[key].notna().any()}
    spread = _SPREAD * (trials["number"].to_numpy() * GOLDEN % 1 - 0.5)
    heights = []
    for place, (name, key) in enumerate({**columns, "judged": "judged"}.items()):
        bounds = judged if name == "judged" else ranges.get(name, {})
        at, ticks = _axis(trials[key], bounds, log=name == "lr")
        heights.append(at + spread if _has_choices(trials[key], bounds) else at)
        axes.axvline(place, color=GREY, linewidth=1.0, zorder=4)
        for height, words in ticks.items():
            axes.text(
                *((place + 0.06, height) if name == "judged" else (place - 0.03, height)), words, fontsize=8.5,
                ha="left" if name == "judged" else "right", va="center", zorder=6,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
            )  # fmt: skip
    width = len(heights)
    lines = np.stack([np.broadcast_to(np.arange(width), (len(trials), width)), np.column_stack(heights)], axis=-1)
    ended, chosen = (trials["state"] == "finished").to_numpy(), trials["number"].isin(selected).to_numpy()
    faint = max(0.1, 0.85 * min(1.0, (40 / len(trials)) ** 0.5))
    finished = ended & ~chosen
    colours = [*_VALUES(shades(trials["judged"].to_numpy(dtype=np.float64)[finished]))]
    for drawn in (
        LineCollection([*lines[~ended]], colors="#999999", linewidths=0.9, linestyles=":", alpha=faint, zorder=2),
        LineCollection([*lines[finished]], colors=colours, linewidths=1.4, alpha=faint, zorder=3),
    ):
        axes.add_collection(drawn, autolim=False).set_in_layout(False)
    for line in lines[chosen]:
        axes.plot(*line.T, color=INK, linewidth=2.8, zorder=5)
        axes.plot(*line[-1], "D", color=INK, markersize=8, zorder=5, clip_on=False)
    axes.set_xlim(0, width - 1)
    axes.set_ylim(-0.07, 1.07)
    axes.set_xticks(range(width), [*map(tables.heading, columns), "judged score"], fontsize=9.5)
    axes.tick_params(bottom=False)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _axis(values: "pd.Series[Any]", bounds: Mapping[str, Any], *, log: bool) -> tuple[FloatArray, dict[float, str]]:
    """Returns where values lie on an axis from 0 to 1, and what is written where; one value alone is in its middle."""
    if _has_choices(values, bounds):
        there = {*values.dropna(), *bounds.get("choices", ())}
        known = sorted(there) if pd.api.types.is_numeric_dtype(values) else [*PRESETS, *sorted(there, key=str)]
        choices = [choice for choice in dict.fromkeys(known) if choice in there]
        places = np.linspace(0, 1, len(choices)) if len(choices) > 1 else np.array([0.5])
        at = values.map(dict(zip(choices, places, strict=True))).to_numpy(dtype=np.float64)
        return at, {
            place: choice if isinstance(choice, str) else f"{choice:g}"
            for place, choice in zip(places.tolist(), choices, strict=True)
        }
    numbers = values.to_numpy(dtype=np.float64)
    low = float(np.nanmin([*numbers, bounds.get("low", math.nan)]))  # a recipe may lie outside its range
    high = float(np.nanmax([*numbers, bounds.get("high", math.nan)]))
    if low == high:
        return np.where(np.isnan(numbers), np.nan, 0.5), {0.5: f"{low:.3g}"}
    if log:
        at = np.log(numbers / low) / math.log(high / low)
        decades = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
        shown = [low, *(decade for decade in decades if low * 1.5 < decade < high / 1.5), high]
        return at, {math.log(value / low) / math.log(high / low): f"{value:.3g}" for value in shown}
    at = (numbers - low) / (high - low)
    return at, {share: f"{low + share * (high - low):.3g}" for share in (0.0, 0.5, 1.0)}


def _has_choices(values: "pd.Series[Any]", bounds: Mapping[str, Any]) -> bool:
    """Whether only some values can be taken: words, or the numbers that a range lists."""
    return "choices" in bounds or not pd.api.types.is_numeric_dtype(values)
