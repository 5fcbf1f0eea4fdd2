"""What a trial costs that costs nothing itself: start, each further trial, end; of Fewtile and of its peers."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.table import Row, Spread

FEWTILE = "fewtile"
PEERS = {
    "Ray Tune as documented": ["ray_tune"],
    "Ray Tune, class, reuse_actors": ["ray_tune", "--reuse-actors"],
    "a fresh process per trial": ["process_per_trial"],
    "Optuna alone on SQLite": ["optuna_alone", "--storage", "sqlite"],
    "Optuna alone on a journal": ["optuna_alone", "--storage", "journal"],
}
NUM_TRIALS, MANY_REPORTS = 20, 60
SETTLED = 4
"""Trials after which all workers have begun: what they cost is not counted to the further ones."""


class Timeline(NamedTuple):
    """Of one run of an orchestrator.

    Attributes:
        start: From the start of its process until its first trial began (s).
        further: Between the ends of two trials, once all workers have begun (s).
        end: From the end of the last trial until the process ended (s).
    """

    start: float
    further: list[float]
    end: float


def rows() -> Iterator[Row]:
    """Runs all orchestrators, one after the other; the rows of trials of one report and of many."""
    for reports, words in ((1, "no-op trials"), (MANY_REPORTS, f"trials of {MANY_REPORTS} reports")):
        ours = timeline([FEWTILE], reports)
        peers = {name: timeline(command, reports) for name, command in PEERS.items()}
        for name, theirs in peers.items():
            further = Spread.mean_of(ours.further), Spread.mean_of(theirs.further)  # two at a time may end in pairs
            yield _row(f"{words}: each further trial", further[0], name, further[1])
        if reports == 1:
            for name, theirs in peers.items():
                yield _row("start until the first step", Spread.of([ours.start]), name, Spread.of([theirs.start]))
            for name, theirs in peers.items():
                yield _row("last trial until the end", Spread.of([ours.end]), name, Spread.of([theirs.end]))


def timeline(command: list[str], reports: int, num_trials: int = NUM_TRIALS) -> Timeline:
    """Runs one orchestrator, as a person would start it, in an empty folder."""
    script, *flags = command
    with tempfile.TemporaryDirectory(prefix="fewtile-bench-") as name:
        folder, log = Path(name), Path(name) / "printed"
        events = folder / "events"
        whole = [sys.executable, "-m", f"benchmarks.orchestration.{script}", f"--trials={num_trials}"]
        whole += [f"--reports={reports}", f"--events={events}", f"--folder={folder}", *flags]
        environment = os.environ | {"WANDB_MODE": "disabled", "RAY_AIR_NEW_OUTPUT": "0"}
        started = time.time()
        with log.open("wb") as stream:
            code = subprocess.run(whole, stdout=stream, stderr=subprocess.STDOUT, env=environment).returncode
        ended = time.time()
        if code or not events.exists():
            raise RuntimeError(f"{' '.join(whole)} ended with {code}: {log.read_text(errors='replace')[-2000:]}")
        return read_timeline(events.read_text(encoding="utf-8"), started, ended)


def read_timeline(events: str, started: float, ended: float) -> Timeline:
    """The timeline of a file of events (see `objective`), and of when the process began and ended."""
    times: dict[str, list[float]] = {"began": [], "ended": []}
    for line in events.splitlines():
        what, at = line.split()
        times[what].append(float(at))
    ends = sorted(times["ended"])
    settled = ends[min(SETTLED, len(ends) - 2) :]
    further = [later - earlier for earlier, later in pairwise(settled)]
    return Timeline(min(times["began"]) - started, further, ended - ends[-1])


def _row(what: str, ours: Spread, peer: str, theirs: Spread) -> Row:
    return Row(what=what, unit="s", ours=ours, peer=peer, theirs=theirs)
