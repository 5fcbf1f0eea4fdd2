"""How long the rest of a study takes, stage by stage, from what its epochs took so far."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from studies.search.coordinator import Coordinator
from studies.search.trials import Trial
from studies.settings.arms import Arm
from studies.settings.labels import networks_by_budget
from studies.spec import StudySpec
from trainables.common.splits import TEST
from trainables.data.tiles import TrainVal
from trainables.names import NUM_SYMMETRIES

StageName = str
"""What a study does: "search", "final models", which begin while the search of other arms goes on, "validation" of what
was selected, "scoring on val", "scoring on test", the same on each further test set, and "report"."""

FORWARD_AND_BACKWARD = 3.0
"""What training on a pixel costs where predicting it costs 1: a backward pass is about two forward ones."""

START_SECONDS = 15.0
"""For workers to start and import what they need: 10 to 20 s on two cores (seen)."""

REPORT_SECONDS = 25.0
"""For W&B's files to be completed, and for the report: 15 to 25 s for each phase in `quick` on two cores (seen)."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Pixels of the tiles, and how many networks take them.

    Attributes:
        train: Of a mean train tile.
        val: Of all val tiles, and of those parts that a trial validates on in `judged`.
        test: Of all test tiles; 0 where they stay sealed.
        further: Of all tiles of each further test set, by its split; empty where they stay sealed.
        networks: How many networks a cross-validated trial trains, by its budget.
    """

    train: float
    val: int
    judged: int
    test: int
    further: Mapping[str, int] = field(default_factory=dict)
    networks: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: StudySpec, tiles: TrainVal, sealed_px: Mapping[str, Iterable[tuple[int, int]]]) -> "Sizes":
        """Those of a study's tiles; `sealed_px` has (height, width) of each tile of a test set, by its split."""
        center = spec.recipe.val_center_px
        judged = tiles.val if center is None else tiles.val.center_windows(center)
        train = sum(mask.size for mask in tiles.train.masks) / len(tiles.train)
        sizes = sealed_px if spec.test else {}
        further = {split: sum(height * width for height, width in its) for split, its in sizes.items()}
        test, networks = further.pop(TEST, 0), networks_by_budget(spec, tiles)
        return cls(train, _pixels(tiles.val.masks), _pixels(judged.masks), test, further, networks)


def scoring_on(split: str) -> StageName:
    """The stage that scores the final models on a test set."""
    return f"scoring on {split}"


def num_passes(spec: StudySpec) -> int:
    """How often each final model predicts each tile of `test`: also with the others, and in all symmetries."""
    return 1 + int(spec.ensembles and spec.seeds > 1) + (NUM_SYMMETRIES if spec.tta else 0)


class Forecast:
    """Estimates what each stage of a study takes.

    Everything follows from the seconds per epoch of the trials that it follows: those of an arm's own
    trials where it has some, else of all. Until the first epoch is done there is no estimate.

    Args:
        spec: The study.
        sizes: Of its tiles.
        num_slots: Trials side by side.

    Attributes:
        stages: What the study does, in this order.
    """

    def __init__(self, spec: StudySpec, sizes: Sizes, num_slots: int):
        self._spec, self._sizes, self._num_slots = spec, sizes, max(1, num_slots)
        self._followed: list[Coordinator] = []
        has_val = spec.labels is None
        stages: dict[StageName, bool] = {
            "search": spec.has_search,
            "final models": spec.seeds > 0,
            "validation": spec.has_search and has_val,
            "scoring on val": spec.seeds > 0 and has_val,
            **{scoring_on(split): spec.seeds > 0 and spec.test for split in (TEST, *sizes.further)},
            "report": spec.wandb != "disabled",
        }
        self.stages: tuple[StageName, ...] = tuple(name for name, is_there in stages.items() if is_there)
        trained = ("search", "final models", "report")
        self._first_scored = next((name for name in self.stages if name not in trained), None)

    def follow(self, coordinator: Coordinator) -> None:
        """Counts the trials of a stage in from now on; once, however often it begins."""
        if coordinator not in self._followed:
            self._followed.append(coordinator)

    def seconds(self, stage: StageName) -> float | None:
        """What a stage takes: one that trains and has begun, from now on; any other, all of it. None if unknown."""
        if stage == "report":
            return REPORT_SECONDS
        if self._pace() is None:
            return None
        match stage:
            case "search":
                return self._training(self._followed[0])
            case "final models" if (newest := self._followed[-1]).plan.stage == "final":
                return self._training(newest) + self._side_by_side(self._confirming, self._unconfirmed())
            case "final models":
                return START_SECONDS + self._side_by_side(self._confirming)
        start = START_SECONDS if stage == self._first_scored else 0.0  # one set of workers scores all
        match stage:
            case "validation":
                return start + self._side_by_side(lambda a: self._scoring(a, self._sizes.val), self._followed[0].arms)
            case "scoring on val":
                return start + self._side_by_side(lambda a: self._num_models(a) * self._scoring(a, self._sizes.val))
        pixels = {scoring_on(split): its for split, its in {TEST: self._sizes.test, **self._sizes.further}.items()}
        its = (num_passes(self._spec) if stage == scoring_on(TEST) else 1) * pixels[stage]
        return start + self._side_by_side(lambda arm: self._num_models(arm) * self._scoring(arm, its))

    def _training(self, coordinator: Coordinator) -> float:
        """Remaining epochs of each arm at its pace.

        They are its open trials times the mean length of its ended ones (of all arms', or a full course, while none has
        ended).
        """
        trials = coordinator.trials.values()
        length = _mean(t.epoch for t in trials if t.outcome is not None) or float(self._spec.recipe.epochs)
        total = 0.0
        for arm in coordinator.arms:
            own = coordinator.of_arm(arm)
            own_length = _mean(t.epoch for t in own if t.outcome is not None) or length
            running = sum(max(1.0, own_length - t.epoch) for t in own if t.outcome is None)
            total += self._pace_of(coordinator, arm) * (running + own_length * (coordinator.allowance(arm) - len(own)))
        start = 0.0 if any(t.epoch for t in trials) else START_SECONDS
        return total / self._num_slots + (start if total else 0.0)

    def _side_by_side(self, seconds_of: Callable[[Arm], float], arms: Iterable[Arm] | None = None) -> float:
        """The time until workers have done something for arms, or for all that have models."""
        newest = self._followed[-1]
        if arms is None:
            arms = [*(newest.arms if newest.plan.stage == "final" else ()), *self._unconfirmed()]
        return sum(seconds_of(arm) for arm in arms) / self._num_slots

    def _unconfirmed(self) -> list[Arm]:
        """Arms of a search whose final models are not planned yet."""
        first, newest = self._followed[0], self._followed[-1]
        if first.plan.stage == "final":
            return []
        return [arm for arm in first.arms if newest is first or not first.is_arm_complete(arm)]

    def _confirming(self, arm: Arm) -> float:
        """Seconds that the final models of a searched arm train, one after the other."""
        return self._spec.num_confirming * self._arm_pace(arm) * self._full_course()

    def _num_models(self, arm: Arm) -> int:
        newest = self._followed[-1]
        is_planned = newest.plan.stage == "final" and arm in newest.arms
        return newest.allowance(arm) if is_planned else self._spec.num_confirming

    def _scoring(self, arm: Arm, num_pixels: int) -> float:
        """Seconds to predict so many pixels, from what an epoch of the arm takes."""
        recipe = self._spec.recipe
        draw = self._sizes.train if recipe.window_px is None else recipe.window_px**2
        epoch_pixels = FORWARD_AND_BACKWARD * recipe.draws_per_epoch * draw
        epoch_pixels += self._sizes.judged if self._spec.labels is None else self._sizes.train
        return self._arm_pace(arm) * num_pixels / epoch_pixels

    def _full_course(self) -> float:
        """Epochs of a trial that nobody stops."""
        finished = [t.epoch for one in self._followed for t in one.trials.values() if t.outcome == "finished"]
        return _mean(finished) or float(self._spec.recipe.epochs)

    def _pace(self) -> float | None:
        """Mean seconds of an epoch of one network, over all trials."""
        return _mean(self._network_seconds(t) for one in self._followed for t in one.trials.values() if t.epoch)

    def _arm_pace(self, arm: Arm) -> float:
        """Mean seconds of an epoch of one network of an arm; of its newest stage that has one, else of all arms."""
        for one in reversed(self._followed):
            own = (
                t
                for t in one.trials.values()
                if t.epoch and (t.arm.architecture, t.arm.tiles) == (arm.architecture, arm.tiles)
            )
            if (pace := _mean(self._network_seconds(t) for t in own)) is not None:
                return pace
        return self._pace() or 0.0

    def _pace_of(self, coordinator: Coordinator, arm: Arm) -> float:
        """Seconds of an epoch of an arm's trials: of all of their networks."""
        return self._arm_pace(arm) * (self._num_networks(arm) if coordinator.plan.stage == "search" else 1)

    def _num_networks(self, arm: Arm) -> int:
        """Of a trial of the arm's search."""
        return self._sizes.networks.get(arm.tiles, 1)

    def _network_seconds(self, trial: Trial) -> float:
        """Seconds of an epoch of one of a trial's networks."""
        return trial.seconds / trial.epoch / (self._num_networks(trial.arm) if trial.config.folds else 1)


def _pixels(masks: Iterable[NDArray[np.uint8]]) -> int:
    return sum(mask.size for mask in masks)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
