"""What runs: the arms, how many trials each gets, and what each of them is; for searches, grids and final models."""

import functools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from searchspace.ranges import Choices, Space
from searchspace.spaces import Point, levels, num_levels, random_point, starting_points
from studies.profiles import PHASES
from studies.search.ladder import Ladder
from studies.search.trials import Trial
from studies.settings.arms import Arm
from studies.spec import StudySpec
from trainables.config import TrialConfig

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Stage = Literal["search", "final"]

MAX_STARTING_POINTS = 10
"""Points before TPE takes over; Optuna's own default."""

_FINALS, _GRID, _SUBSETS, _RANDOM = 0xC0FF, 0x6121D, 0x5B5E7, 0x4A2D
"""Keep the seeds of final models, of grids, of tile subsets and of random points apart from those of a search."""


class Plan(Protocol):
    """The arms of a stage of a study and their trials; each trial follows from its number and the trials before it."""

    stage: Stage
    arms: tuple[Arm, ...]
    keeps_all: bool = False
    """Whether a trial that ran its course may be wanted after another was better."""

    def allowance(self, arm: Arm) -> int:
        """How many trials the arm gets."""

    def space(self, arm: Arm) -> Space:
        """The ranges that the arm's points lie in."""

    def point(self, arm: Arm, number: int, trials: "list[FrozenTrial]") -> Point:
        """The hyperparameters of the arm's trial `number`, given all of its trials so far."""

    def config(self, arm: Arm, number: int, point: Point) -> TrialConfig:
        """The configuration of the arm's trial `number` at a point."""

    def ladder(self, arm: Arm) -> Ladder:
        """The arm's ladder, with nothing on its rungs."""

    def best(self, finished: list[Trial]) -> Trial | None:
        """Which of an arm's trials that ran their course is selected; the best, the earliest on a tie."""
        return max(finished, key=lambda p: (p.best, -p.number), default=None)


class Search(Plan):
    """Every arm's search: starting points first, then TPE (or random points), stopped early by ASHA.

    Trials share draws and differ in initialisation, which follows from the study's seed and the trial's number: the
    same number starts from the same seed in every arm.

    Args:
        spec: The study.
        digests: SHA-256 of the pretrained weights, by encoder.
    """

    stage: Stage = "search"

    def __init__(self, spec: StudySpec, digests: Mapping[str, str] | None = None):
        self._spec, self._digests = spec, digests or {}
        self.arms = spec.arms()
        self._num_starts = min(MAX_STARTING_POINTS, math.ceil(spec.trials / 2))
        self._starts: dict[Arm, list[Point]] = {}  # found when they are asked for

    def allowance(self, arm: Arm) -> int:
        """The same for all."""
        return self._spec.trials

    def space(self, arm: Arm) -> Space:
        """The architecture's ranges."""
        return arm.space(self._spec)

    def point(self, arm: Arm, number: int, trials: "list[FrozenTrial]") -> Point:
        """A starting point, or the sampler's next one; or a random one."""
        place = self.arms.index(arm)
        if self._spec.sampler == "random":
            return random_point(self.space(arm), _seeds(self._spec.seed, _RANDOM, place, number)[0])
        if number < self._num_starts:
            if arm not in self._starts:
                recipe = arm.recipe(self._spec)
                self._starts[arm] = starting_points(self.space(arm), recipe, self._num_starts, self._spec.seed)
            return self._starts[arm][number]
        from studies.search.sampler import suggest  # here: it takes Optuna, which plans can do without

        return suggest(trials, self.space(arm), _seeds(self._spec.seed, place, number)[0], self._spec.sampler)

    def config(self, arm: Arm, number: int, point: Point) -> TrialConfig:
        """See `Arm.config`."""
        return arm.config(self._spec, point, self._digests, init_seed=_seeds(self._spec.seed, number)[0])

    def ladder(self, arm: Arm) -> Ladder:
        """ASHA's rungs, counted from the end of a frozen stage."""
        return Ladder(
            epochs=self._spec.recipe.epochs,
            grace_epochs=self._spec.grace_epochs,
            reduction_factor=self._spec.reduction_factor,
            after_epoch=self.config(arm, 0, {}).frozen_epochs,
        )


class Grid(Plan):
    """Fixed values of one hyperparameter with all else at the recipe, each with the same seeds and to its end.

    Args:
        spec: The study, whose `vary` names the hyperparameter.
        digests: SHA-256 of the pretrained weights, by encoder.
    """

    stage: Stage = "search"
    keeps_all = True

    def __init__(self, spec: StudySpec, digests: Mapping[str, str] | None = None):
        assert spec.vary is not None, "a grid varies something"
        self._spec, self._digests, self._vary = spec, digests or {}, spec.vary
        self.arms = spec.arms()

    def allowance(self, arm: Arm) -> int:
        """Every value with every seed."""
        return num_levels(self._vary) * self._spec.seeds

    def space(self, arm: Arm) -> Space:
        """The values, and the recipe's for all else."""
        fixed: Space = {n: Choices((value,)) for n, value in arm.recipe(self._spec).items()}
        return fixed | {self._vary: Choices(self._values(arm))}

    def point(self, arm: Arm, number: int, trials: "list[FrozenTrial]") -> Point:
        """All values with the first seed, then with the next: more seeds can be added."""
        values = self._values(arm)
        return arm.recipe(self._spec) | {self._vary: values[number % len(values)]}

    def config(self, arm: Arm, number: int, point: Point) -> TrialConfig:
        """The same initialisation and draws for all values of one seed."""
        init_seed, draw_seed = _seeds(self._spec.seed, _GRID, number // num_levels(self._vary), count=2)
        return arm.config(self._spec, point, self._digests, init_seed=init_seed, draw_seed=draw_seed)

    def _values(self, arm: Arm) -> tuple[Any, ...]:
        return levels(arm.architecture, self._vary)

    def ladder(self, arm: Arm) -> Ladder:
        """No rungs."""
        return no_rungs(self._spec)

    def best(self, finished: list[Trial]) -> Trial | None:
        """The median trial of the value with the best mean over all seeds."""
        by_value: dict[Any, list[Trial]] = {}
        for trial in sorted(finished, key=lambda p: p.number):
            by_value.setdefault(trial.config.hyperparameters[self._vary], []).append(trial)
        whole = [trials for trials in by_value.values() if len(trials) == self._spec.seeds] or list(by_value.values())
        if not whole:
            return None
        trials = max(whole, key=lambda trials: statistics.fmean(trial.best for trial in trials))
        return sorted(trials, key=lambda trial: trial.best)[(len(trials) - 1) // 2]


class Finals(Plan):
    """Fixed configurations trained with new seeds and on every subset of tiles, each to its end.

    Seed s gives every arm of a phase the same initialisation seed and the same draws, new ones to whatever was tuned or
    chosen before. The first subset is the study's own; a budget of all tiles has no other.

    Args:
        spec: The study.
        arms: Its arms.
        config_of: The configuration of each; asked only for what is more than a count.
        num_tiles: How many train tiles there are.

    Attributes:
        num_seeds: How many seeds each arm gets; more may be added.
    """

    stage: Stage = "final"
    keeps_all = True

    def __init__(self, spec: StudySpec, arms: Iterable[Arm], config_of: Callable[[Arm], TrialConfig], num_tiles: int):
        self._spec, self._config_of, self._num_tiles = spec, functools.cache(config_of), num_tiles
        self.arms = tuple(arms)
        self.num_seeds = dict.fromkeys(self.arms, spec.seeds)

    @classmethod
    def confirming(
        cls,
        spec: StudySpec,
        selected: Mapping[Arm, TrialConfig],
        num_tiles: int,
        digests: Mapping[str, str] | None = None,
        epochs: Mapping[Arm, int] = MappingProxyType({}),
    ) -> "Finals":
        """Of what a search selected, in arms named after the configurations; and, if wanted, of the recipes beside.

        What folds judged is trained on all of their labels, for those `epochs` that they found best.
        """
        digests = digests or {}
        arms: dict[Arm, TrialConfig] = {}
        for arm, config in selected.items():
            arms[replace(arm, confirms=config.signature())] = _on_all_labels(config, epochs.get(arm))
            if spec.with_recipe and not is_recipe(spec, arm, config, digests):
                beside = replace(arm, is_recipe=True)
                arms[beside] = _on_all_labels(arm.config(spec, {}, digests, init_seed=0), epochs.get(beside))
        return cls(spec, arms, arms.__getitem__, num_tiles)

    @classmethod
    def of_phase(cls, spec: StudySpec, digests: Mapping[str, str], num_tiles: int) -> "Finals":
        """Of a phase without a search: what another study chose, else the recipe."""
        points = {name: chosen.point for name, chosen in spec.chosen.items()}
        return cls(
            spec,
            spec.arms(),
            lambda arm: arm.config(spec, points.get(arm.architecture, {}), digests, init_seed=0),
            num_tiles,
        )

    def num_subsets(self, arm: Arm) -> int:
        """Subsets of tiles that the arm is trained on."""
        return self._spec.subsets if self._spec.has_subsets and arm.tiles < self._num_tiles else 1

    def subset_and_seed(self, arm: Arm, number: int) -> tuple[int, int]:
        """Which subset and which seed trial `number` has, from 0; more seeds can be added."""
        seed, subset = divmod(number, self.num_subsets(arm))
        return subset, seed

    def allowance(self, arm: Arm) -> int:
        """Every subset with every seed."""
        return self.num_subsets(arm) * self.num_seeds[arm]

    def space(self, arm: Arm) -> Space:
        """The one point."""
        return {name: Choices((value,)) for name, value in self.point(arm, 0, []).items()}

    def point(self, arm: Arm, number: int, trials: "list[FrozenTrial]") -> Point:
        """The arm's."""
        return self._config_of(arm).hyperparameters

    def config(self, arm: Arm, number: int, point: Point) -> TrialConfig:
        """The arm's with the seeds of `number`."""
        config = self._config_of(arm)
        subset, seed = self.subset_and_seed(arm, number)
        phase = PHASES.index(self._spec.phase)
        init_seed, draw_seed = _seeds(self._spec.seed, _FINALS, phase, seed, count=2)
        renewed = {"draw_seed": draw_seed}
        if subset:
            renewed["subset_seed"] = _seeds(self._spec.recipe.subset_seed, _SUBSETS, subset)[0]
        recipe = config.recipe.model_copy(update=renewed)
        return config.model_copy(update={"init_seed": init_seed, "recipe": recipe})

    def ladder(self, arm: Arm) -> Ladder:
        """No rungs."""
        return no_rungs(self._spec)


def _on_all_labels(config: TrialConfig, epochs: int | None) -> TrialConfig:
    """The configuration without the folds that judged it, if any did."""
    return config.model_copy(update={"folds": 0, "fixed_epochs": epochs}) if config.folds else config


def first_plan(spec: StudySpec, digests: Mapping[str, str], num_tiles: int) -> Plan:
    """What a study begins with: a search, a grid, or at once the final models; arguments as theirs."""
    if not spec.has_search:
        return Finals.of_phase(spec, digests, num_tiles)
    return Search(spec, digests) if spec.vary is None else Grid(spec, digests)


def num_models(spec: StudySpec, plan: Plan, arm: Arm) -> int:
    """The most final models of an arm: of a plan of them, or of those that follow on its search."""
    seeds = spec.max_seeds or spec.seeds
    return seeds * (plan.num_subsets(arm) if isinstance(plan, Finals) else 1 + spec.with_recipe)


def is_recipe(spec: StudySpec, arm: Arm, config: TrialConfig, digests: Mapping[str, str]) -> bool:
    """Whether what the search of an arm selected is its recipe, whatever the seeds."""
    recipe = arm.config(spec, {}, digests, init_seed=config.init_seed, draw_seed=config.recipe.draw_seed)
    return recipe.signature() == config.signature()


def no_rungs(spec: StudySpec) -> Ladder:
    """A ladder that lets every trial run its course."""
    epochs = spec.recipe.epochs
    return Ladder(epochs=epochs, grace_epochs=epochs, reduction_factor=spec.reduction_factor)


def _seeds(*keys: int, count: int = 1) -> list[int]:
    return [int(seed) for seed in np.random.SeedSequence(list(keys)).generate_state(count)]
