"""The three studies that faults are injected into, each fault at a random moment, and what must have come of them."""

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import faults
import invariants
from driving import ChaosError, Driver, say
from invariants import Expected
from nodes import Nodes
from records import REGISTER
from subject import Fault, Subject, age, is_confirming, is_time_left

from trainables.datasets.demo import write_demo_tiles

ARMS = ("unet-2", "unet-4")
EPOCHS = 9
NUM_CORES = os.cpu_count() or 1

HANG_MINUTES = "0.5"
"""More than a worker needs from its start to its first batch while four studies share two cores: 15 s were too few."""

NUM_FINALS = 4
"""Of each arm in C: enough to be interrupted several times."""

REASON = "the first look was cut short"


@dataclass(slots=True)
class Outcome:
    """What a scenario came to: its faults, and what does not hold, a sentence each."""

    faults: list[Fault] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def make_subject(root: Path, name: str, seed: int, outcome: Outcome, **settings: int) -> Subject:
    """A study with tiles of its own and a data folder of its own, so that no other knows of its openings."""
    folder = root / name
    tiles, data_home, scratch = folder / "tiles", folder / "data", folder / "tmp"
    scratch.mkdir(parents=True)
    write_demo_tiles(tiles, size_px=128, num_train=4, num_val=2, num_test=2)
    flags = f"--data {tiles} --out {folder / 'study'} --profile smoke --architectures unet --tiles 2 4 --window-px 64"
    flags += f" --epochs {EPOCHS} --seeds 2 --test"
    for setting, value in settings.items():
        flags += f" --{setting.replace('_', '-')} {value}"
    return Subject(
        name=name,
        out=folder / "study",
        tiles=tiles,
        data_home=data_home,
        flags=flags.split(),
        rng=random.Random(f"{seed} {name}"),
        environment={
            "XDG_DATA_HOME": str(data_home),
            "TMPDIR": str(scratch),
            "RAY_TMPDIR": str(root),  # its sockets allow no long names
        },
        faults=outcome.faults,
        broken=outcome.broken,
    )


def complete(subject: Subject, *flags: str, meddle: Callable[[Driver], None] | None = None, **environment: str) -> None:
    """Brings a study to its end; where an opening left no result, that must be refused first, naming the way on."""
    lines = subject.seen.lines.values()
    opened, told = ({line["attempt"] for line in lines if line["event"] == event} for event in ("opened", "result"))
    if opened - told:
        driver = subject.start(*flags, **environment)
        driver.wait(2)
        if "--reopen" not in driver.tail():
            raise ChaosError(f"another look at the test tiles is refused without naming --reopen:\n{driver.tail()}")
        say(subject.name, "refused to open the test tiles again without a reason")
        subject.settle()
        flags = (*flags, "--reopen", REASON)
    driver = subject.start(*flags, **environment)
    if meddle is not None:
        meddle(driver)
    driver.wait(0)
    subject.settle()


def check(subject: Subject, expected: Expected, outcome: Outcome) -> None:
    """Holds a complete study against the rules."""
    for text in invariants.broken(subject.out, subject.tiles, subject.seen, expected):
        outcome.broken.append(f"{subject.name}: {text}")


def resumed_equals_uninterrupted(root: Path, seed: int, outcome: Outcome) -> None:
    """A: one worker; killed again and again and resumed, a study comes to what it comes to undisturbed."""
    settings = {"trials": 5, "grace_epochs": 1, "reduction_factor": 2, "cpus_per_trial": NUM_CORES}
    reference = make_subject(root, "R", seed, outcome, **settings)
    subject = make_subject(root, "A", seed, outcome, **settings)
    undisturbed = reference.start(is_first=True, EPOCH_SECONDS="0.05")
    rng = subject.rng

    def pace() -> str:
        return str(rng.choice([0.05, 0.15, 0.4]))

    def point(*names: str) -> str:
        return f"{rng.choice(names)}:{rng.choice(['before', 'after'])}:{rng.randint(1, 6)}"

    def with_worker_killed(kill: Callable[[Subject, Driver], None], number: int) -> None:
        driver = subject.start(EPOCH_SECONDS="0.4")
        kill(subject, driver)
        faults.end_driver(subject, driver, number, rng.randint(1, 2))

    def killed_then(*tears: Callable[[], None]) -> None:
        driver = subject.start(EPOCH_SECONDS=pace())
        faults.end_driver(subject, driver, signal.SIGKILL, rng.randint(2, 4))
        for tear in tears:
            tear()

    faults.kill_starting_driver(subject, 12)
    faults.kill_driver_at(subject, "driver SIGKILL while it starts", rng.choice(["open:after:1", "freeze:before:1"]))
    steps: list[Callable[[], None]] = [
        lambda: with_worker_killed(faults.kill_worker, signal.SIGTERM),
        lambda: with_worker_killed(faults.kill_saving_worker, signal.SIGINT),
        lambda: killed_then(lambda: faults.tear_checkpoint(subject), lambda: faults.tear_log(subject, "trial")),
        lambda: killed_then(lambda: faults.tear_checkpoint(subject), lambda: faults.tear_log(subject, "study")),
        lambda: faults.kill_starting_driver(subject, 12),
        lambda: faults.kill_driver_at(subject, "driver SIGKILL at the ledger", point("add", "tell")),
        lambda: faults.kill_driver_at(subject, "driver SIGKILL at the ledger", point("note", "report", "decide")),
        # Decided and reported, but not ended
        lambda: faults.kill_driver_at(subject, "driver SIGKILL at the ledger", f"end:before:{rng.randint(1, 3)}"),
    ]
    rng.shuffle(steps)
    for step in steps:
        if is_time_left(subject):
            step()
    if is_time_left(subject):
        kind = "driver SIGKILL in the selection"
        faults.kill_driver_at(subject, kind, rng.choice(["select:before:1", "select:after:1"]), EPOCH_SECONDS="0.05")
        driver = subject.start(EPOCH_SECONDS="0.3")
        driver.until(lambda: is_confirming(subject), "the confirmation")
        faults.end_driver(subject, driver, signal.SIGKILL, rng.randint(1, 4))
        kind = "driver SIGKILL at the register"
        faults.kill_driver_at(subject, kind, f"line:{rng.choice(['before', 'after'])}:{rng.randint(1, 3)}")
    complete(subject, EPOCH_SECONDS="0.05")
    undisturbed.wait(0)
    reference.settle()
    expected = Expected(arms=ARMS, trials=5, seeds=2, epochs=EPOCHS, grace_epochs=1, num_slots=1)
    check(reference, expected, outcome)
    check(subject, expected, outcome)
    for text in invariants.differences(reference.seen, subject.seen, reference.out, subject.out):
        outcome.broken.append(f"A is not as R: {text}")


def everything_at_once(root: Path, seed: int, outcome: Outcome) -> None:
    """B: two workers, and all that can go wrong around and inside of them."""
    cores = max(1, NUM_CORES // 2)
    subject = make_subject(root, "B", seed, outcome, grace_epochs=3, reduction_factor=2, cpus_per_trial=cores)
    subject.environment |= {"CROWDED": "[1]", "OUT_OF_MEMORY": "[2]", "DIVERGES": "[3]", "HANGS": "[4]"}
    subject.flags += ["--hang-minutes", HANG_MINUTES]
    rng = subject.rng
    few, more = ("--trials", "6"), ("--trials", "8")
    slow = {"EPOCH_SECONDS": "1"}
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

    # Each session: its flags, how many faults it lives through, and what ends it
    sessions: list[tuple[tuple[str, str], int, Callable[[Driver], None]]] = [
        (few, 4, ended_by(signal.SIGKILL)),
        (more, 3, ended_by(signal.SIGTERM)),
        (more, 3, lambda driver: faults.kill_ray(subject, driver)),
    ]
    seconds_to_epoch = 0.0
    for number, (flags, num_faults, ending) in enumerate(sessions):
        if not is_time_left(subject):
            break
        driver = subject.start(*flags, is_first=number == 0, **slow)
        subject.goes_on(driver)
        seconds_to_epoch = age(driver)
        for _ in range(num_faults):
            if driver.is_running and is_time_left(subject):
                live.pop()(subject, driver)
        ending(driver)
    if is_time_left(subject):
        driver = subject.start(*more, "--max-hours", f"{(seconds_to_epoch + 3) / 3600:.5f}", **slow)
        subject.book("--max-hours over", driver.wait(0, 75) == 75)
        subject.settle()
    fast = {"EPOCH_SECONDS": "0.1"}
    driver = subject.start(*more, **fast)
    own = subject.out / REGISTER
    driver.until(
        lambda: own.exists() and '"opened"' in own.read_text(encoding="utf-8"), "an opening", poll_seconds=0.01
    )
    is_hit = driver.send(signal.SIGKILL)
    driver.wait(0, -signal.SIGKILL)
    subject.book("driver SIGKILL after an opening", is_hit)
    subject.settle()
    complete(subject, *more, meddle=lambda driver: faults.kill_logger_of_driver(subject, driver), **fast)
    faults.count_inside(subject)
    expected = Expected(arms=ARMS, trials=8, seeds=2, epochs=EPOCHS, grace_epochs=3, num_slots=2)
    check(subject, expected, outcome)


def scored_on_a_cluster(root: Path, seed: int, outcome: Outcome) -> None:
    """C: final models and their scoring on two nodes, one of which dies now and then."""
    subject = make_subject(root, "C", seed, outcome, trials=1, grace_epochs=EPOCHS, reduction_factor=2)
    subject.flags[subject.flags.index("--seeds") + 1] = str(NUM_FINALS)
    with Nodes(subject) as nodes:
        subject.flags += ["--address", nodes.address, "--hang-minutes", HANG_MINUTES]
        subject.environment |= {"SCORING_MEMORY": "[1]", "SCORING_HANGS": "[2]"}
        training = {"EPOCH_SECONDS": "0.5", "TILE_SECONDS": "1"}
        scoring = {"EPOCH_SECONDS": "0.02", "TILE_SECONDS": "4"}

        driver = subject.start(is_first=True, **training)
        subject.goes_on(driver)
        began = age(driver)
        driver.until(lambda: is_confirming(subject), "the final models")
        nodes.kill_under_a_trial(driver)
        faults.end_driver(subject, driver, signal.SIGTERM, 1)
        if is_time_left(subject):
            hours = f"{(began + 3) / 3600:.5f}"
            driver = subject.start("--max-hours", hours, EPOCH_SECONDS="3")  # long enough to be in their midst
            is_hit = driver.wait(0, 75) == 75
            is_training = any(trial.outcome is None for trial in subject.trials().values())
            subject.book(f"--max-hours over {'while' if is_training else 'after'} final models train", is_hit)
            subject.settle()
        if is_time_left(subject):
            driver = subject.start(**scoring)
            faults.find_scorer(subject, driver, "val")
            began = age(driver)
            faults.strike_scorer(subject, driver, "val", signal.SIGKILL)
            faults.end_scoring_driver(subject, driver, "val", signal.SIGTERM)
        if is_time_left(subject):
            driver = subject.start(**scoring)
            faults.end_scoring_driver(subject, driver, "val", signal.SIGKILL)
        if is_time_left(subject):
            driver = subject.start("--max-hours", f"{(began + 2) / 3600:.5f}", **scoring)
            is_hit = driver.wait(0, 75) == 75
            is_early = len(subject.scored("val")) < len(ARMS) * NUM_FINALS
            subject.book(f"--max-hours over {'while' if is_early else 'after'} it scores on val", is_hit)
            subject.settle()
        if is_time_left(subject):
            driver = subject.start(**scoring)
            nodes.kill_under_a_scoring(driver, "val")
            faults.strike_scorer(subject, driver, "test", signal.SIGKILL)
            nodes.kill_under_a_scoring(driver, "test")
            faults.end_scoring_driver(subject, driver, "test", signal.SIGTERM)
        complete(subject, TILE_SECONDS="0.1", EPOCH_SECONDS="0.02")
    faults.count_inside(subject)
    expected = Expected(arms=ARMS, trials=1, seeds=NUM_FINALS, epochs=EPOCHS, grace_epochs=EPOCHS, num_slots=2)
    check(subject, expected, outcome)
