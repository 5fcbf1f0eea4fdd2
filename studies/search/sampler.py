"""What Optuna is asked: its distributions of a space, and the next point of a search."""

from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from searchspace.ranges import Choices, Range
from searchspace.spaces import Point


def distributions(space: Mapping[str, Range]) -> dict[str, BaseDistribution]:
    """The ranges as Optuna has them."""
    return {name: _distribution(values) for name, values in space.items()}


def suggest(trials: list[FrozenTrial], space: Mapping[str, Range], seed: int) -> Point:
    """TPE's next point: a function of the trials so far and the seed, with no sampler state to keep or lose.

    Source: Bergstra et al. 2011; multivariate and with constant-liar for running trials, Optuna's defaults.
    """
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
    mirror = optuna.create_study(direction="maximize", sampler=sampler)
    mirror.add_trials(trials)
    return mirror.ask(fixed_distributions=distributions(space)).params


def _distribution(values: Range) -> BaseDistribution:
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    return FloatDistribution(values.low, values.high, log=values.log)
