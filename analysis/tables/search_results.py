"""Computes what a study spent and what its search found: cost per arm, importance, and fixed values."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.stats.arrays import FloatArray, IntArray
from analysis.stats.best_of_n import expected_best
from analysis.stats.crossed import estimate
from analysis.stats.importance import at_bound, importance

FAILED = ("failed", "diverged", "interrupted")


def hours(logs: Logs, seconds: float | pd.Series) -> Any:
    """Returns GPU-hours (wall clock × GPU share), or core-hours (wall clock × cores) where there is no GPU."""
    slots = logs.study["slots"]
    return seconds * (slots["gpus"] or slots["cpus"]) / 3600


def hours_word(logs: Logs) -> str:
    """Returns what `hours` counts: "GPU-hours" or "core-hours"."""
    return "GPU-hours" if logs.study["slots"]["gpus"] else "core-hours"


def cost(logs: Logs) -> pd.DataFrame:
    """Returns what each arm was given, what it used and what was lost.

    Returns:
        A frame with `architecture`, `tiles`, `allowance` (trials of the search; missing without one), `started`,
        `finished`, `stopped` (by ASHA), `failed` (also diverged and interrupted), `out_of_memory`, `models` (final
        ones), `epochs`, `hours` (see `hours`), `lost_epochs` and `lost_hours` (trained again) and `saved_epochs`
        (what stopped trials would have had left, at most).
    """
    has_search = (logs.runs["stage"] == "search").any()
    course = int(logs.study["spec"]["epochs"])
    rows = []
    for arm in logs.study["arms"]:
        runs = logs.runs[logs.runs["arm"] == arm["arm"]]
        searched = runs[runs["stage"] == "search"]
        states = searched["state"] if has_search else runs["state"]
        stopped = searched[searched["state"] == "stopped"]
        rows.append(
            {
                "architecture": arm["architecture_label"],
                "tiles": arm["tiles"],
                "allowance": arm["trials"] if has_search and not logs.study["spec"].get("vary") else math.nan,
                "started": len(states),
                "finished": int((states == "finished").sum()),
                "stopped": len(stopped),
                "failed": int(states.isin(FAILED).sum()),
                "out_of_memory": int((states == "out of memory").sum()),
                "models": int(((runs["stage"] == "final") & (runs["state"] == "finished")).sum()),
                "epochs": int(runs["epochs"].sum()),
                "hours": hours(logs, runs["seconds"].sum()),
                "lost_epochs": int(runs["lost_epochs"].fillna(0).sum()),
                "lost_hours": hours(logs, runs["lost_seconds"].fillna(0).sum()),
                "saved_epochs": int((course - stopped["epochs"]).sum()),
            }
        )
    return pd.DataFrame(rows).astype({"allowance": "Int64"})


def expected(logs: Logs) -> pd.DataFrame:
    """Returns the expected best of n trials of each arm, where that means something (see `stats.best_of_n`).

    Returns:
        A frame with `label`, `tiles`, `trials` (n, from 1) and `value` (in [0, 1]); failed trials count as 0. Empty
        unless trials were drawn at random and none was stopped early.
    """
    spec = logs.study["spec"]
    rows: list[dict[str, Any]] = []
    if spec["sampler"] != "random" or spec["grace_epochs"] < spec["epochs"] or spec.get("vary"):
        return pd.DataFrame(rows)
    for arm in logs.study["arms"]:
        trials = logs.runs[(logs.runs["arm"] == arm["arm"]) & (logs.runs["stage"] == "search")]
        ended = trials[trials["state"].isin(["finished", "failed", "diverged", "out of memory"])]
        values = ended["judged"].where(ended["state"] == "finished", 0.0).fillna(0.0)
        for count, value in enumerate(expected_best(values) if len(values) else (), start=1):
            rows.append({"label": arm["architecture_label"], "tiles": arm["tiles"], "trials": count, "value": value})
    return pd.DataFrame(rows)


def importances(logs: Logs) -> pd.DataFrame:
    """Returns how much each hyperparameter decided in each arm's search, and which best values lie at a bound.

    Returns:
        A frame with `architecture`, `tiles`, `trials` (finished ones), `hyperparameter`, `importance`
        (PED-ANOVA, in [0, 1]; missing with too few trials), `best_value` (the selected trial's) and `at_bound`.
        Empty without a search.
    """
    rows: list[dict[str, Any]] = []
    if logs.study["spec"].get("vary"):
        return pd.DataFrame()
    for arm in logs.study["arms"]:
        searched = logs.runs[(logs.runs["arm"] == arm["arm"]) & (logs.runs["stage"] == "search")]
        finished = searched[searched["state"] == "finished"]
        if finished.empty:
            continue
        names = [name for name in arm["ranges"] if f"hyperparameters/{name}" in finished]
        settings = finished[[f"hyperparameters/{name}" for name in names]].set_axis(names, axis="columns")
        found = importance(settings, finished["judged"].to_numpy(dtype=np.float64), arm["ranges"])
        selected = logs.selection.loc[logs.selection["arm"] == arm["arm"], "number"]
        chosen = settings[finished["number"].isin(selected)].to_dict("records")
        best: dict[Any, Any] = chosen[0] if chosen else {}
        bounds = at_bound(best, arm["ranges"])
        rows += [
            {
                "architecture": arm["architecture_label"],
                "tiles": arm["tiles"],
                "trials": len(finished),
                "hyperparameter": name,
                "importance": found.get(name, math.nan),
                "best_value": best.get(name),
                "at_bound": name in bounds,
            }
            for name in names
        ]
    return pd.DataFrame(rows)


def fixed_values(logs: Logs) -> pd.DataFrame:
    """Returns the judged metric of each value that a study tried of one hyperparameter; empty where it varied none.

    Returns:
        A frame with `architecture`, `label`, `tiles`, `value`, `mean`, `low`, `high` (interval) and `models`;
        in [0, 1], on the pixels that trials are judged on.
    """
    name = logs.study["spec"].get("vary") or ""
    rows: list[dict[str, Any]] = []
    for arm in logs.study["arms"] if name else ():
        for value, scores in scores_by_value(logs, arm["arm"], name).items():
            row = {"architecture": arm["architecture"], "label": arm["architecture_label"], "tiles": arm["tiles"]}
            mean = float(np.nanmean(scores.iou))
            found = estimate(scores.iou, (scores.seeds,), scores.groups)
            low, high = (math.nan, math.nan) if found is None else found.interval(least=0, most=1)
            if len(logs.study.get("classes", ())) > 2:  # judged by what is pooled over tiles: no interval here
                its = (logs.runs["arm"] == arm["arm"]) & (logs.runs["stage"] == "search")
                its &= (logs.runs["state"] == "finished") & (logs.runs[f"hyperparameters/{name}"] == value)
                mean, low, high = float(logs.runs.loc[its, "judged"].mean()), math.nan, math.nan
            row |= {"value": value, "mean": mean, "low": low, "high": high, "models": len(scores.iou)}
            rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class ValueScores:
    """How the models with one value of a hyperparameter scored, each in its best epoch.

    Attributes:
        iou: (M, T) judged IoU of each tile, in [0, 1].
        seeds: (M,) the seed of each model, from 0.
        groups: (T,) the place of each tile, as a number.
    """

    iou: FloatArray
    seeds: IntArray
    groups: IntArray


def scores_by_value(logs: Logs, arm: str, name: str) -> dict[Any, ValueScores]:
    """Returns the scores of an arm's finished trials by the value that they have of a hyperparameter."""
    column, prefix = f"hyperparameters/{name}", f"{logs.study['judged_metric']}/"
    searched = logs.runs[(logs.runs["arm"] == arm) & (logs.runs["stage"] == "search")]
    trials = searched[searched["state"] == "finished"]
    tiles = [key for key in logs.history.columns if key.startswith(prefix)]
    if trials.empty or not tiles:
        return {}
    best = trials.merge(
        logs.history[["run_arm", "number", "epoch", *tiles]],
        left_on=["run_arm", "number", "best_epoch"],
        right_on=["run_arm", "number", "epoch"],
    )
    places = logs.study.get("groups", {})
    names = [key.removeprefix(prefix) for key in tiles]
    groups = pd.factorize(np.array([places.get(tile, tile) for tile in names]), sort=True)[0]
    order = list(dict.fromkeys(searched.sort_values("number")[column].dropna()))  # all values have the first seed first
    found: dict[Any, ValueScores] = {}
    for value in order:
        rows = best[best[column] == value].sort_values("number")
        iou = rows[tiles].to_numpy(dtype=np.float64)
        if np.isfinite(iou).any():
            seeds = rows["number"].to_numpy(dtype=np.int64) // len(order)
            found[value] = ValueScores(iou=iou, seeds=seeds, groups=groups)
    return found
