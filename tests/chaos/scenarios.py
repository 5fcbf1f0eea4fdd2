"""What the scenarios have in common: studies that faults are injected into, how they end, and what must hold then."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import invariants
from driving import ChaosError, Driver, busyness, say
from invariants import Expected
from subject import Fault, Subject

from trainables.datasets.demo import write_demo_tiles

ARMS = ("unet-2", "unet-4")
EPOCHS = 9
NUM_CORES = os.cpu_count() or 1

HANG_MINUTES = 0.5
"""More than a worker needs from its start to its first batch while four studies share two cores: 15 s were too few."""

REASON = "the first look was cut short"


@dataclass(slots=True)
class Outcome:
    """What a scenario came to: its studies, their faults, and what does not hold, a sentence each."""

    faults: list[Fault] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)


def make_subject(root: Path, name: str, rng: random.Random, outcome: Outcome, **settings: int) -> Subject:
    """A study with tiles of its own and a data folder of its own, so that no other knows of its openings."""
    folder = root / name
    tiles, data_home, scratch = folder / "tiles", folder / "data", folder / "tmp"
    scratch.mkdir(parents=True)
    write_demo_tiles(tiles, size_px=128, num_train=4, num_val=2, num_test=2)
    flags = f"--data {tiles} --out {folder / 'study'} --profile smoke --architectures unet --tiles 2 4 --window-px 64"
    flags += f" --epochs {EPOCHS} --seeds 2 --test"
    for setting, value in settings.items():
        flags += f" --{setting.replace('_', '-')} {value}"
    subject = Subject(
        name=name,
        out=folder / "study",
        tiles=tiles,
        data_home=data_home,
        flags=flags.split(),
        rng=rng,
        environment={
            "XDG_DATA_HOME": str(data_home),
            "TMPDIR": str(scratch),
            "RAY_TMPDIR": str(root),  # its sockets allow no long names
        },
        faults=outcome.faults,
        broken=outcome.broken,
    )
    outcome.subjects.append(subject)
    return subject


def hang_flags() -> list[str]:
    """When a trial hangs; later where the machine is busy."""
    return ["--hang-minutes", f"{HANG_MINUTES * busyness():.2f}"]


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
