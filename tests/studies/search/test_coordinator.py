"""Fairness and decisions, without Ray: who runs next, who stops, who can be selected, and who is tried again."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState

from searchspace.spaces import recipe_point, space_for, starting_points
from studies.search.coordinator import MAX_LOSSES, Coordinator
from studies.settings.arms import Arm
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import EPOCHS, coordinate, make_spec, take
from trainables.config import Recipe


def make(**changes: Any) -> Coordinator:
    return coordinate(make_spec(**{"architectures": ("unet", "unet_resnet34"), "trials": 6} | changes))


def quality(arm: Arm, lr: float, epoch: int) -> float:
    """A made-up IoU that is best at lr 2e-3 and grows with the epochs."""
    return max(0.0, 0.8 - 0.2 * abs(math.log10(lr / 2e-3)) - 0.1 / epoch)


def run(coordinator: Coordinator, value: Callable[[Arm, float, int], float] = quality) -> None:
    while (job := coordinator.next()) is not None:
        for epoch in range(1, EPOCHS + 1):
            best = value(job.arm, job.config.lr, epoch)
            if coordinator.report(job.key, epoch_report(epoch, best, ended="epochs" if epoch == EPOCHS else "")):
                break


def points(coordinator: Coordinator) -> list[tuple[str, int, float, str]]:
    return [(arm.name, number, p.config.lr, p.config.augmentation) for (arm, number), p in coordinator.trials.items()]


def test_arms_take_turns():
    coordinator = make()
    first = [coordinator.next() for _ in range(8)]
    assert [job.arm.name for job in first if job] == [arm.name for arm in coordinator.arms] * 2
    assert coordinator.num_running == 8


def test_every_arm_gets_the_same_allowance_starting_points_and_seeds():
    coordinator = make()
    run(coordinator)
    assert coordinator.next() is None
    assert [arm.name for arm in coordinator.arms] == ["unet-5", "unet-24", "unet_resnet34-5", "unet_resnet34-24"]
    starts = starting_points(space_for("unet"), recipe_point("unet"), 3, coordinator.spec.seed)
    for arm in coordinator.arms:
        configs = [p.config for p in coordinator.of_arm(arm)]
        assert [(c.lr, c.augmentation) for c in configs[:3]] == [(s["lr"], s["augmentation"]) for s in starts]
        assert [c.init_seed for c in configs] == [p.config.init_seed for p in coordinator.of_arm(coordinator.arms[0])]
        assert len({c.init_seed for c in configs}) == len(configs) == 6


def test_same_seed_gives_the_same_study():
    runs = []
    for seed in (1, 1, 2):
        coordinator = make(seed=seed)
        run(coordinator)
        runs.append(points(coordinator))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_sampler_learns_from_its_own_arm_only():
    """Changing what another arm reports changes none of this arm's suggestions."""

    def spoiled(arm: Arm, lr: float, epoch: int) -> float:
        return quality(arm, lr, epoch) if arm.architecture == "unet" else 0.01 * epoch

    runs = []
    for value in (quality, spoiled):
        coordinator = make(trials=10)
        run(coordinator, value)
        runs.append([point for point in points(coordinator) if point[0].startswith("unet-")])
    assert runs[0] == runs[1]


def test_ladders_are_not_pooled():
    """The first trial of a poor architecture passes its rung, however good another arm's trials are."""
    coordinator = make(tiles=(5,))
    good, poor = take(coordinator), take(coordinator)
    assert not coordinator.report(good.key, epoch_report(1, 0.9))
    assert not coordinator.report(poor.key, epoch_report(1, 0.1))


def test_stopped_trial_is_pruned_with_its_values_and_not_selected():
    coordinator = make(architectures=("unet",), tiles=(5,))
    first, second = take(coordinator), take(coordinator)
    arm = first.arm
    assert not coordinator.report(first.key, epoch_report(1, 0.3))
    assert coordinator.report(second.key, epoch_report(1, 0.2, seconds=1.5))
    trial = coordinator.ledger.trials(arm.name)[1]
    assert (trial.state.name, trial.intermediate_values) == ("PRUNED", {1: 0.2})
    assert trial.user_attrs["reason"] == "below the best 1/2 at rung 1"
    assert trial.user_attrs["seconds"] == 1.5
    assert coordinator.selection(arm) is None
    coordinator.report(first.key, epoch_report(2, 0.4, ended="early stopping"))
    selected = coordinator.selection(arm)
    assert (selected.number, selected.best) == (0, 0.4)


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_diverged_or_failed_trial_is_never_selected(outcome):
    coordinator = make(architectures=("unet",), tiles=(5,))
    job = take(coordinator)
    coordinator.report(job.key, epoch_report(1, 0.99))
    coordinator.fail(job.key, outcome, "the loss is nan", "a traceback")
    assert coordinator.selection(job.arm) is None
    told = {"outcome": outcome, "reason": "the loss is nan", "details": "a traceback"}
    assert told.items() <= coordinator.ledger.trials(job.arm.name)[0].user_attrs.items()


def test_an_epoch_counts_once():
    coordinator = make(architectures=("unet",), tiles=(5,))
    job = take(coordinator)
    coordinator.report(job.key, epoch_report(1, 0.5, seconds=10.0))
    coordinator.report(job.key, epoch_report(1, 0.9, seconds=10.0))
    progress = coordinator.trials[job.arm, 0]
    assert (progress.best, progress.seconds) == (0.5, 10.0)
    assert (progress.lost_epochs, progress.lost_seconds) == (1, 10.0)
    coordinator.report(job.key, epoch_report(1, 0.5, seconds=10.0, is_replayed=True))
    assert (progress.lost_epochs, progress.lost_seconds) == (1, 10.0)


def test_tie_selects_the_earliest():
    coordinator = make(architectures=("unet",), tiles=(5,))
    run(coordinator, lambda arm, lr, epoch: 0.5)
    assert coordinator.selection(coordinator.arms[0]).number == 0


# Lost workers and full memories


@pytest.mark.parametrize("is_resumed", [True, False])
def test_trial_that_lost_its_worker_goes_on_first_and_fails_when_no_worker_survives(begin, is_resumed):
    coordinator = begin()
    job = take(coordinator)
    for _ in range(MAX_LOSSES - 1):
        coordinator.lose(job.key, "its worker was lost")
        take(coordinator)
    coordinator.report(job.key, epoch_report(1, 0.5))  # an epoch: it is not the trial that kills them
    if is_resumed:
        coordinator = begin()
        take(coordinator)
    for _ in range(MAX_LOSSES - 1):
        coordinator.lose(job.key, "its worker was lost")
        again = take(coordinator)
        assert (again.arm, again.number, again.epoch) == (job.arm, 0, 1)
    coordinator = begin()  # losses count over drivers
    coordinator.next()
    coordinator.lose(job.key, "its worker was lost")
    progress = coordinator.trials[job.key]
    assert (progress.outcome, progress.reason) == ("failed", "lost 3 workers in epoch 2: its worker was lost")
    assert coordinator.ledger.trials(job.arm.name)[0].state == TrialState.FAIL


def test_trial_that_was_taken_back_is_not_taken_back_twice(begin):
    coordinator = begin()
    job = take(coordinator)
    coordinator.interrupt(job.key)
    coordinator.lose(job.key, "late news")
    coordinator.interrupt(job.key)
    following = [coordinator.next(), coordinator.next()]
    assert [(j.arm.name, j.number) for j in following if j] == [("unet-5", 0), ("unet-24", 0)]


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(8, [4, 2]), (4, [2]), (5, [2]), (7, [3]), (2, []), (3, [])], ids=str
)
@pytest.mark.parametrize("has_company", [True, False])
def test_out_of_memory_is_tried_alone_then_in_smaller_micro_batches_and_never_the_same_twice(
    begin, batch_size, sizes, has_company
):
    recipe = Recipe(epochs=EPOCHS, batch_size=batch_size)
    tried = []
    coordinator = begin(recipe=recipe)
    while (job := coordinator.next()) is not None and job.number == 0 and job.arm == coordinator.arms[0]:
        tried.append((job.is_alone, job.micro_batch_size))
        coordinator.out_of_memory(job.key, "out of memory on cuda", has_company=has_company)
        coordinator = begin(recipe=recipe)  # a driver that goes on knows what was tried
    alone = [(True, 0)] if has_company else []
    assert tried == [(False, 0), *alone, *((True, size) for size in sizes)]
    progress = coordinator.trials[coordinator.arms[0], 0]
    assert (progress.outcome, progress.reason) == ("out of memory", "out of memory on cuda")
    assert progress.micro_batch_size == (sizes[-1] if sizes else 0)
