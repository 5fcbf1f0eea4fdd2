"""Says which hyperparameters decided an arm's results (PED-ANOVA), and which best values lie at the end of a range."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator

MIN_TRIALS = 20
"""With fewer trials there is no importance: the top fifth or so would be a handful of accidents."""
_MIN_TOP_TRIALS = 5  # Source: documentation of optuna's PedAnovaImportanceEvaluator ("at least 5 trials")
_TOP_SHARE = 0.1  # Source: its default target_quantile
_BOUND_SHARE = 0.05

Ranges = Mapping[str, Mapping[str, Any]]


def importance(points: pd.DataFrame, values: npt.ArrayLike, ranges: Ranges) -> dict[str, float]:
    """Returns how much each hyperparameter decided whether a trial came into the top tenth (or the top five).

    Give it the finished trials of one arm. Under early stopping these are the ones that looked good early,
    so it then speaks of the region that survived; and a learning sampler looks hardest where it found something.

    Args:
        points: One row per trial, one column per hyperparameter; columns without a range, or empty, are ignored.
        values: (n,) the judged metric of each row, higher is better.
        ranges: Per hyperparameter `low`, `high` and `log`, or `choices`. A trial without a finite value, without one of
            the hyperparameters, or outside its range (an enqueued recipe) is left out.

    Returns:
        The shares, in [0, 1], the largest first. Their sum is 1 even where all of it is noise. Empty with
        fewer than `MIN_TRIALS` trials, where more than half share the top values, and where no hyperparameter varies.

    Source: Watanabe, Bansal and Hutter, PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
    Subspaces, IJCAI 2023.
    """
    names = [name for name in ranges if name in points.columns and points[name].notna().any()]
    distributions = {name: _distribution(ranges[name]) for name in names}
    trials = []
    for row, value in zip(points[names].to_dict("records"), np.asarray(values, dtype=np.float64), strict=True):
        point = {name: row[name] for name in names}
        if np.isfinite(value) and all(_contains(ranges[name], point[name]) for name in names):
            trials.append(optuna.trial.create_trial(params=point, distributions=distributions, value=float(value)))
    if len(trials) < MIN_TRIALS:
        return {}
    top_share = max(_TOP_SHARE, _MIN_TOP_TRIALS / len(trials))
    ordered = sorted((trial.value for trial in trials if trial.value is not None), reverse=True)
    cut = ordered[math.ceil(top_share * len(ordered)) - 1]
    if sum(value >= cut for value in ordered) > len(ordered) / 2:  # ties
        return {}
    with _quiet_optuna():
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
        found = PedAnovaImportanceEvaluator(target_quantile=top_share).evaluate(study)
    total = sum(found.values())
    if total <= 0:
        return {}
    return dict(sorted(((name, share / total) for name, share in found.items()), key=lambda pair: -pair[1]))


def at_bound(best: Mapping[str, Any], ranges: Ranges) -> list[str]:
    """Returns the hyperparameters whose best value lies within 5 % of an end of its range, or beyond it.

    The 5 % are of the range's width, in the logarithm where it is logarithmic. A better value may then lie outside. A
    categorical one has no end, and a range of a single value says nothing.

    Args:
        best: The best trial's hyperparameters; those missing, or without a range, are passed over.
        ranges: Per hyperparameter `low`, `high` and `log`, or `choices`.
    """
    return [name for name, bounds in ranges.items() if not pd.isna(best.get(name)) and _is_near(best[name], bounds)]


def _is_near(value: Any, bounds: Mapping[str, Any]) -> bool:
    if "choices" in bounds or bounds["low"] == bounds["high"]:
        return False
    scale = math.log if bounds.get("log") else float
    low, high = scale(bounds["low"]), scale(bounds["high"])
    share = (scale(value) - low) / (high - low)
    return not _BOUND_SHARE < share < 1 - _BOUND_SHARE


def _distribution(bounds: Mapping[str, Any]) -> BaseDistribution:
    if "choices" in bounds:
        return CategoricalDistribution(tuple(bounds["choices"]))
    return FloatDistribution(bounds["low"], bounds["high"], log=bool(bounds.get("log")))


def _contains(bounds: Mapping[str, Any], value: Any) -> bool:
    if "choices" in bounds:
        return value in bounds["choices"]
    return bool(bounds["low"] <= value <= bounds["high"])


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keeps the line about a new in-memory study away from the reader."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
