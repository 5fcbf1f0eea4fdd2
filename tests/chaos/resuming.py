"""Scenario A: one worker; killed again and again and resumed, a study comes to what it comes to undisturbed."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import faults
import invariants
from driving import SCHEDULE, Driver
from invariants import Expected
from scenarios import ARMS, EPOCHS, NUM_CORES, Outcome, check, complete, make_subject
from subject import Subject, is_confirming, is_time_left

STARTING_SECONDS = 8.0
"""A driver has begun its first trial then, or soon will."""


def resumed_equals_uninterrupted(root: Path, name: str, rng: random.Random, outcome: Outcome) -> None:
    """Injects faults into one study and compares it with another of the same seed.

    A short check is over before the search is: half of them go to the selection at once, and have their faults there.
    """
    goes_ahead = SCHEDULE.is_short and rng.random() < 0.5
    num_trials = 3 if SCHEDULE.is_short else 5
    settings = {"trials": num_trials, "grace_epochs": 1, "reduction_factor": 2, "cpus_per_trial": NUM_CORES}
    reference = make_subject(root, f"{name}R", rng, outcome, **settings)
    subject = make_subject(root, name, rng, outcome, **settings)
    undisturbed = reference.start(is_first=True, EPOCH_SECONDS="0.05")
    if goes_ahead:
        kill_in_the_selection(subject, is_first=True)
    else:
        faults.kill_starting_driver(subject, STARTING_SECONDS, is_first=True)
        point = rng.choice(["open:after:1", "freeze:before:1"])
        faults.kill_driver_at(subject, "driver SIGKILL while it starts", point)
    steps = steps_of(subject)
    rng.shuffle(steps)
    for step in steps[: rng.randint(1, 3)] if goes_ahead else steps:
        if is_time_left(subject):
            step()
    if not goes_ahead and is_time_left(subject):
        kill_in_the_selection(subject)
    if is_time_left(subject):
        driver = subject.start(EPOCH_SECONDS="0.3")
        driver.until(lambda: is_confirming(subject), "the confirmation")
        faults.end_driver(subject, driver, signal.SIGKILL, rng.randint(1, 4))
    if is_time_left(subject):
        point = f"line:{rng.choice(['before', 'after'])}:{rng.randint(1, 3)}"
        faults.kill_driver_at(subject, "driver SIGKILL at the register", point)
    complete(subject, EPOCH_SECONDS="0.05")
    undisturbed.wait(0)
    reference.settle()
    expected = Expected(arms=ARMS, trials=num_trials, seeds=2, epochs=EPOCHS, grace_epochs=1, num_slots=1)
    check(reference, expected, outcome)
    check(subject, expected, outcome)
    for text in invariants.differences(reference.seen, subject.seen, reference.out, subject.out):
        outcome.broken.append(f"{subject.name} is not as {reference.name}: {text}")


def kill_in_the_selection(subject: Subject, *, is_first: bool = False) -> None:
    """The driver kills itself before or after it writes what was selected."""
    point = subject.rng.choice(["select:before:1", "select:after:1"])
    kind = "driver SIGKILL in the selection"
    faults.kill_driver_at(subject, kind, point, is_first=is_first, EPOCH_SECONDS="0.05")


def steps_of(subject: Subject) -> list[Callable[[], None]]:
    """Faults at any time of a study, each in a session of its own."""
    rng = subject.rng

    def at_the_ledger(*names: str, count: int = 6) -> None:
        point = f"{rng.choice(names)}:{rng.choice(['before', 'after'])}:{rng.randint(1, count)}"
        faults.kill_driver_at(subject, "driver SIGKILL at the ledger", point)

    def with_worker_killed(kill: Callable[[Subject, Driver], None], number: int) -> None:
        driver = subject.start(EPOCH_SECONDS="0.4")
        kill(subject, driver)
        faults.end_driver(subject, driver, number, rng.randint(1, 2))

    def killed_then_torn(job_type: str) -> None:
        driver = subject.start(EPOCH_SECONDS=str(rng.choice([0.05, 0.15, 0.4])))
        faults.end_driver(subject, driver, signal.SIGKILL, rng.randint(2, 4))
        faults.tear_checkpoint(subject)
        faults.tear_log(subject, job_type)

    return [
        lambda: with_worker_killed(faults.kill_worker, signal.SIGTERM),
        lambda: with_worker_killed(faults.kill_saving_worker, signal.SIGINT),
        lambda: killed_then_torn("trial"),
        lambda: killed_then_torn("study"),
        lambda: faults.kill_starting_driver(subject, STARTING_SECONDS),
        lambda: at_the_ledger("add", "tell"),
        lambda: at_the_ledger("note", "report", "decide"),
        # Decided and reported, but not ended
        lambda: faults.kill_driver_at(subject, "driver SIGKILL at the ledger", f"end:before:{rng.randint(1, 3)}"),
    ]
