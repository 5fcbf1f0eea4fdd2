"""What runs: the arms, how many trials each gets, and what each of them is; for a search and for its confirmation."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from searchspace.spaces import Point, Space, space_for, starting_points
from studies.ladder import Ladder
from studies.spec import Arm, StudySpec
from trainables.config import TrialConfig

MAX_STARTING_POINTS = 10
"""Points before TPE takes over; Optuna's own default."""

_CONFIRMATION = 0xC0FF
"""Keeps the seeds of confirmations apart from those of the search."""


class Plan(Protocol):
    """The arms of a stage of a study and their trials; each trial follows from its number and the trials before it."""

    arms: tuple[Arm, ...]
    allowance: int

    def space(self, arm: Arm) -> Space:
        """The ranges that the arm's points lie in."""

    def point(self, arm: Arm, number: int, trials: list[FrozenTrial]) -> Point:
        """The hyperparameters of the arm's trial `number`, given all of its trials so far."""

    def config(self, arm: Arm, number: int, point: Point) -> TrialConfig:
        """The configuration of the arm's trial `number` at a point."""

    def ladder(self, arm: Arm) -> Ladder:
        """The arm's ladder, with nothing on its rungs."""


class Search(Plan):
    """Every arm's search: starting points first, then TPE, stopped early by ASHA.

    Args:
        spec: The study.
        digests: SHA-256 of the pretrained weights, by encoder.
    """

    def __init__(self, spec: StudySpec, digests: Mapping[str, str] | None = None):
        self._spec, self._digests = spec, digests or {}
        self.arms = spec.arms()
        self.allowance = spec.trials
        num_starts = min(MAX_STARTING_POINTS, math.ceil(spec.trials / 2))
        self._starts = {arm: starting_points(self.space(arm), num_starts, spec.seed) for arm in self.arms}

    def space(self, arm: Arm) -> Space:
        """The architecture's ranges."""
        return space_for(arm.architecture)

    def point(self, arm: Arm, number: int, trials: list[FrozenTrial]) -> Point:
        """A starting point, or TPE's next one."""
        starts = self._starts[arm]
        if number < len(starts):
            return starts[number]
        seed = np.random.SeedSequence([self._spec.seed, self.arms.index(arm), number]).generate_state(1)[0]
        return suggest(trials, self.space(arm), int(seed))

    def config(self, arm: Arm, number: int, point: Point) -> TrialConfig:
        """See `Arm.config`."""
        return arm.config(self._spec, number, point, self._digests)

    def ladder(self, arm: Arm) -> Ladder:
        """ASHA's rungs, counted from the end of a frozen stage."""
        return Ladder(
            epochs=self._spec.recipe.epochs,
            grace_epochs=self._spec.grace_epochs,
            reduction_factor=self._spec.reduction_factor,
            after_epoch=self.config(arm, 0, self._starts[arm][0]).frozen_epochs,
        )


class Confirmation(Plan):
    """The chosen configurations retrained with new seeds, each to its end.

    Trial s of every arm has a new initialisation and new draws, the same draws in all arms; nothing that was tuned to
    one stream of draws survives unseen.

    Args:
        spec: The study.
        chosen: The selected configuration of each arm of the search.
    """

    def __init__(self, spec: StudySpec, chosen: Mapping[Arm, TrialConfig]):
        self._spec = spec
        self._chosen = {replace(arm, confirms=config.signature()): config for arm, config in chosen.items()}
        self.arms = tuple(self._chosen)
        self.allowance = spec.confirm_seeds

    def space(self, arm: Arm) -> Space:
        """The ranges that the configuration was chosen from."""
        return space_for(arm.architecture)

    def point(self, arm: Arm, number: int, trials: list[FrozenTrial]) -> Point:
        """The chosen one."""
        return {name: getattr(self._chosen[arm], name) for name in self.space(arm)}

    def config(self, arm: Arm, number: int, point: Point) -> TrialConfig:
        """The chosen one with the seeds of `number`."""
        seeds = np.random.SeedSequence([self._spec.seed, _CONFIRMATION, number]).generate_state(2)
        chosen = self._chosen[arm]
        recipe = chosen.recipe.model_copy(update={"draw_seed": int(seeds[1])})
        return chosen.model_copy(update={"init_seed": int(seeds[0]), "recipe": recipe})

    def ladder(self, arm: Arm) -> Ladder:
        """No rungs."""
        epochs = self._spec.recipe.epochs
        return Ladder(epochs=epochs, grace_epochs=epochs, reduction_factor=self._spec.reduction_factor)


def suggest(trials: list[FrozenTrial], space: Space, seed: int) -> Point:
    """TPE's next point: a function of the trials so far and the seed, with no sampler state to keep or lose.

    Source: Bergstra et al. 2011; multivariate and with constant-liar for running trials, Optuna's defaults.
    """
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
    mirror = optuna.create_study(direction="maximize", sampler=sampler)
    mirror.add_trials(trials)
    return mirror.ask(fixed_distributions=dict(space)).params
