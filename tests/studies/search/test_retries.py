"""Trials that lose their workers or run out of memory, without Ray: how often they are tried again, and how."""

import pytest
from optuna.trial import TrialState

from studies.search.coordinator import MAX_LOSSES
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import EPOCHS, take
from trainables.config import Recipe


def test_trial_that_lost_its_worker_goes_on_first_and_fails_when_no_worker_survives(begin):
    coordinator = begin()
    job = take(coordinator)
    for _ in range(MAX_LOSSES - 1):
        coordinator.lose(job.key, "its worker was lost")
        take(coordinator)
    coordinator.report(job.key, epoch_report(1, 0.5))  # an epoch: it is not the trial that kills them
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


def test_losses_of_an_epoch_that_is_done_do_not_count_after_a_resume(begin):
    coordinator = begin()
    job = take(coordinator)
    for _ in range(MAX_LOSSES - 1):
        coordinator.lose(job.key, "its worker was lost")
        coordinator.next()
    coordinator.report(job.key, epoch_report(1, 0.5))
    again = begin()
    again.next()
    again.lose(job.key, "its worker was lost")
    assert again.trials[job.key].outcome is None


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
