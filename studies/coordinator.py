"""Who runs next and who stops: equal allowances, suggestions, ASHA's decisions; all in the ledger. Knows no Ray."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from searchspace.spaces import Point, Space, space_for, starting_points
from studies.ladder import Ladder
from studies.ledger import Ledger, Outcome
from studies.spec import Arm, StudySpec
from trainables.config import TrialConfig

MAX_STARTING_POINTS = 10
"""Points before TPE takes over; Optuna's own default."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial to run."""

    arm: Arm
    number: int
    config: TrialConfig


@dataclass(slots=True)
class Progress:
    """What is known of one trial while and after it runs; the last epoch's values."""

    assignment: Assignment
    epoch: int = 0
    best: float = math.nan
    best_epoch: int = 0
    seconds: float = 0.0
    outcome: Outcome | None = None
    reason: str = ""
    started_at: float = field(default_factory=time.monotonic)


class Coordinator:
    """Hands out trials arm by arm and judges what they report.

    Args:
        spec: The study.
        ledger: Where every suggestion, value and decision is written.
        digests: SHA-256 of the pretrained weights, by encoder.
    """

    def __init__(self, spec: StudySpec, ledger: Ledger, digests: Mapping[str, str] | None = None):
        self.spec, self.ledger = spec, ledger
        self.arms = spec.arms()
        self.trials: dict[tuple[Arm, int], Progress] = {}
        self._digests = digests or {}
        self._spaces = {arm: space_for(arm.architecture) for arm in self.arms}
        num_starts = min(MAX_STARTING_POINTS, math.ceil(spec.trials / 2))
        self._starts = {arm: starting_points(space, num_starts, spec.seed) for arm, space in self._spaces.items()}
        self._ladders: dict[Arm, Ladder] = {}
        for arm, starts in self._starts.items():
            self._ladders[arm] = Ladder(
                epochs=spec.recipe.epochs,
                grace_epochs=spec.grace_epochs,
                reduction_factor=spec.reduction_factor,
                after_epoch=arm.config(spec, 0, starts[0], self._digests).frozen_epochs,
            )

    def of_arm(self, arm: Arm) -> list[Progress]:
        """The arm's trials so far, by number."""
        return [progress for (owner, _), progress in self.trials.items() if owner == arm]

    @property
    def num_running(self) -> int:
        """Trials handed out and not ended."""
        return sum(progress.outcome is None for progress in self.trials.values())

    def next(self) -> Assignment | None:
        """The next trial, for the arm that has had the fewest; None when every allowance is spent."""
        arm = min(self.arms, key=lambda a: len(self.of_arm(a)))
        number = len(self.of_arm(arm))
        if number >= self.spec.trials:
            return None
        starts, space = self._starts[arm], self._spaces[arm]
        if number < len(starts):
            point = starts[number]
        else:
            seed = np.random.SeedSequence([self.spec.seed, self.arms.index(arm), number]).generate_state(1)[0]
            point = suggest(self.ledger.trials(arm.name), space, int(seed))
        config = arm.config(self.spec, number, point, self._digests)
        attributes = {"signature": config.signature(), "config": config.model_dump_json()}
        added = self.ledger.add(arm.name, point, space, attributes)
        assert added == number, f"the ledger numbered {arm.name}'s trial {added}, not {number}"
        assignment = Assignment(arm, number, config)
        self.trials[arm, number] = Progress(assignment)
        return assignment

    def report(
        self, arm: Arm, number: int, epoch: int, best: float, best_epoch: int, ended: str, seconds: float
    ) -> bool:
        """Takes an epoch's record; True when the trial ends with it.

        Args:
            arm: The trial's arm.
            number: Its number in the arm.
            epoch: From 1.
            best: Best judged value so far.
            best_epoch: When that was.
            ended: Why the trial ran its course, or empty.
            seconds: What the epoch took.
        """
        progress = self.trials[arm, number]
        if epoch <= progress.epoch:  # an epoch counts once: its first record stands
            return progress.outcome is not None
        progress.epoch, progress.best, progress.best_epoch = epoch, best, best_epoch
        progress.seconds += seconds
        ladder = self._ladders[arm]
        ladder.record(number, epoch, best)
        outcome: Outcome | None = None
        if ended:
            outcome, reason = "finished", ended
        elif not ladder.goes_on(number, epoch):
            outcome, reason = "stopped", f"below the best 1/{ladder.reduction_factor} at rung {epoch}"
        if outcome is not None:
            self.ledger.decide(arm.name, number, epoch, reason)
        self.ledger.report(arm.name, number, epoch, best)
        if outcome is not None:
            self._end(progress, outcome, reason)
        return outcome is not None

    def fail(self, arm: Arm, number: int, outcome: Outcome, reason: str, details: str = "") -> None:
        """Ends a trial that diverged, raised or lost its worker; it is never selectable."""
        progress = self.trials[arm, number]
        if progress.outcome is None:
            self._end(progress, outcome, reason, {"details": details[-4000:]} if details else {})

    def selection(self, arm: Arm) -> Progress | None:
        """The arm's best trial among those that ran their course; the earliest on a tie."""
        finished = [progress for progress in self.of_arm(arm) if progress.outcome == "finished"]
        return max(finished, key=lambda p: (p.best, -p.assignment.number), default=None)

    def _end(self, progress: Progress, outcome: Outcome, reason: str, attributes: dict[str, Any] | None = None) -> None:
        progress.outcome, progress.reason = outcome, reason
        cost = {
            "reason": reason,
            "epochs": progress.epoch,
            "seconds": round(progress.seconds, 3),
            "best_epoch": progress.best_epoch,
        }
        assignment = progress.assignment
        self.ledger.end(assignment.arm.name, assignment.number, outcome, progress.best, cost | (attributes or {}))


def suggest(trials: list[FrozenTrial], space: Space, seed: int) -> Point:
    """TPE's next point: a function of the trials so far and the seed, with no sampler state to keep or lose.

    Source: Bergstra et al. 2011; multivariate and with constant-liar for running trials, Optuna's defaults.
    """
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
    mirror = optuna.create_study(direction="maximize", sampler=sampler)
    mirror.add_trials(trials)
    return mirror.ask(fixed_distributions=dict(space)).params
