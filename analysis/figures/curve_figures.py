"""Draws learning curves, and the best score of each arm's search against its cost."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.drawing import (
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
)
from analysis.logs.frames import STARTED, Logs
from analysis.logs.run_configs import ArmFacts
from analysis.stats.arrays import FloatArray
from analysis.stats.best_of_n import best_so_far
from analysis.tables.search_results import hours, hours_word

_NO_BREAK = "\N{NO-BREAK SPACE}"
_FINAL_DASHES = (0, (4, 1.2, 1, 1.2))
_ENDS = {  # per way to end: marker, whether it is filled, and its words
    "finished": ("o", True, "finished"),
    "stopped": ("o", False, "stopped early by ASHA"),
    "failed": ("x", True, "failed, diverged or interrupted"),
    "final": ("s", True, "a final model's last epoch"),
}


@mpl.rc_context(STYLE)
def learning_curves(logs: Logs, labels: Sequence[str] = ()) -> Figure | None:
    """Draws the judged metric of each trial by epoch, a panel per arm; the last mark of a line says how it ended.

    Trials of the search are thin lines, the selected one is thick with a diamond on its best epoch, final models are
    dash-dotted. The dashed line is the trivial predictor on what the trials were judged on. Epochs without a value
    are left out, and so are trials without any.

    Args:
        logs: Of one study.
        labels: As for `looks`; those of the study where there are none.

    Returns:
        None where no epoch is known.
    """
    metric = logs.study["judged_metric"]
    arms, num_columns = _panel_order(logs)
    known = _known_epochs(logs, metric)
    if known.empty:
        return None
    styles = looks([*labels, *arm_labels(logs)])
    num_rows = math.ceil(len(arms) / num_columns)
    size = (max(9.0, 3.1 * num_columns), 1.6 + (2.7 if len(arms) > 2 else 3.2) * num_rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False).ravel()
    shown: set[str] = set()
    characters = max(30, int(size[0] / num_columns * 10))
    for axes, arm in zip(panels, arms, strict=False):
        name, tiles, colour = arm["arm"], arm["tiles"], styles[arm["architecture_label"]][0]
        trials = logs.runs[logs.runs["arm"] == name]
        selected = logs.selection.loc[logs.selection["arm"] == name, "number"]
        shown |= _draw_lines(axes, known[known["arm"] == name], metric, set(selected), colour)
        axes.axhline(trivial_judged(logs)[0], color=GREY, linestyle="--", linewidth=1.2, zorder=1)
        counts = "\n".join(wrap(words, characters + 6) for words in _counts(trials))
        axes.annotate(counts, (0, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points",
                      va="bottom", fontsize=8.5, color=GREY)  # fmt: skip
        words = wrap(f"{arm['architecture_label']}, {_unbroken(tiles_words(tiles))}", characters)
        above = 5 + 12 * (1 + counts.count("\n"))  # points, clear of the counts
        axes.set_title(words, loc="left", fontsize=9.5, fontweight="bold", pad=above)
        axes.grid(axis="y")
    for axes in panels[len(arms) :]:
        axes.remove()
    for axes in panels[max(0, len(arms) - num_columns) : len(arms)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("epoch")
    low, high = min(known[metric].min(), trivial_judged(logs)[0]), max(known[metric].max(), trivial_judged(logs)[0])
    panels[0].set_ylim(low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1))
    last = int(known["epoch"].max())
    panels[0].set_xlim(min(0.5, 1 - 0.03 * last), last + max(0.5, 0.03 * last))
    panels[0].xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    head(figure, f"Learning curves of {logs.study['study']}: {metric_words(metric)}")
    legend(figure, [*_curve_handles(shown), trivial_handle(trivial_judged(logs)[1])])
    return figure


@mpl.rc_context(STYLE)
def cost_curves(logs: Logs, labels: Sequence[str] = ()) -> Figure | None:
    """Draws the best so far of each arm's search against trials, epochs and GPU-hours; a row per number of tiles.

    Trials count in the order of their number. All cost, but only finished ones can be selected, so only
    they raise the curve; it begins with the first of them. Without a GPU the cost is in core-hours.

    Args:
        logs: Of one study.
        labels: As for `looks`; those of the study where there are none.

    Returns:
        None where no trial of a search finished.
    """
    search = logs.runs[logs.runs["stage"] == "search"]
    arms_with_value = set(search.loc[(search["state"] == "finished") & search["judged"].notna(), "arm"])
    if not arms_with_value:
        return None
    costs: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
        "trials": lambda trials: pd.Series(1.0, trials.index),
        "epochs": lambda trials: trials["epochs"].astype("float64").fillna(0),
        hours_word(logs): lambda trials: hours(logs, trials["seconds"].fillna(0)),
    }
    styles = looks([*labels, *arm_labels(logs)])
    arms = [arm for arm in logs.study["arms"] if arm["arm"] in arms_with_value]
    budgets = sorted({arm["tiles"] for arm in arms}, reverse=True)
    shown = [label for label in styles if label in {arm["architecture_label"] for arm in arms}]
    figure = Figure(figsize=(9.0, 1.3 + 2.7 * len(budgets) + 0.13 * len(shown)), layout="constrained")
    panels = figure.subplots(len(budgets), len(costs), sharex="col", sharey=True, squeeze=False)
    for row, tiles in zip(panels, budgets, strict=True):
        row[0].set_title(tiles_words(tiles), loc="left", fontsize=10, fontweight="bold")
        row[0].set_ylabel(wrap(f"best so far, {metric_words(logs.study['judged_metric'])}"))
        for axes, (words, cost) in zip(row, costs.items(), strict=True):
            for arm in (arm for arm in arms if arm["tiles"] == tiles):
                trials = search[search["arm"] == arm["arm"]].sort_values("number")
                spent, best = _steps(trials, cost(trials).to_numpy(dtype=np.float64))
                colour, marker = styles[arm["architecture_label"]]
                axes.step(spent, best, where="post", color=colour, linewidth=1.6)
                (end,) = axes.plot(spent[-1:], best[-1:], marker, color=colour, markersize=7, mec=INK, zorder=4)
                end.set(clip_on=False, in_layout=False)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=words != hours_word(logs)))
            axes.grid(axis="y")
    for axes, words in zip(panels[-1], costs, strict=True):
        axes.set_xlabel(f"{words} spent")
    head(figure, f"Best score found by the search of {logs.study['study']} against its cost")
    handles = []
    for label in shown:
        handles.append(Line2D([], [], color=styles[label][0], marker=styles[label][1], markersize=7, mec=INK))
        handles[-1].set_label(wrap(label, LEGEND_CHARACTERS))
    legend(figure, handles)
    return figure


@mpl.rc_context(STYLE)
def expected_best(frame: pd.DataFrame, *, metric: str, title: str = "", labels: Sequence[str] = ()) -> Figure:
    """Draws the expected best of n random trials, a line per architecture and a panel per number of tiles.

    Args:
        frame: As of `search_results.expected`, not empty.
        metric: What the values are.
        title: What stands above.
        labels: As for `looks`; those of the frame where there are none.
    """
    styles = looks([*labels, *frame["label"]])
    budgets = sorted({int(tiles) for tiles in frame["tiles"]}, reverse=True)
    figure = Figure(figsize=(6.5, 1.6 + 2.6 * len(budgets)), layout="constrained")
    panels = figure.subplots(len(budgets), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, tiles in zip(panels, budgets, strict=True):
        for label, curve in frame[frame["tiles"] == tiles].groupby("label", sort=False):
            colour, marker = styles[str(label)]
            axes.plot(curve["trials"], curve["value"], color=colour, marker=marker, markersize=5, markevery=(0.0, 0.1))
        axes.set_title(tiles_words(tiles), loc="left", fontsize=10, fontweight="bold")
        axes.set_ylabel(wrap(f"expected best, {metric}"))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.grid(axis="y")
    panels[-1].set_xlabel("random trials")
    head(figure, title)
    shown = [label for label in styles if label in set(frame["label"])]
    legend(
        figure,
        [
            Line2D([], [], color=styles[label][0], marker=styles[label][1], label=wrap(label, LEGEND_CHARACTERS))
            for label in shown
        ],
    )
    return figure


def _panel_order(logs: Logs) -> tuple[list[ArmFacts], int]:
    """Returns the arms in the order of their panels, and the number of columns: one per budget where these are few."""
    arms, labels = logs.study["arms"], list(dict.fromkeys(arm_labels(logs)))
    budgets = {arm["tiles"] for arm in arms}
    if 1 < len(budgets) <= 3 and len(arms) == len(labels) * len(budgets):
        by_label = sorted(arms, key=lambda arm: (labels.index(arm["architecture_label"]), arm["tiles"]))
        return by_label, len(budgets)
    return arms, 2 if len(arms) == 4 else min(len(arms), 3)


def _unbroken(text: str) -> str:
    return text.replace(" ", _NO_BREAK)


def _known_epochs(logs: Logs, metric: str) -> pd.DataFrame:
    """Returns the epochs that have a value, each with its trial's state: one row per trial and epoch, in their order.

    The column `ended` says what the last mark of a line is to be: a key of `_ENDS`, or missing where no end is logged.
    """
    if metric not in logs.history:
        return logs.history.iloc[:0]
    keys = ["run_arm", "number"]
    known = logs.history.loc[np.isfinite(logs.history[metric]) & (logs.history[metric] >= 0)]
    states = logs.runs["state"].where(logs.runs["state"].isin(["finished", "stopped", STARTED]), "failed")
    states = states.where((logs.runs["stage"] != "final") | (states != "finished"), "final")
    ends = logs.runs[keys].assign(ended=states)
    columns = ["arm", *keys, "stage", "epoch", metric]
    with_ends: pd.DataFrame = known[columns].merge(ends, on=keys, how="left")
    return with_ends.sort_values([*keys, "epoch"], ignore_index=True)


def _draw_lines(axes: Axes, epochs: pd.DataFrame, metric: str, selected: set[int], colour: str) -> set[str]:
    """Draws an arm's trials and returns what the legend has to explain."""
    keys = epochs[["run_arm", "number"]]
    starts = np.flatnonzero((keys != keys.shift()).any(axis=1).to_numpy())
    lines = np.split(epochs[["epoch", metric]].to_numpy(dtype=np.float64), starts)[1:]
    about = epochs.iloc[starts].reset_index(drop=True)
    is_final = (about["stage"] == "final").to_numpy()
    is_selected = ~is_final & about["number"].isin(selected).to_numpy()
    model_colour = colour if is_final.all() else INK  # to stand out from the search
    are_many = len(lines) > MANY
    faint = max(0.12, 0.7 * min(1.0, (30 / max(1, len(lines))) ** 0.5))
    for mask, style in (
        (~is_final & ~is_selected, {"linewidths": 0.9, "alpha": faint, "zorder": 2}),
        (is_final, {"linewidths": 1.1, "alpha": max(faint, 0.5), "linestyles": [_FINAL_DASHES], "zorder": 3}),
        (is_selected, {"linewidths": 2.6, "zorder": 4}),
    ):
        chosen = [line for line, belongs in zip(lines, mask, strict=True) if belongs]
        drawn = LineCollection(
            chosen,
            colors=model_colour if mask is is_final else colour,
            rasterized=are_many and len(chosen) > 1,
            **style,
        )
        axes.add_collection(drawn, autolim=False).set_in_layout(False)
    last = np.array([line[-1] for line in lines]).reshape(-1, 2)
    for state, (marker, is_filled, _) in _ENDS.items():
        x, y = last[(about["ended"] == state).to_numpy()].T
        its = model_colour if state == "final" else colour
        axes.plot(
            x, y, marker, color=its, markerfacecolor=its if is_filled else "white", zorder=3,
            markersize=3 if are_many else 5, alpha=max(faint, 0.3) if are_many else 1, linestyle="",
            rasterized=are_many, in_layout=False,
        )  # fmt: skip
    for place in np.flatnonzero(is_selected):
        x, y = lines[place][np.argmax(lines[place][:, 1])]
        axes.plot(x, y, "D", color=colour, markersize=8, mec=INK, zorder=5)
    kinds = {"search"} if (~is_final).any() else set()
    kinds |= {"models"} if is_final.any() else set()
    return kinds | ({"selected"} if is_selected.any() else set()) | (set(about["ended"]) & set(_ENDS))


def _steps(trials: pd.DataFrame, cost: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns where the best so far changes, as what had been spent by then and the value, and where it ends."""
    spent = np.cumsum(cost)
    best = best_so_far(trials["judged"].where(trials["state"] == "finished").to_numpy(dtype=np.float64))
    known = np.flatnonzero(np.isfinite(best))
    kept = np.union1d(known[np.diff(best[known], prepend=-1.0) > 0], known[-1:])
    return spent[kept], best[kept]


def _counts(trials: pd.DataFrame) -> list[str]:
    """Returns how an arm's trials ended, and how many final models it has."""
    stages = {words: trials[trials["stage"] == stage] for stage, words in (("search", "search"), ("final", "models"))}
    return [
        f"{words}: {_unbroken(ended_words(its)).replace(f',{_NO_BREAK}', ', ')}"
        for words, its in stages.items()
        if len(its)
    ] or ["no trial"]


def _curve_handles(shown: set[str]) -> list[Line2D]:
    lines: dict[str, dict[str, Any]] = {
        "search": {"linewidth": 0.9, "label": "trial of the search"},
        "selected": {"linewidth": 2.6, "marker": "D", "markersize": 8, "mec": INK, "label": "selected, its best epoch"},
        "models": {"linewidth": 1.3, "linestyle": _FINAL_DASHES, "label": "final model"},
    }
    handles = [Line2D([], [], color=GREY, **line) for kind, line in lines.items() if kind in shown]
    for state, (marker, is_filled, words) in _ENDS.items():
        if state in shown:
            face = GREY if is_filled else "white"
            handles.append(Line2D([], [], linestyle="", color=GREY, marker=marker, markerfacecolor=face, label=words))
    return handles
