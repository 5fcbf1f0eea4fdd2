"""Checks importance against optuna on a study of its own, its rules for too little data, and the bounds."""

import numpy as np
import optuna
import pandas as pd
import pytest

from analysis.stats.importance import MIN_TRIALS, at_bound, importance

RANGES = {
    "lr": {"low": 1e-5, "high": 1e-1, "log": True},
    "decoder_dropout": {"low": 0.0, "high": 0.5, "log": False},
    "augmentation": {"choices": ["NONE", "LIGHT", "MEDIUM"]},
}


@pytest.fixture(autouse=True)
def _log_level():
    verbosity = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(verbosity)


def _trials(num_trials):
    rng = np.random.default_rng(2)
    points = pd.DataFrame(
        {
            "lr": 10 ** rng.uniform(-5, -1, num_trials),
            "decoder_dropout": rng.uniform(0, 0.5, num_trials),
            "augmentation": rng.choice(["NONE", "LIGHT", "MEDIUM"], num_trials),
        }
    )
    values = 0.8 - 0.1 * (np.log10(points["lr"]) + 3) ** 2 + 0.001 * points["decoder_dropout"]
    return points, values.to_numpy()


def test_importance_finds_what_matters():
    found = importance(*_trials(80), RANGES)
    assert next(iter(found)) == "lr"
    assert found["lr"] > 0.7
    assert sum(found.values()) == pytest.approx(1)
    assert set(found) == set(RANGES)


def test_importance_is_what_optuna_finds_in_the_study_itself():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))

    def objective(trial):
        lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        dropout = trial.suggest_float("decoder_dropout", 0.0, 0.5)
        preset = trial.suggest_categorical("augmentation", ["NONE", "LIGHT", "MEDIUM"])
        return -abs(np.log10(lr) + 3) - dropout + 0.3 * (preset == "LIGHT")

    study.optimize(objective, n_trials=60)
    points = pd.DataFrame([trial.params for trial in study.trials])
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.1)
    expected = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert importance(points, [trial.value for trial in study.trials], RANGES) == pytest.approx(expected)


def test_importance_keeps_quiet_and_leaves_the_log_level_alone(capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    importance(*_trials(30), RANGES)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capfd.readouterr() == ("", "")


def test_importance_leaves_out_failed_strange_and_incomplete_trials():
    points, values = _trials(40)
    strange = pd.DataFrame(
        {"lr": [1e-3, 1.0, 1e-3, np.nan], "decoder_dropout": 0.1, "augmentation": ["LIGHT", "LIGHT", "OWN", "LIGHT"]}
    )
    found = importance(pd.concat([points, strange]), [*values, np.nan, 0.9, 0.9, 0.9], RANGES)
    assert found == importance(points, values, RANGES)


def test_importance_passes_over_columns_without_range_or_content():
    points, values = _trials(40)
    more = points.assign(seed=range(40), bce_weight=np.nan)
    ranges = RANGES | {"bce_weight": {"low": 0.0, "high": 1.0, "log": False}, "absent": {"choices": [1, 2]}}
    assert importance(more, values, ranges) == importance(points, values, RANGES)


def test_importance_is_empty_with_too_few_trials():
    points, values = _trials(MIN_TRIALS)
    assert importance(points, values, RANGES)
    assert importance(points[1:], values[1:], RANGES) == {}
    assert importance(points[:0], [], RANGES) == {}


def test_importance_is_empty_where_nothing_stands_out_or_varies():
    points, values = _trials(40)
    assert importance(points, np.full(40, 0.5), RANGES) == {}
    fixed = points[["lr"]].assign(lr=1e-3)
    assert importance(fixed, values, {"lr": {"low": 1e-3, "high": 1e-3, "log": True}}) == {}
    assert importance(points, values, {}) == {}


@pytest.mark.parametrize(
    ("lr", "expected"),
    [
        (1e-5, ["lr"]),
        (1.5e-5, ["lr"]),  # .18 of 4 decades is 4.4 %
        (2e-5, []),  # 7.5 %
        (1e-3, []),
        (0.06, []),  # 5.5 % below the upper end in the logarithm, 40 % of the width
        (0.07, ["lr"]),
        (0.5, ["lr"]),  # beyond
    ],
)
def test_at_bound_of_a_logarithmic_range(lr, expected):
    assert at_bound({"lr": lr, "augmentation": "NONE"}, RANGES) == expected


def test_at_bound_of_a_linear_range():
    assert at_bound({"decoder_dropout": 0.02}, RANGES) == ["decoder_dropout"]
    assert at_bound({"decoder_dropout": 0.03}, RANGES) == []
    assert at_bound({"lr": np.nan, "decoder_dropout": 0.49}, RANGES) == ["decoder_dropout"]
    assert at_bound({"fixed": 0.5}, {"fixed": {"low": 0.5, "high": 0.5, "log": False}}) == []
