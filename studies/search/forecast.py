"""How long the rest of a study takes: what comes after the trials that run, from what their epochs took."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.search.coordinator import Coordinator
from studies.spec import StudySpec
from trainables.data.tiles import TrainVal

FORWARD_AND_BACKWARD = 3.0
"""What training on a pixel costs where predicting it costs 1: a backward pass is about two forward ones."""

START_SECONDS = 15.0
"""For workers to start and import what they need: 10 to 20 s on two cores (seen)."""

REPORT_SECONDS = 25.0
"""For W&B's files to be completed, and for the report: 15 to 25 s for each phase in `quick` on two cores (seen)."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Pixels of the tiles.

    Attributes:
        train: Of a mean train tile.
        val: Of all val tiles, and of those parts that a trial validates on in `judged`.
        test: Of all test tiles; 0 where they stay sealed.
    """

    train: float
    val: int
    judged: int
    test: int

    @classmethod
    def of(cls, spec: StudySpec, tiles: TrainVal, test_sizes_px: Iterable[tuple[int, int]]) -> "Sizes":
        """Those of a study's tiles; `test_sizes_px` has (height, width) of each test tile."""
        center = spec.recipe.val_center_px
        judged = tiles.val if center is None else tiles.val.center_windows(center)
        train = sum(mask.size for mask in tiles.train.masks) / len(tiles.train)
        test = sum(height * width for height, width in test_sizes_px) if spec.test else 0
        return cls(train, _pixels(tiles.val.masks), _pixels(judged.masks), test)


def seconds_left(coordinator: Coordinator, num_slots: int) -> float | None:
    """Estimate of the time until every trial of a stage has ended; None until an epoch is done.

    Remaining epochs of an arm are its open trials times the mean length of its ended ones (of all arms', or a full
    course, while none has ended), each at the arm's mean pace.
    """
    everything = list(coordinator.trials.values())
    pace = _mean(p.seconds / p.epoch for p in everything if p.epoch)
    if pace is None:
        return None
    length = _mean(p.epoch for p in everything if p.outcome is not None) or coordinator.spec.recipe.epochs
    total = 0.0
    for arm in coordinator.arms:
        trials = coordinator.of_arm(arm)
        arm_pace = _mean(p.seconds / p.epoch for p in trials if p.epoch) or pace
        arm_length = _mean(p.epoch for p in trials if p.outcome is not None) or length
        running = sum(max(1.0, arm_length - p.epoch) for p in trials if p.outcome is None)
        total += arm_pace * (running + arm_length * (coordinator.plan.allowance(arm) - len(trials)))
    return total / max(1, num_slots)


def seconds_after(coordinator: Coordinator, sizes: Sizes, num_slots: int) -> float:
    """Estimate of the time that a study takes from the end of a stage's trials to its own, the report included.

    After a search that is the validation of what was selected, and the final models, each at a full course; after these
    it is their scoring. 0 until an epoch is done.
    """
    spec = coordinator.spec
    everything = [p for p in coordinator.trials.values() if p.epoch]
    pace = _mean(p.seconds / p.epoch for p in everything)
    if pace is None:
        return 0.0
    has_finals = coordinator.plan.stage == "search" and spec.seeds > 0
    total = 0.0
    for arm in coordinator.arms:
        arm_pace = _mean(p.seconds / p.epoch for p in coordinator.of_arm(arm) if p.epoch) or pace
        if coordinator.plan.stage == "search":
            total += _scoring(arm_pace, sizes, sizes.val, spec)
        num_models = spec.seeds if has_finals else coordinator.plan.allowance(arm)
        if has_finals:
            total += num_models * arm_pace * _full_course(coordinator)
        if has_finals or coordinator.plan.stage == "final":
            total += num_models * _scoring(arm_pace, sizes, sizes.val + sizes.test, spec)
    stages = 3 if has_finals else 1
    return total / max(1, num_slots) + stages * START_SECONDS + REPORT_SECONDS


def seconds_to_test(coordinator: Coordinator, sizes: Sizes, num_slots: int, num_models: int) -> float:
    """Estimate of the time that it takes to score so many final models on the test tiles, and to write the report."""
    pace = _mean(p.seconds / p.epoch for p in coordinator.trials.values() if p.epoch) or 0.0
    one = _scoring(pace, sizes, sizes.test, coordinator.spec)
    return num_models * one / max(1, num_slots) + REPORT_SECONDS


def _scoring(epoch_seconds: float, sizes: Sizes, num_pixels: int, spec: StudySpec) -> float:
    """Seconds to predict so many pixels, of a model whose epochs take `epoch_seconds`."""
    draw = sizes.train if spec.recipe.window_px is None else spec.recipe.window_px**2
    epoch_pixels = FORWARD_AND_BACKWARD * spec.recipe.draws_per_epoch * draw + sizes.judged
    return epoch_seconds * num_pixels / epoch_pixels


def _full_course(coordinator: Coordinator) -> float:
    """Epochs of a trial that nobody stops."""
    finished = [p.epoch for p in coordinator.trials.values() if p.outcome == "finished"]
    return _mean(finished) or float(coordinator.spec.recipe.epochs)


def _pixels(masks: Iterable[NDArray[np.uint8]]) -> int:
    return sum(mask.size for mask in masks)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
