"""Learning curves for a simulation: made up by a formula, or those of a study's ledger."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from searchspace.ranges import Choices, Space
from searchspace.spaces import Point, random_point
from studies.settings.arms import Arm
from studies.simulate.recording import Recording
from studies.spec import StudySpec
from trainables.common.errors import UserError

NUM_RANDOM = 1000
"""Random points whose best is what is known of an arm, beside what the searches found."""


class Curves(Protocol):
    """What trials would come to."""

    def values(self, arm: Arm, point: Point) -> Sequence[float]:
        """The judged IoU of each epoch of a trial that runs its course."""

    def epoch_seconds(self, arm: Arm) -> float:
        """What an epoch takes."""


@dataclass(frozen=True, kw_only=True)
class MadeUp:
    """Saturating curves, which cross: the better a point, the higher, but not the faster.

    The height falls with the distance from the arm's best point, which lies somewhere in the middle half of each range
    and is drawn from the seed, as are each arm's level and the noise of epochs (deviation .02).

    Attributes:
        spec: Whose arms and ranges these are.
        seed: Everything is drawn from it.
    """

    spec: StudySpec
    seed: int = 0

    def values(self, arm: Arm, point: Point) -> Sequence[float]:
        """See `Curves`."""
        level, best = self._arm[arm]
        places = place(arm.space(self.spec), point)
        height = level - 0.35 * float(np.mean((places - best) ** 2)) * 4
        key = [self.seed, *(int(1e6 * value) for value in places)]
        rng = np.random.default_rng(key)
        epochs = np.arange(1, self.spec.recipe.epochs + 1)
        pace = len(epochs) / rng.uniform(3, 9)
        curve = height * (1 - np.exp(-epochs / pace)) + rng.normal(0, 0.02, len(epochs))
        values: list[float] = np.clip(curve, 0, 1).tolist()
        return values

    def epoch_seconds(self, arm: Arm) -> float:
        """A minute for the first architecture, and up to four for the others."""
        architectures = sorted({one.architecture for one in self._arm})
        return 60.0 * (1 + 3 * architectures.index(arm.architecture) / max(1, len(architectures) - 1))

    @cached_property
    def _arm(self) -> dict[Arm, tuple[float, Any]]:
        """The level and the best place of each."""
        arms = {}
        for number, arm in enumerate(self.spec.arms()):
            rng = np.random.default_rng([self.seed, number])
            arms[arm] = (rng.uniform(0.6, 0.85), rng.uniform(0.25, 0.75, len(arm.space(self.spec))))
        return arms


class Recorded:
    """Curves that a study recorded: a point has that of the nearest trial of its arm that ran its course.

    Args:
        recording: The study's.
        spec: What is simulated; its arms are among the study's, and its trials have no more epochs than recorded ones.

    Raises:
        UserError: An arm has no trial that ran its course.
    """

    def __init__(self, recording: Recording, spec: StudySpec):
        self._spec, epochs = spec, spec.recipe.epochs
        self._places: dict[Arm, Any] = {}
        self._curves: dict[Arm, list[Sequence[float]]] = {}
        self._seconds: dict[Arm, float] = {}
        for arm in spec.arms():
            whole = [curve for curve in recording.curves.get(arm.name, ()) if len(curve.best) >= epochs]
            if not whole:
                raise UserError(
                    f"{recording.source} has no trial of {arm.name} that ran {epochs} epochs: record some with "
                    f"--grace-epochs {epochs}, which stops none early, or leave --recorded out"
                )
            self._places[arm] = np.stack([place(arm.space(spec), curve.point) for curve in whole])
            self._curves[arm] = [curve.best[:epochs] for curve in whole]
            self._seconds[arm] = float(np.median([curve.epoch_seconds for curve in whole]))

    def values(self, arm: Arm, point: Point) -> Sequence[float]:
        """See `Curves`."""
        distances = np.square(self._places[arm] - place(arm.space(self._spec), point)).sum(axis=1)
        return self._curves[arm][int(distances.argmin())]

    def epoch_seconds(self, arm: Arm) -> float:
        """The median of the arm's trials."""
        return self._seconds[arm]


def place(space: Space, point: Mapping[str, Any]) -> Any:
    """Where a point lies in each range, 0 to 1, a float64 array; of choices by their order."""
    places = []
    for name, values in space.items():
        if isinstance(values, Choices):
            places.append(values.choices.index(point[name]) / max(1, len(values.choices) - 1))
            continue
        low, value, high = (
            (math.log(number) if values.log else number) for number in (values.low, point[name], values.high)
        )
        places.append((value - low) / (high - low))
    return np.array(places)


def best_known(spec: StudySpec, curves: Curves, arm: Arm) -> float:
    """The best IoU of many random points of an arm, each trained to its end."""
    space = arm.space(spec)
    return max(max(curves.values(arm, random_point(space, seed))) for seed in range(NUM_RANDOM))
