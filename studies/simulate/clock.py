"""The clock of a simulated study: the production coordinator hands out trials, and time passes by their curves."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from studies.search.coordinator import Coordinator
from studies.search.ladder import Ladder
from studies.search.memory_ledger import MemoryLedger
from studies.search.plans import Search
from studies.search.trials import EpochReport, Trial
from studies.settings.arms import Arm
from studies.simulate.curves import Curves
from studies.simulate.extrapolation import Extrapolation
from studies.spec import StudySpec

NEAR = 0.01
"""IoU: an arm has found what there is to find once a trial came so near to its best known one."""


@dataclass(slots=True)
class ArmResult:
    """What the search of an arm came to.

    Attributes:
        best: IoU of the selected trial; 0 where no trial ran its course.
        epochs: All that it trained.
        trials: By how they ended.
        reached: Epochs of the arm, and hours of the study, when each better trial had run its course, with its IoU.
    """

    best: float = 0.0
    epochs: int = 0
    trials: dict[str, int] = field(default_factory=dict)
    reached: list[tuple[int, float, float]] = field(default_factory=list)

    def epochs_until(self, value: float) -> int | None:
        """The arm's epochs when it first had a trial of that IoU or more that ran its course; None for never."""
        return next((epochs for epochs, _, best in self.reached if best >= value), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A simulated study.

    Attributes:
        arms: What each search came to.
        hours: Until the last trial ended.
        utilisation: Share of the GPUs' time until then that trained.
    """

    arms: dict[Arm, ArmResult]
    hours: float
    utilisation: float

    @property
    def num_trials(self) -> int:
        """Of all arms."""
        return sum(sum(arm.trials.values()) for arm in self.arms.values())


class Extrapolating(Search):
    """The search with trials stopped by `Extrapolation`."""

    def ladder(self, arm: Arm) -> Ladder:
        """As that of the search, with an extrapolation."""
        frozen_epochs, recipe = self.config(arm, 0, {}).frozen_epochs, self._spec.recipe
        return Extrapolation(epochs=recipe.epochs, grace_epochs=self._spec.grace_epochs, after_epoch=frozen_epochs)


def simulate(
    spec: StudySpec,
    curves: Curves,
    *,
    gpus: int,
    ledger: MemoryLedger | None = None,
    search: Callable[[StudySpec], Search] = Search,
) -> Simulated:
    """Runs the search of a study, a trial per GPU.

    Args:
        spec: The study: its arms, trials, epochs, sampler and ladder.
        curves: What its trials come to, and how long they take.
        gpus: How many trials run side by side.
        ledger: Where trials are written; in memory if None.
        search: What makes its plan.
    """
    plan = search(spec)
    coordinator = Coordinator(spec, ledger or MemoryLedger({arm.name: arm.name for arm in plan.arms}), plan)
    results = {arm: ArmResult() for arm in plan.arms}
    events: list[tuple[float, int, Trial, list[float]]] = []
    order, busy, now = itertools.count(), 0.0, 0.0  # events of one moment come in the order in which they were made

    def begin(at: float) -> None:
        trial = coordinator.next()
        if trial is not None:
            best = list(itertools.accumulate(curves.values(trial.arm, trial.config.hyperparameters), max))
            heapq.heappush(events, (at + curves.epoch_seconds(trial.arm), next(order), trial, best))

    for _ in range(gpus):
        begin(0.0)
    while events:
        now, _, trial, best = heapq.heappop(events)
        result, seconds, epoch = results[trial.arm], curves.epoch_seconds(trial.arm), trial.epoch + 1
        busy += seconds
        result.epochs += 1
        value = best[epoch - 1]
        report = EpochReport(
            epoch=epoch,
            best=value,
            best_epoch=best.index(value) + 1,
            ended="epochs" if epoch == spec.recipe.epochs else "",
            seconds=seconds,
        )
        if not coordinator.report(trial.key, report):
            heapq.heappush(events, (now + seconds, next(order), trial, best))
            continue
        outcome = trial.outcome or ""
        result.trials[outcome] = result.trials.get(outcome, 0) + 1
        if outcome == "finished" and trial.best > result.best:
            result.best = trial.best
            result.reached.append((result.epochs, now / 3600, trial.best))
        begin(now)
    return Simulated(arms=results, hours=now / 3600, utilisation=busy / (gpus * now) if now else 0.0)
