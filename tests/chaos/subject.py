"""A study that faults are injected into: how it begins and ends, its drivers, and what has been seen on record."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import invariants
import records
from driving import SCHEDULE, ChaosError, Driver, busyness, mark_of, processes, say, tail
from invariants import Expected
from records import Key, Snapshot, TrialRecord

from trainables.datasets.demo import write_demo_tiles

ARMS = ("unet-2", "unet-4")
EPOCHS = 9
NUM_CORES = os.cpu_count() or 1

HANG_MINUTES = 0.25
"""More than a worker that is forked needs from its start to its first batch while four studies share two cores."""

REASON = "the first look was cut short"

LOGS = ("raylet.out", "raylet.err", "gcs_server.out", "gcs_server.err")


@dataclass(slots=True)
class Fault:
    """One injection; `lost` is what the record lacked when it was looked at next."""

    kind: str
    is_hit: bool
    lost: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Outcome:
    """What a scenario came to: its studies, their faults, and what does not hold, a sentence each."""

    faults: list[Fault] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    subjects: list["Subject"] = field(default_factory=list)


@dataclass(slots=True)
class Subject:
    """A study that faults are injected into, its drivers one after another.

    Attributes:
        name: Of the scenario.
        out: Its folder.
        tiles: Its tiles.
        data_home: Where the register's memory is.
        flags: Of every start.
        rng: Decides when and where.
        environment: Of every start.
        outcome: Of the scenario.
        seen: What was on record when no driver ran last.
        driver: The newest one.
        is_ending: Whether no more faults are injected.
    """

    name: str
    out: Path
    tiles: Path
    data_home: Path
    flags: list[str]
    rng: random.Random
    environment: dict[str, str]
    outcome: Outcome
    seen: Snapshot = field(default_factory=lambda: Snapshot({}, {}))
    num_starts: int = 0
    driver: Driver | None = None
    is_ending: bool = False

    @property
    def mark(self) -> str:
        """Of all its processes."""
        return mark_of(self.name)

    def start(self, *flags: str, is_first: bool = False, **environment: str) -> Driver:
        """Starts a driver on the folder."""
        self.num_starts += 1
        log = self.out.parent / f"driver-{self.num_starts:02d}.log"
        say(self.name, f"driver {self.num_starts} starts")
        more = [*flags] if is_first else [*flags, "--resume"]
        # A ledger that several machines see has no write-ahead log
        signs = [self.out / name for name in (records.LEDGER, f"{records.LEDGER}-wal", records.REGISTER)]
        self.driver = Driver(self.name, [*self.flags, *more], self.environment | environment, log=log, signs=signs)
        return self.driver

    def book(self, kind: str, is_hit: bool, detail: str = "") -> None:
        """Counts an injection."""
        self.outcome.faults.append(Fault(kind, is_hit))
        SCHEDULE.num_hits += is_hit
        say(self.name, f"{kind}{f' ({detail})' if detail else ''}{'' if is_hit else ': found nothing to hit'}")

    def settle(self) -> None:
        """Compares what is on record with what was, while no driver runs; losses are booked on the newest fault."""
        registers = [self.tiles / records.REGISTER, self.out / records.REGISTER, *self.data_home.rglob("*.jsonl")]
        now = records.take(self.out, registers)
        lost, words = records.losses(self.seen, now)
        if lost:
            self.outcome.faults[-1].lost += lost
            self.outcome.broken += [f"{self.name}: after {self.outcome.faults[-1].kind}, {text}" for text in words]
            say(self.name, f"LOST after {self.outcome.faults[-1].kind}: {'; '.join(words)}")
        ended = sum(trial.outcome is not None for trial in now.trials.values())
        epochs = sum(len(trial.values) for trial in now.trials.values())
        if now != self.seen:
            say(
                self.name,
                f"  on record: {len(now.trials)} trials, {ended} ended, {epochs} epochs, {len(now.lines)} lines",
            )
        self.seen = now

    def trials(self) -> dict[Key, TrialRecord]:
        return records.look(self.out)

    def num_epochs(self) -> int:
        return sum(len(trial.values) for trial in self.trials().values())

    def scored(self, split: str) -> list[Path]:
        """Marks of the final models that were scored to the end."""
        return list(self.out.parent.glob(f"scored-*-confirmation-*-{split}"))

    def goes_on(self, driver: Driver, num_epochs: int = 1) -> bool:
        """Waits for that many more epochs; False when the driver ended before."""
        before = self.num_epochs()
        return driver.until(lambda: self.num_epochs() >= before + num_epochs, f"{num_epochs} more epochs")


def workers(subject: Subject, driver: Driver) -> Iterator[tuple[Key, int]]:
    """The open trials of a running study and the processes that have them."""
    alive = {process.pid for process in processes(driver.mark)}
    for key, trial in subject.trials().items():
        pid = worker_of(subject, key)
        if trial.outcome is None and pid in alive:
            yield key, pid


def trial_folder(subject: Subject, key: Key) -> Path:
    return subject.out / "checkpoints" / key[0] / f"{key[1]:04d}"


def worker_of(subject: Subject, key: Key) -> int:
    """The process that had the trial last; 0 where it is not known."""
    try:
        return int((trial_folder(subject, key) / "worker").read_text(encoding="utf-8") or 0)
    except FileNotFoundError:
        return 0


def find_worker(subject: Subject, driver: Driver) -> tuple[Key, int] | None:
    """One that has a trial with an epoch on record in this session; None when the driver ended before."""
    found: list[tuple[Key, int]] = []

    def look() -> bool:
        trials = subject.trials()
        found[:] = [(key, pid) for key, pid in workers(subject, driver) if trials[key].values]
        return bool(found)

    driver.until(look, "a worker with a trial")
    return subject.rng.choice(found) if found else None


def is_elsewhere(subject: Subject, key: Key, pid: int, epoch: int) -> bool:
    """Whether a trial has gone on with another worker than `pid`."""
    trial = subject.trials()[key]
    if trial.outcome is not None:
        return True
    return worker_of(subject, key) not in (0, pid) and trial.epoch > epoch


def is_time_left(subject: Subject) -> bool:
    """Whether more is to be injected; says so once when not."""
    is_left = SCHEDULE.may_inject
    if not is_left and not subject.is_ending:
        subject.is_ending = True
        say(subject.name, "no time for more faults: bringing the study to its end")
    return is_left


def age(driver: Driver) -> float:
    """Seconds since the driver was started."""
    return time.monotonic() - driver.began


def is_confirming(subject: Subject) -> bool:
    """Whether the confirmation has an epoch on record."""
    return any("-confirmation" in arm and trial.values for (arm, _), trial in subject.trials().items())


def make_subject(root: Path, name: str, rng: random.Random, outcome: Outcome, **settings: int) -> Subject:
    """A study with tiles of its own and a data folder of its own, so that no other knows of its openings."""
    folder = root / name
    tiles, data_home, scratch = folder / "tiles", folder / "data", folder / "tmp"
    scratch.mkdir(parents=True)
    write_demo_tiles(tiles, size_px=128, num_train=4, num_val=2, num_test=2)
    flags = f"--data {tiles} --out {folder / 'study'} --profile smoke --architectures unet --tiles 2 4 --window-px 64"
    flags += f" --epochs {EPOCHS} --test"
    for setting, value in ({"seeds": 2} | settings).items():
        flags += f" --{setting.replace('_', '-')} {value}"
    environment = {"XDG_DATA_HOME": str(data_home), "TMPDIR": str(scratch)}
    environment["RAY_TMPDIR"] = str(root)  # its sockets allow no long names
    subject = Subject(name, folder / "study", tiles, data_home, flags.split(), rng, environment, outcome)
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


def check(subject: Subject, expected: Expected) -> None:
    """Holds a complete study against the rules."""
    found = invariants.broken(subject.out, subject.tiles, subject.seen, expected)
    subject.outcome.broken += [f"{subject.name}: {text}" for text in found]


def evidence(subject: Subject) -> Iterator[str]:
    """What the next person needs where a check fails: what the driver said, which Ray is alive, and what it logged."""
    driver = subject.driver
    if driver is None:
        yield "no driver was started"
        return
    yield f"{driver.log.name}, of process {driver.pid}, which {'runs' if driver.is_running else 'has ended'}:"
    yield driver.tail()
    raylets = [process.pid for process in processes(subject.mark) if "/raylet/raylet " in process.command]
    yield f"raylets of {subject.name}: {raylets or 'none'}"
    ray_folder = Path(subject.environment["RAY_TMPDIR"]) / "ray"
    for starter in (driver.pid, os.getpid()):  # of a Ray of its own, and of a cluster
        for folder in ray_folder.glob(f"session_*_{starter}/logs"):
            for path in [folder / name for name in LOGS if (folder / name).exists()]:
                yield f"{path.relative_to(ray_folder)}:\n{tail(path, 10)}"
