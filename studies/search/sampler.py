"""What Optuna is asked: its distributions of a space, and the next point of a search."""

import copy
from collections.abc import Container, Mapping
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from searchspace.ranges import Choices, Range
from searchspace.spaces import Point

SamplerName = Literal["tpe", "gp"]
"""Those that learn from the trials before."""

MOST_TRIALS = 1000
"""Of an arm, that TPE learns from: what a suggestion takes grows with them (1.25 s at 5000)."""

NUM_GOOD = 25
"""The best trials that are always among these. Source: the most that Optuna's TPE takes for its good ones."""


def distributions(space: Mapping[str, Range]) -> dict[str, BaseDistribution]:
    """The ranges as Optuna has them."""
    return {name: _distribution(values) for name, values in space.items()}


def suggest(trials: list[FrozenTrial], space: Mapping[str, Range], seed: int, kind: SamplerName = "tpe") -> Point:
    """The next point: a function of the trials so far and the seed, with no sampler state to keep or lose.

    Args:
        trials: Of the arm.
        space: Its ranges.
        seed: Of this point.
        kind: `tpe`: Bergstra et al. 2011; multivariate and with constant-liar for running trials, Optuna's defaults.
            `gp`: Optuna's Gaussian process with the logarithm of the expected improvement. A trial that was stopped
            counts with its last value, since Optuna's leaves it out.
    """
    known = remembered(trials)
    sampler: optuna.samplers.BaseSampler
    if kind == "gp":
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=0)
        known = [_completed(trial) if trial.state == TrialState.PRUNED else trial for trial in known]
    else:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
    study = optuna.create_study(storage=_Known(known), direction="maximize", sampler=sampler)
    return study.ask(fixed_distributions=distributions(space)).params


def _completed(trial: FrozenTrial) -> FrozenTrial:
    whole = copy.copy(trial)
    whole.state = TrialState.COMPLETE
    return whole


class _Known(InMemoryStorage):
    """Has trials without adding them: that would copy each of them several times, which takes most of a suggestion."""

    def __init__(self, trials: list[FrozenTrial]):
        super().__init__()
        self._known = [copy.copy(trial) for trial in trials]
        for number, trial in enumerate(self._known, start=1):  # 0 is the one that is asked for
            trial.number = number

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Of these states, or all."""
        known = [trial for trial in self._known if states is None or trial.state in states]
        return known + super().get_all_trials(study_id, deepcopy, states)


def remembered(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """All trials, by number; of more than `MOST_TRIALS`, the best that ran their course, those that run, the newest."""
    if len(trials) <= MOST_TRIALS:
        return trials
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    best = sorted(finished, key=lambda trial: -(trial.value or 0.0))[:NUM_GOOD]
    kept = {trial.number for trial in best} | {trial.number for trial in trials if trial.state == TrialState.RUNNING}
    kept |= {trial.number for trial in trials[-max(0, MOST_TRIALS - len(kept)) :]}
    return [trial for trial in trials if trial.number in kept]


def _distribution(values: Range) -> BaseDistribution:
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    return FloatDistribution(values.low, values.high, log=values.log)
