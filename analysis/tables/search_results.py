"""Computes what a study spent and what its search found: accounting per arm, importance, bounds, and fixed levels."""

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.stats.best_of_n import expected_best
from analysis.stats.contrasts import contrast
from analysis.stats.importance import at_bound, importance
from analysis.stats.ranks import probability_of_improvement
from analysis.stats.summaries import FloatArray, IntArray, mean_interval
from analysis.tables.planned_contrasts import contrast_frame

FAILED = ("failed", "diverged", "interrupted")

HYPOTHESES: dict[str, tuple[tuple[str, ...], str]] = {
    "cnn": (("MEDIUM", "HEAVY"), "MEDIUM and HEAVY against the others"),
    "frozen_encoder": (("LIGHT", "MEDIUM"), "LIGHT and MEDIUM against the others"),
}
"""Which presets are expected to win in a track. Source: the reference study's hypothesis."""

_PRESETS = ("NONE", "LIGHT", "MEDIUM", "HEAVY", "EXTREME")


def hours(logs: Logs, seconds: float | pd.Series) -> Any:
    """Returns GPU-hours (wall clock × GPU share), or core-hours (wall clock × cores) where there is no GPU."""
    slots = logs.study["slots"]
    return seconds * (slots["gpus"] or slots["cpus"]) / 3600


def hours_word(logs: Logs) -> str:
    """Returns what `hours` counts: "GPU-hours" or "core-hours"."""
    return "GPU-hours" if logs.study["slots"]["gpus"] else "core-hours"


def accounting(logs: Logs) -> pd.DataFrame:
    """Returns what each arm was given, what it used and what was lost.

    Returns:
        A frame with `architecture`, `tiles`, `allowance` (trials of the search; missing without one), `started`,
        `finished`, `stopped` (by ASHA), `failed` (also diverged and interrupted), `out_of_memory`, `models` (final
        ones), `epochs`, `hours` (see `hours`), `lost_epochs` and `lost_hours` (trained again), `saved_epochs` (what
        stopped trials would have had left, at most) and `trainable` and `frozen` (parameters, millions).
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
                "trainable": arm["num_trainable"] / 1e6,
                "frozen": arm["num_frozen"] / 1e6,
            }
        )
    return pd.DataFrame(rows).astype({"allowance": "Int64"})


def expected(logs: Logs) -> pd.DataFrame:
    """Returns the expected best of n trials of each arm, where that means something; see `curves.expected_best`.

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
        A frame with `architecture`, `tiles`, `trials` (that ran their course), `hyperparameter`, `importance`
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


def levels(logs: Logs) -> pd.DataFrame:
    """Returns the judged metric of each value that a study tried of one hyperparameter; empty where it varied none.

    Returns:
        A frame with `architecture`, `label`, `tiles`, `level`, `mean`, `low`, `high` (bootstrap interval) and `models`;
        in [0, 1], on the pixels that trials are judged on.
    """
    name = logs.study["spec"].get("vary") or ""
    rows: list[dict[str, Any]] = []
    for arm in logs.study["arms"] if name else ():
        for level, (iou, seeds, groups) in _level_scores(logs, arm["arm"], name).items():
            row = {"architecture": arm["architecture"], "label": arm["architecture_label"], "tiles": arm["tiles"]}
            mean, (low, high) = float(np.nanmean(iou)), mean_interval(iou, (seeds,), groups) or (math.nan, math.nan)
            if (
                len(logs.study.get("classes", ())) > 2
            ):  # judged by what is pooled over tiles, which has no interval here
                its = (logs.runs["arm"] == arm["arm"]) & (logs.runs["stage"] == "search")
                its &= (logs.runs["state"] == "finished") & (logs.runs[f"hyperparameters/{name}"] == level)
                mean, low, high = float(logs.runs.loc[its, "judged"].mean()), math.nan, math.nan
            row |= {"level": level, "mean": mean, "low": low, "high": high, "models": len(iou)}
            rows.append(row)
    return pd.DataFrame(rows)


def preset_contrasts(logs: Logs) -> pd.DataFrame:
    """Returns the planned contrast of augmentation presets per arm, as `planned.contrasts`; empty for other studies.

    It needs all presets, and is over the seeds that all of them have.
    """
    rows: list[dict[str, Any]] = []
    found = []
    for arm in logs.study["arms"] if logs.study["spec"].get("vary") == "augmentation" else ():
        expected, what = HYPOTHESES.get(arm["track"], ((), ""))
        by_level = _level_scores(logs, arm["arm"], "augmentation")
        if not expected or set(by_level) != set(_PRESETS):
            continue
        seeds = np.array(sorted(set.intersection(*(set(its) for _, its, _ in by_level.values()))), dtype=np.int64)
        iou = {level: scores[np.isin(its, seeds)] for level, (scores, its, _) in by_level.items()}  # by seed, as sorted
        if seeds.size == 0:
            continue
        one = np.mean([iou[level] for level in expected], axis=0)
        other = np.mean([iou[level] for level in _PRESETS if level not in expected], axis=0)
        groups = by_level["NONE"][2]
        if (result := contrast(one, other, (seeds,), groups)) is not None:
            better = probability_of_improvement(one, other)
            rows.append({"contrast": arm["architecture_label"], "what": what, "tiles": arm["tiles"], "better": better})
            found.append(result)
    return contrast_frame(rows, found)


def _level_scores(logs: Logs, arm: str, name: str) -> dict[Any, tuple[FloatArray, IntArray, IntArray]]:
    """Per level: (M, T) the judged IoU of each tile in each model's best epoch, (M,) its seed, (T,) groups."""
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
    order = list(dict.fromkeys(searched.sort_values("number")[column].dropna()))  # all levels have the first seed first
    found: dict[Any, tuple[FloatArray, IntArray, IntArray]] = {}
    for level in order:
        rows = best[best[column] == level].sort_values("number")
        iou = rows[tiles].to_numpy(dtype=np.float64)
        if np.isfinite(iou).any():
            found[level] = (iou, rows["number"].to_numpy(dtype=np.int64) // len(order), groups)
    return found
