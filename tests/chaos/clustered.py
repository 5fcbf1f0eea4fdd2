"""Scenario C: final models and their scoring on two nodes, one of which dies now and then."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import faults
from driving import SCHEDULE, Driver
from invariants import Expected
from nodes import Nodes
from scenarios import ARMS, EPOCHS, Outcome, check, complete, hang_flags, make_subject
from subject import Subject, age, is_confirming, is_time_left

TRAINING = {"EPOCH_SECONDS": "0.5", "TILE_SECONDS": "1"}
SCORING = {"EPOCH_SECONDS": "0.02", "TILE_SECONDS": "4"}


def scored_on_a_cluster(root: Path, name: str, rng: random.Random, outcome: Outcome) -> None:
    """Faults while final models train, while they are scored on val, and while test tiles are open.

    A short check has fewer models, and faults in one of the three.
    """
    subject = make_subject(root, name, rng, outcome, trials=1, grace_epochs=EPOCHS, reduction_factor=2)
    num_models = 2 if SCHEDULE.is_short else 4  # of each arm: enough to be interrupted several times
    subject.flags[subject.flags.index("--seeds") + 1] = str(num_models)
    stages: list[Callable[[Subject, Nodes], None]] = [while_training, while_scoring_on_val, while_test_tiles_are_open]
    with Nodes(subject) as nodes:
        subject.flags += ["--address", nodes.address, *hang_flags()]
        half = num_models // 2  # one model meets one of the two: losses in a row that come to three are its end
        subject.environment |= {"SCORING_MEMORY": f"[{half - 1}]", "SCORING_HANGS": f"[{half}]"}
        for stage in [rng.choice(stages)] if SCHEDULE.is_short else stages:
            stage(subject, nodes)
        complete(subject, TILE_SECONDS="0.1", EPOCH_SECONDS="0.02")
    faults.count_inside(subject)
    expected = Expected(arms=ARMS, trials=1, seeds=num_models, epochs=EPOCHS, grace_epochs=EPOCHS, num_slots=2)
    check(subject, expected, outcome)


def begin(subject: Subject, *flags: str, **environment: str) -> Driver:
    """Starts the study, or goes on with it."""
    return subject.start(*flags, is_first=subject.driver is None, **environment)


def while_training(subject: Subject, nodes: Nodes) -> None:
    """A node dies under a final model, the driver is told to end, and its time is over."""
    driver = begin(subject, **TRAINING)
    subject.goes_on(driver)
    began = age(driver)
    driver.until(lambda: is_confirming(subject), "the final models")
    nodes.kill_under_a_trial(driver)
    faults.end_driver(subject, driver, signal.SIGTERM, 1)
    if is_time_left(subject):
        hours = f"{(began + 3) / 3600:.5f}"
        driver = begin(subject, "--max-hours", hours, EPOCH_SECONDS="3")  # long enough to be in their midst
        is_hit = driver.wait(0, 75) == 75
        is_training = any(trial.outcome is None for trial in subject.trials().values())
        subject.book(f"--max-hours over {'while' if is_training else 'after'} final models train", is_hit)
        subject.settle()


def while_scoring_on_val(subject: Subject, nodes: Nodes) -> None:
    """A worker and a node die, the driver is ended in both ways, and its time is over."""
    driver = begin(subject, **SCORING)
    faults.find_scorer(subject, driver, "val")
    began = age(driver)
    faults.strike_scorer(subject, driver, "val", signal.SIGKILL)
    faults.end_scoring_driver(subject, driver, "val", signal.SIGTERM)
    if is_time_left(subject):
        driver = begin(subject, **SCORING)
        faults.end_scoring_driver(subject, driver, "val", signal.SIGKILL)
    if is_time_left(subject):
        driver = begin(subject, "--max-hours", f"{(began + 2) / 3600:.5f}", **SCORING)
        is_hit = driver.wait(0, 75) == 75
        num_models = len(ARMS) * int(subject.flags[subject.flags.index("--seeds") + 1])
        is_early = len(subject.scored("val")) < num_models
        subject.book(f"--max-hours over {'while' if is_early else 'after'} it scores on val", is_hit)
        subject.settle()


def while_test_tiles_are_open(subject: Subject, nodes: Nodes) -> None:
    """A node dies before, a worker and a node while they are open, and the driver is told to end."""
    if not is_time_left(subject):
        return
    driver = begin(subject, **SCORING)
    nodes.kill_under_a_scoring(driver, "val")
    faults.strike_scorer(subject, driver, "test", signal.SIGKILL)
    nodes.kill_under_a_scoring(driver, "test")
    faults.end_scoring_driver(subject, driver, "test", signal.SIGTERM)
