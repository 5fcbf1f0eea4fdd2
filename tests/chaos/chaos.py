"""Injects faults at random moments into running studies and counts what is lost: `make chaos`, `make chaos-long`.

Faults are injected for two fifths of the time, three quarters of a long one, and longer where too few hit;
then the studies are brought to their end. In less than ten minutes two of the scenarios are run, and the seed chooses
these and where in a study the faults come; else all three, again and again. Exit code 0 only where nothing was lost,
every rule held, and enough faults hit a study.
"""

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from driving import SCHEDULE, ChaosError, end_all, processes, say, server
from records import LOSABLE
from rich.console import Console
from rich.table import Table
from scenarios import SCENARIOS
from subject import Fault, Outcome, evidence

LEAVE_SECONDS = 90.0
"""For what killed drivers left behind to end itself."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats a check")
    parser.add_argument("--keep", action="store_true", help="leave the studies' folders")
    parser.add_argument("--minutes", type=float, default=SCHEDULE.minutes, help="how long, on an idle machine")
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), help="these scenarios")
    arguments = parser.parse_args()
    SCHEDULE.minutes = arguments.minutes
    server()
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    began = time.monotonic()
    names = arguments.only or scenarios_of(arguments.seed)
    say("-", f"seed {arguments.seed}; {' and '.join(names)} in {root}; AR is undisturbed, and A is compared with it")
    try:
        outcomes = run(root, arguments.seed, names)
        broken = [f"{name}: {text}" for name, outcome in outcomes.items() for text in outcome.broken] + left_behind()
    finally:
        end_all()
        if not arguments.keep:
            shutil.rmtree(root, ignore_errors=True)
    faults = [fault for outcome in outcomes.values() for fault in outcome.faults]
    return report(faults, broken, arguments.seed, time.monotonic() - began)


def scenarios_of(seed: int) -> list[str]:
    """Those that there is time for."""
    if not SCHEDULE.is_short:
        return list(SCENARIOS)
    return sorted(random.Random(seed).sample(list(SCENARIOS), 2))


def run(root: Path, seed: int, names: Sequence[str]) -> dict[str, Outcome]:
    """The scenarios side by side: a driver that starts keeps one core busy, and waits for much of its time."""
    outcomes = {name: Outcome() for name in names}

    def repeated(scenario: str) -> None:
        """Again with another study, as long as there is time."""
        for name in itertools.chain([scenario], (f"{scenario}{number}" for number in itertools.count(2))):
            outcome = outcomes.setdefault(name, Outcome())
            guarded(scenario, name, outcome)
            if outcome.broken or not SCHEDULE.may_inject:
                break

    def guarded(scenario: str, name: str, outcome: Outcome) -> None:
        try:
            SCENARIOS[scenario](root, name, random.Random(f"{seed} {name}"), outcome)
        except ChaosError as error:
            outcome.broken.append(str(error))
        except Exception:
            outcome.broken.append(traceback.format_exc())
        say(name, "done" if not outcome.broken else f"FAILED: {outcome.broken[-1].splitlines()[-1]}")
        for subject in outcome.subjects if outcome.broken else ():
            say(subject.name, "\n".join(evidence(subject)))

    with ThreadPoolExecutor(len(names)) as pool:
        others = [pool.submit(repeated, name) for name in names if name != "C"]
        if "C" in names:
            repeated("C")  # Ray starts nodes in the main thread only
        for other in others:
            other.result()
    return outcomes


def left_behind() -> list[str]:
    """Processes that are still there some time after their drivers."""
    began = time.monotonic()
    while (left := processes()) and time.monotonic() - began < LEAVE_SECONDS:
        time.sleep(0.2)
    return [f"process {process.pid} is left behind: {process.command[:100]}" for process in left]


def report(faults: Sequence[Fault], broken: Sequence[str], seed: int, seconds: float) -> int:
    """Prints the table and the verdict; the exit code."""
    table = Table(title="faults and what was lost", title_justify="left")
    table.add_column("kind")
    for column in ("injected", "hit", *LOSABLE):
        table.add_column(column, justify="right")
    for kind in sorted({fault.kind for fault in faults}):
        add_row(table, kind, [fault for fault in faults if fault.kind == kind])
    table.add_section()
    add_row(table, "all", faults)
    Console(width=120).print(table)
    for text in broken:
        sys.stdout.write(f"BROKEN  {text}\n")
    num_hits = sum(fault.is_hit for fault in faults)
    num_lost = sum(sum(fault.lost.values()) for fault in faults)
    least = SCHEDULE.least_faults
    is_good = num_hits >= least and not num_lost and not broken
    sys.stdout.write(
        f"{'PASSED' if is_good else 'FAILED'}: {num_hits} faults hit a study (at least {least} wanted), "
        f"{num_lost} losses, {len(broken)} rules broken; {seconds / 60:.1f} min, seed {seed}\n"
    )
    return 0 if is_good else 1


def add_row(table: Table, name: str, faults: Sequence[Fault]) -> None:
    lost = [sum(fault.lost[what] for fault in faults) for what in LOSABLE]
    hits = sum(fault.is_hit for fault in faults)
    table.add_row(name, str(len(faults)), str(hits), *map(str, lost))


if __name__ == "__main__":
    sys.exit(main())
