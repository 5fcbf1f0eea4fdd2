"""What a study takes, before it runs: hours, checkpoints and money, from timed short trials and simulated searches."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from rich.console import Console

from searchspace.spaces import Point
from studies.backend.slots import Slots
from studies.inputs import StudyInputs
from studies.search.forecast import REPORT_SECONDS, START_SECONDS, num_passes
from studies.search.plans import Finals, Plan, Search, num_models
from studies.settings.arms import Arm
from studies.simulate.clock import simulate
from studies.simulate.curves import Curves, MadeUp
from studies.simulate.probe import Pace, probe
from studies.spec import StudySpec
from trainables.common.duration import duration
from trainables.common.processor import has_bf16
from trainables.common.progress_bar import progress_bar
from trainables.common.splits import TEST
from trainables.names import Precision

NUM_SEARCHES = 9
"""Simulated searches: how many epochs trials train until ASHA stops them is a matter of chance."""

Span = tuple[float, float, float]
"""The least, the middle and the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a study takes.

    Attributes:
        seconds: From its start to its report.
        running_gb: Checkpoints while it runs (10⁹ bytes), at most.
        kept_gb: Those that it keeps.
    """

    seconds: Span
    running_gb: float
    kept_gb: float


class _AtPace:
    """Learning curves, with epochs that take what was measured."""

    def __init__(self, curves: Curves, seconds: Mapping[Arm, float]):
        self._curves, self._seconds = curves, seconds

    def values(self, arm: Arm, point: Point) -> Sequence[float]:
        return self._curves.values(arm, point)

    def epoch_seconds(self, arm: Arm) -> float:
        return self._seconds[arm]


def price(inputs: StudyInputs, plan: Plan, paces: Mapping[str, Pace], num_slots: int) -> Price:
    """What a study takes with so many trials side by side.

    The least and the most are by the fastest and the slowest steps that were timed, and by the shortest and the longest
    of the simulated searches. Final models train to their last epoch; early stopping may end them before.

    Args:
        inputs: Of the study.
        plan: Of its first stage.
        paces: Of each architecture.
        num_slots: Trials side by side.
    """
    spec = inputs.spec
    spans = {arm: paces[arm.architecture].epoch_seconds(_num_steps(spec, plan, arm)) for arm in plan.arms}
    models = {arm: num_models(spec, plan, arm) for arm in plan.arms}
    seconds = []
    for which in range(3):
        of_epoch = {arm: span[which] for arm, span in spans.items()}
        one_network = {arm: its / _networks(inputs, plan, arm) for arm, its in of_epoch.items()}
        final = sum(models[arm] * one_network[arm] for arm in plan.arms) * spec.recipe.epochs / num_slots
        searched = 0.0 if isinstance(plan, Finals) else _search_seconds(spec, plan, of_epoch, num_slots)[which]
        scored = sum(_scoring_seconds(inputs, plan, arm, paces[arm.architecture]) for arm in plan.arms) / num_slots
        seconds.append(START_SECONDS + searched + final + scored + (START_SECONDS if scored else 0.0) + REPORT_SECONDS)
    kept = sum((models[arm] + (plan.stage == "search")) * paces[arm.architecture].best_gb for arm in plan.arms)
    # A third checkpoint is there while it is written; and a grid keeps all of its models until it is complete
    running = kept + num_slots * max(3 * pace.newest_gb + pace.best_gb for pace in paces.values())
    if plan.stage == "search" and plan.keeps_all:
        running += sum(plan.allowance(arm) * paces[arm.architecture].best_gb for arm in plan.arms)
    low, middle, high = seconds
    return Price(seconds=(low, middle, high), running_gb=running, kept_gb=kept)


def _num_steps(spec: StudySpec, plan: Plan, arm: Arm) -> int:
    return spec.recipe.draws_per_epoch // plan.config(arm, 0, arm.recipe(spec)).batch_size


def _networks(inputs: StudyInputs, plan: Plan, arm: Arm) -> int:
    return 1 if isinstance(plan, Finals) else inputs.num_networks(arm)


def _search_seconds(spec: StudySpec, plan: Plan, of_epoch: Mapping[Arm, float], num_slots: int) -> Span:
    """Until the last trial of a search ended; a grid trains all of its trials to the end."""
    if not isinstance(plan, Search):
        total = sum(plan.allowance(arm) * spec.recipe.epochs * seconds for arm, seconds in of_epoch.items()) / num_slots
        return total, total, total
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    random = spec.model_copy(update={"sampler": "random"})  # made-up curves say nothing of what TPE would find
    hours = []
    for seed in range(NUM_SEARCHES):
        curves = _AtPace(MadeUp(spec=random, seed=seed), of_epoch)
        hours.append(simulate(random.model_copy(update={"seed": seed}), curves, gpus=num_slots).hours)
    return 3600 * min(hours), 3600 * statistics.median(hours), 3600 * max(hours)


def _scoring_seconds(inputs: StudyInputs, plan: Plan, arm: Arm, pace: Pace) -> float:
    """Of an arm's models on whole tiles, at the pace at which epochs are judged; also of what its search selects."""
    spec, models = inputs.spec, num_models(inputs.spec, plan, arm)
    center = spec.recipe.val_center_px
    judged = inputs.judging if center is None else inputs.judging.center_windows(center)
    val = 0 if spec.labels is not None else sum(mask.size for mask in inputs.tiles.val.masks)
    pixels = (models + (plan.stage == "search")) * val
    for files in inputs.dataset.test_sets if spec.test else ():
        passes = num_passes(spec) if files.split == TEST else 1
        pixels += models * passes * sum(tile.height_px * tile.width_px for tile in files.tiles)
    return pixels * pace.judging_seconds / sum(mask.size for mask in judged.masks)


def timed_precision(spec: StudySpec, slots: Slots) -> Precision:
    """What trials are timed in: where that is left to the study, what it probably finds faster here."""
    precision = spec.recipe.precision
    if precision != "auto" or slots.gpus or spec.profile == "smoke":
        return precision
    is_half = has_bf16() if spec.bf16 is None else spec.bf16
    return "bf16" if is_half else "fp32"


def show_forecast(
    inputs: StudyInputs, plan: Plan, slots: Slots, num_slots: int, price_per_hour: float | None, console: Console
) -> None:
    """Times short trials on this machine, and prints what the study takes: time, hours of machines, money and disk.

    Args:
        inputs: With tiles.
        plan: Of the study's first stage.
        slots: Of this machine.
        num_slots: Trials side by side where the study is to run.
        price_per_hour: Of the machines that run them, together; None says nothing of money.
        console: Where it is printed.
    """
    precision = timed_precision(inputs.spec, slots)
    with progress_bar(console) as track:
        paces = probe(inputs, plan, slots, precision, track)
    found = price(inputs, plan, paces, num_slots)
    unit, share = ("GPU-hours", slots.gpus) if slots.gpus else ("core-hours", float(slots.cpus))
    trials = f"{num_slots} trial{'s' if num_slots > 1 else ''} at a time"
    hours = [num_slots * share * seconds / 3600 for seconds in found.seconds]
    lines = [
        f"forecast: {_span(list(map(duration, found.seconds)))} with {trials}, each as fast as on this machine"
        f"{' in bf16' if precision == 'bf16' else ''}",
        f"          {_span([f'{its:.3g}' for its in hours])} {unit}",
    ]
    if price_per_hour is not None:
        money = [f"{price_per_hour * seconds / 3600:.2f}" for seconds in found.seconds]
        lines.append(f"          {_span(money)} at {price_per_hour:g} an hour for all machines")
    lines.append(f"          {found.running_gb:.2g} GB of checkpoints at most, {found.kept_gb:.2g} GB of them kept")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _span(texts: Sequence[str]) -> str:
    low, middle, high = texts
    return f"about {middle} ({low} … {high})"
