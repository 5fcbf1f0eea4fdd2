"""The scenarios: A of one worker, B of two and all that can go wrong around them, C on a cluster that loses nodes."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import faults
import invariants
from driving import SCHEDULE, Driver
from invariants import Expected
from nodes import Nodes
from records import REGISTER
from subject import (
    ARMS,
    EPOCHS,
    NUM_CORES,
    Outcome,
    Subject,
    age,
    check,
    complete,
    hang_flags,
    is_confirming,
    is_time_left,
    make_subject,
)

STARTING_SECONDS = 8.0
"""A driver has begun its first trial then, or soon will."""

SLOW, FAST = {"EPOCH_SECONDS": "1"}, {"EPOCH_SECONDS": "0.1"}
TRAINING = {"EPOCH_SECONDS": "0.5", "TILE_SECONDS": "1"}
SCORING = {"EPOCH_SECONDS": "0.02", "TILE_SECONDS": "4"}


def resumed_equals_uninterrupted(root: Path, name: str, rng: random.Random, outcome: Outcome) -> None:
    """A: killed again and again and resumed, a study comes to what another of the same seed comes to undisturbed.

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
    check(reference, expected)
    check(subject, expected)
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


def everything_at_once(root: Path, name: str, rng: random.Random, outcome: Outcome) -> None:
    """B: sessions with faults of all kinds, each ended in another way; then a kill after an opening.

    A short check has fewer trials and models, and time for one or two of the sessions; in half of them no trial hangs,
    as that is waited for.
    """
    num_trials, hangs, num_models = (4, 2, 1) if SCHEDULE.is_short else (8, 4, 2)
    settings = {"cpus_per_trial": max(1, NUM_CORES // 2), "seeds": num_models}
    subject = make_subject(root, name, rng, outcome, grace_epochs=3, reduction_factor=2, **settings)
    subject.environment |= {"CROWDED": "[1]", "OUT_OF_MEMORY": "[2]", "DIVERGES": "[3]"}
    if not SCHEDULE.is_short or rng.random() < 0.5:
        subject.environment["HANGS"] = f"[{hangs}]"
    subject.flags += hang_flags()
    few, more = ("--trials", str(num_trials - num_trials // 4)), ("--trials", str(num_trials))
    live: list[Callable[[Subject, Driver], None]] = [
        *[faults.kill_worker] * 3,
        faults.kill_ending_worker,
        *[faults.stop_worker] * 2,
        *[faults.start_second_driver] * 2,
        *[faults.kill_logger] * 2,
    ]
    rng.shuffle(live)

    def ended_by(number: int) -> Callable[[Driver], None]:
        return lambda driver: faults.end_driver(subject, driver, number, 1)

    # How many faults a session lives through, and what ends it
    sessions: list[tuple[int, Callable[[Driver], None]]] = [
        (4, ended_by(signal.SIGKILL)),
        (3, ended_by(signal.SIGTERM)),
        (3, lambda driver: faults.kill_ray(subject, driver)),
    ]
    rng.shuffle(sessions)
    seconds_to_epoch = 0.0
    for number, (num_faults, ending) in enumerate(sessions):
        if number and not is_time_left(subject):
            break
        driver = subject.start(*(more if number else few), is_first=number == 0, **SLOW)
        subject.goes_on(driver)
        seconds_to_epoch = age(driver)
        for _ in range(num_faults):
            if driver.is_running and is_time_left(subject):
                live.pop()(subject, driver)
        ending(driver)
    if is_time_left(subject):
        driver = subject.start(*more, "--max-hours", f"{(seconds_to_epoch + 3) / 3600:.5f}", **SLOW)
        subject.book("--max-hours over", driver.wait(0, 75) == 75)
        subject.settle()
    if is_time_left(subject) or (SCHEDULE.is_short and rng.random() < 0.5):
        kill_after_an_opening(subject, *more)
    complete(subject, *more, meddle=lambda driver: faults.kill_logger_of_driver(subject, driver), **FAST)
    faults.count_inside(subject)
    expected = Expected(arms=ARMS, trials=num_trials, seeds=num_models, epochs=EPOCHS, grace_epochs=3, num_slots=2)
    check(subject, expected)


def kill_after_an_opening(subject: Subject, *flags: str) -> None:
    """The test tiles are opened, and no result is on record."""
    driver = subject.start(*flags, **FAST)
    own = subject.out / REGISTER
    driver.until(
        lambda: own.exists() and '"opened"' in own.read_text(encoding="utf-8"), "an opening", poll_seconds=0.01
    )
    is_hit = driver.send(signal.SIGKILL)
    driver.wait(0, -signal.SIGKILL)
    subject.book("driver SIGKILL after an opening", is_hit)
    subject.settle()


def scored_on_a_cluster(root: Path, name: str, rng: random.Random, outcome: Outcome) -> None:
    """C: faults while final models train, while they are scored on val, and while test tiles are open.

    A short check has fewer models, and faults in one of the three.
    """
    num_models = 2 if SCHEDULE.is_short else 4  # of each arm: enough to be interrupted several times
    settings = {"trials": 1, "seeds": num_models, "grace_epochs": EPOCHS, "reduction_factor": 2}
    subject = make_subject(root, name, rng, outcome, **settings)
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
    check(subject, expected)


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


SCENARIOS: dict[str, Callable[[Path, str, random.Random, Outcome], None]] = {
    "A": resumed_equals_uninterrupted,
    "B": everything_at_once,
    "C": scored_on_a_cluster,
}
