"""Scenario B: two workers, and all that can go wrong around and inside of them."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import faults
from driving import SCHEDULE, Driver
from invariants import Expected
from records import REGISTER
from scenarios import ARMS, EPOCHS, NUM_CORES, Outcome, check, complete, hang_flags, make_subject
from subject import Subject, age, is_time_left

SLOW, FAST = {"EPOCH_SECONDS": "1"}, {"EPOCH_SECONDS": "0.1"}


def everything_at_once(root: Path, name: str, rng: random.Random, outcome: Outcome) -> None:
    """Sessions with faults of all kinds, each ended in another way; then a kill after an opening.

    A short check has fewer trials, and time for one or two of the sessions.
    """
    cores = max(1, NUM_CORES // 2)
    subject = make_subject(root, name, rng, outcome, grace_epochs=3, reduction_factor=2, cpus_per_trial=cores)
    num_trials, hangs = (4, 2) if SCHEDULE.is_short else (8, 4)
    subject.environment |= {"CROWDED": "[1]", "OUT_OF_MEMORY": "[2]", "DIVERGES": "[3]", "HANGS": f"[{hangs}]"}
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
    expected = Expected(arms=ARMS, trials=num_trials, seeds=2, epochs=EPOCHS, grace_epochs=3, num_slots=2)
    check(subject, expected, outcome)


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
