"""Computes what a study's final models came to: the headline, planned contrasts, IoU by tiles, gaps and variances."""

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.stats.ranks import ranks, told_apart
from analysis.stats.summaries import FloatArray, count_scored, has_interval, interval, summarise
from analysis.stats.variance import crossed_variance, nested_variance
from analysis.tables.classes import constant_iou
from analysis.tables.scores import Scores, final_split, read_scores

HYPERPARAMETERS = (
    "lr",
    "augmentation",
    "decoder_dropout",
    "loss",
    "bce_weight",
)  # shown even where no arm searches over them


def headline(logs: Logs) -> pd.DataFrame:
    """Returns one row per arm: its settings, its scores with intervals, and what a model of it costs.

    Returns:
        A frame in the order of the study's arms with `#` (from 1), `architecture` (its label), `tiles` (count), the
        hyperparameters, `models` (final models with a score), `best_epoch` (their median), `val_iou`, `val_f1`,
        `test_iou`, `test_f1` (means over models, full resolution, in [0, 1]), `val_iou_low`, `val_iou_high`,
        `test_iou_low`, `test_iou_high` (bootstrap interval; missing with one model or one place), `minutes` (mean per
        model) and `trivial_iou` (of calling every pixel the best single class, on val). Where there are no final
        models, the selected trial stands for them with its val scores; what is not known is missing.
    """
    split = final_split(logs)
    scores = {name: read_scores(logs, name) for name in ("val", "test")}
    rows = []
    for place, about in enumerate(logs.study["arms"], start=1):
        arm = about["arm"]
        own = logs.models[logs.models["arm"] == arm]
        models = own[own[f"{split}_iou"].notna()]
        row: dict[str, Any] = {"#": place, "architecture": about["architecture_label"], "tiles": about["tiles"]}
        row |= _settings(logs, arm)
        row |= {"models": len(models), "best_epoch": models["best_epoch"].median()} | _selected(logs, arm)
        for name in ("val", "test"):
            if len(models):  # the mean is over the models that its interval is of
                row |= {key: own[key].mean() for key in (f"{name}_iou", f"{name}_f1")}
            low, high = _interval(scores[name], arm)
            row |= {f"{name}_iou_low": low, f"{name}_iou_high": high}
        row["minutes"] = models["seconds"].mean() / 60
        rows.append(row | {"trivial_iou": logs.study["trivial"]["iou"]})
    columns = ["#", "architecture", "tiles", *hyperparameters(logs), "best_epoch"]
    columns += [f"{name}_{key}" for name in ("val", "test") for key in ("iou", "iou_low", "iou_high", "f1")]
    columns += ["minutes", "models", "trivial_iou"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"best_epoch": "Float64"}).round({"best_epoch": 0}).astype({"best_epoch": "Int64"})


def standing(logs: Logs) -> pd.DataFrame:
    """Returns who is best and how sure that is: a row per arm with final models, most tiles first, then the best.

    Returns:
        A frame with `architecture`, `tiles`, `<split>_iou` with `_low` and `_high` (bootstrap interval), `behind` (the
        best mean with as many tiles minus this one, over the models that both have) with its interval,
        `told_apart` (from the best, by `ranks.told_apart`: yes or no), `best`
        (probability of being the best of those with as many tiles, in [0, 1]), `rank` (mean over the replicates) with
        its interval, `minutes` (mean per model), `trainable` (parameters, millions) and `models`. What is not known is
        missing (see `compared`).
    """
    split, frame = final_split(logs), cells(logs)
    about = {arm["arm"]: arm for arm in logs.study["arms"]}
    minutes = logs.models.groupby("arm")["seconds"].mean() / 60
    name = f"{split}_iou"
    rows = []
    for tiles in sorted(frame["tiles"].unique(), reverse=True):
        group = frame[frame["tiles"] == tiles].sort_values("mean", ascending=False, kind="stable")
        known = _compared(compared(logs, list(group["arm"])), str(group["arm"].iloc[0]))
        for cell in group.to_dict("records"):
            row = {"architecture": cell["label"], "tiles": tiles, name: cell["mean"]}
            row |= {f"{name}_low": cell["low"], f"{name}_high": cell["high"]}
            row |= {"behind": group["mean"].iloc[0] - cell["mean"]} | known.get(cell["arm"], {})
            row |= {"minutes": minutes[cell["arm"]], "trainable": about[cell["arm"]]["num_trainable"] / 1e6}
            rows.append(row | {"models": cell["num_models"]})
    columns = ["architecture", "tiles", name, f"{name}_low", f"{name}_high", "behind", "behind_low", "behind_high"]
    columns += ["told_apart", "best", "rank", "rank_low", "rank_high", "minutes", "trainable", "models"]
    return pd.DataFrame(rows, columns=columns)


def hyperparameters(logs: Logs) -> list[str]:
    """Returns the names of what is shown of each arm's settings."""
    prefix = "hyperparameters/"
    columns = [str(name) for name in logs.runs.columns]
    logged = [name for name in columns if name.startswith(prefix) and logs.runs[name].notna().any()]
    others = {name for arm in logs.study["arms"] for name in arm["ranges"]}
    others |= {name.removeprefix(prefix) for name in logged}
    return [*HYPERPARAMETERS, *sorted(others - set(HYPERPARAMETERS))]


def cells(logs: Logs, *, split: str | None = None) -> pd.DataFrame:
    """Returns the IoU of each arm that has final models, in the order of the study's arms.

    Returns:
        A frame with `arm`, `label`, `tiles`, `mean`, `low`, `high` (bootstrap interval), `num_models`, `num_subsets`,
        `num_seeds`, and `median`, `iqm` (interquartile mean) and `sd` over models; in [0, 1].
    """
    split = split or final_split(logs)
    scores = read_scores(logs, "test" if split == "test" else "val")
    rows = []
    for about in logs.study["arms"]:
        models = logs.models[(logs.models["arm"] == about["arm"]) & logs.models[f"{split}_iou"].notna()]
        if models.empty:
            continue
        summary = summarise(models[f"{split}_iou"].to_numpy(dtype=np.float64))
        low, high = _interval(scores, about["arm"])
        rows.append(
            {
                "arm": about["arm"],
                "label": about["architecture_label"],
                "tiles": about["tiles"],
                "mean": summary.mean,
                "low": low,
                "high": high,
                "num_models": summary.n,
                "num_subsets": models["subset"].nunique(),
                "num_seeds": models["seed"].nunique(),
                "median": summary.median,
                "iqm": summary.iqm,
                "sd": summary.sd,
            }
        )
    columns = ["arm", "label", "tiles", "mean", "low", "high", "num_models", "num_subsets", "num_seeds"]
    return pd.DataFrame(rows, columns=[*columns, "median", "iqm", "sd"]).astype({"sd": "float64"})


def points(logs: Logs) -> pd.DataFrame:
    """Returns one row per final model that has a score: `label`, `tiles`, `value` (IoU as in `cells`)."""
    split = final_split(logs)
    scored = logs.models[logs.models[f"{split}_iou"].notna()]
    return pd.DataFrame(
        {"label": scored["architecture_label"], "tiles": scored["tiles"], "value": scored[f"{split}_iou"]}
    ).reset_index(drop=True)


def by_tiles(logs: Logs) -> pd.DataFrame:
    """Returns IoU against tiles; empty with fewer than two budgets.

    Returns:
        A row per architecture (`architecture`, its label); per budget the mean over its final models under the number
        of tiles, such as `12`, with `12_low`, `12_high` (bootstrap interval) and `12_models` (how many).
    """
    frame = cells(logs)
    budgets = sorted(frame["tiles"].unique())
    if len(budgets) < 2:
        return pd.DataFrame()
    rows = []
    for label, of_label in frame.groupby("label", sort=False):
        row: dict[str, Any] = {"architecture": label}
        for tiles in budgets:
            cell = of_label[of_label["tiles"] == tiles]
            for column, key in (("mean", ""), ("low", "_low"), ("high", "_high"), ("num_models", "_models")):
                row[f"{tiles}{key}"] = cell[column].iloc[0] if len(cell) else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def variances(logs: Logs) -> pd.DataFrame:
    """Returns where the spread of final models' IoU comes from, per arm, as standard deviations.

    Returns:
        A frame with `architecture`, `tiles`, `subsets`, `seeds`, `sd_subset` (between draws of tiles from this pool),
        `sd_seed`, `sd_rest` (what neither explains) and `sd_hyperparameters` (between the search's trials that ran
        their course; each has a seed of its own, so that is in it). What cannot be told is missing.
    """
    split = final_split(logs)
    rows = []
    for about in logs.study["arms"]:
        models = logs.models[(logs.models["arm"] == about["arm"]) & logs.models[f"{split}_iou"].notna()]
        searched = logs.runs[(logs.runs["arm"] == about["arm"]) & (logs.runs["stage"] == "search")]
        finished = searched.loc[searched["state"] == "finished", "judged"]
        finished = finished[:0] if logs.study["spec"].get("vary") else finished  # of levels × seeds, not of a search
        row: dict[str, Any] = {"architecture": about["architecture_label"], "tiles": about["tiles"]}
        row |= {"subsets": models["subset"].nunique(), "seeds": models["seed"].nunique()}
        row |= _spread(
            models.pivot_table(index="subset", columns="seed", values=f"{split}_iou").to_numpy(dtype=np.float64)
        )
        row["sd_hyperparameters"] = finished.std(ddof=1)
        rows.append(row)
    names = ["sd_subset", "sd_seed", "sd_rest", "sd_hyperparameters"]
    frame = pd.DataFrame(rows, columns=["architecture", "tiles", "subsets", "seeds", *names])
    return frame[frame[names].notna().any(axis=1)].reset_index(drop=True)


def gaps(logs: Logs) -> pd.DataFrame:
    """Returns how far val promised too much, per arm with final models.

    Returns:
        A frame with `architecture`, `tiles`, `tuned_val_iou` (of the selected trial: the best of several), `val_iou`
        (mean of the final models), `optimism` (their difference), `test_iou` and `gap` (val minus test, of the models
        that have both; other tiles, so part of it is how hard they are).
    """
    rows = []
    for about in logs.study["arms"]:
        models = logs.models[logs.models["arm"] == about["arm"]]
        if models["val_iou"].isna().all():
            continue
        tuned = logs.selection.loc[logs.selection["arm"] == about["arm"], "val_iou"]
        val, test = models["val_iou"].mean(), models["test_iou"].mean()
        gap = (models["val_iou"] - models["test_iou"]).mean()
        best = tuned.iloc[0] if len(tuned) else math.nan
        row = {"architecture": about["architecture_label"], "tiles": about["tiles"], "tuned_val_iou": best}
        rows.append(row | {"val_iou": val, "optimism": best - val, "test_iou": test, "gap": gap})
    columns = ["architecture", "tiles", "tuned_val_iou", "val_iou", "optimism", "test_iou", "gap"]
    return pd.DataFrame(rows, columns=columns)


def compared(logs: Logs, arms: list[str]) -> Scores | None:
    """Returns the scores of those of some arms whose uncertainty can be told: two models, on tiles of two places.

    An arm with a single model would make every replicate hold that model, and nothing is known of its seeds. Of models
    that some of the arms lack, nothing is taken. None where fewer than two arms or models are left.
    """
    scores = read_scores(logs, final_split(logs))
    if scores is None:
        return None
    known = []
    for arm in arms:
        num_models, _, num_groups = count_scored(scores.of(arm), scores.groups)
        if has_interval(num_models, num_groups):
            known.append(arm)
    chosen = scores.select(known).paired() if len(known) > 1 else None
    return chosen if chosen is not None and chosen.iou.shape[1] > 1 else None


def below_trivial(logs: Logs) -> dict[str, float]:
    """Returns the mean IoU of the arms whose final models are on average no better than one class everywhere."""
    frame, trivial = cells(logs), constant_iou(logs, final_split(logs))
    worse = frame[frame["mean"] <= trivial] if trivial is not None else frame[:0]
    return dict(zip(worse["arm"], worse["mean"], strict=True))


def _compared(scores: Scores | None, leader: str) -> dict[str, dict[str, Any]]:
    """How arms stand to each other, by arm; nothing where there is nothing to compare them by."""
    if scores is None:
        return {}
    means = scores.replicates()
    found: dict[str, dict[str, Any]] = {}
    average = dict(zip(scores.arms, scores.means(), strict=True))
    first = scores.arms.index(leader) if leader in scores.arms else None
    is_below = None if first is None else told_apart(means, first, least=min(scores.num_levels.values()))
    for place, (arm, rank) in enumerate(zip(scores.arms, ranks(means), strict=True)):
        found[arm] = {"best": rank.best, "rank": rank.mean, "rank_low": rank.interval[0], "rank_high": rank.interval[1]}
        if is_below is not None and arm != leader:
            low, high = interval(means[:, first] - means[:, place])
            found[arm] |= {"behind": average[leader] - average[arm], "behind_low": low, "behind_high": high}
            found[arm]["told_apart"] = "yes" if is_below[place] else "no"
    return found


def _interval(scores: Scores | None, arm: str) -> tuple[float, float]:
    return (None if scores is None else scores.interval(arm)) or (math.nan, math.nan)


def _settings(logs: Logs, arm: str) -> dict[str, Any]:
    """The hyperparameters of an arm's final models, else of its selected trial."""
    selected = set(logs.selection.loc[logs.selection["arm"] == arm, "number"])
    trials = logs.runs[
        (logs.runs["arm"] == arm) & (logs.runs["stage"] == "search") & logs.runs["number"].isin(selected)
    ]
    source = logs.models[logs.models["arm"] == arm]
    source = trials if source.empty else source
    names = [name for name in hyperparameters(logs) if f"hyperparameters/{name}" in source]
    return {} if source.empty else {name: source[f"hyperparameters/{name}"].iloc[0] for name in names}


def _selected(logs: Logs, arm: str) -> dict[str, Any]:
    """What stands for an arm without final models: its selected trial."""
    if (logs.models["arm"] == arm).any():
        return {}
    selection = logs.selection[logs.selection["arm"] == arm]
    return {} if selection.empty else {name: selection[name].iloc[0] for name in ("val_iou", "val_f1", "best_epoch")}


def _spread(table: FloatArray) -> dict[str, float]:
    """Standard deviations of a table of subsets and seeds."""
    if crossed := crossed_variance(table):
        parts = {"sd_subset": crossed.subset, "sd_seed": crossed.seed, "sd_rest": crossed.residual}
        return {name: math.sqrt(variance) for name, variance in parts.items()}
    nested = nested_variance(list(table))
    return {"sd_seed": nested.within_sd} if nested else {}
