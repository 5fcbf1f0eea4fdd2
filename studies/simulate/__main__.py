"""Simulates the search of a study on any number of GPUs, without training: how long, how full, how far from the best.

    python -m studies.simulate --architectures unet unet_resnet34 --trials 32 --gpus 4
    python -m studies.simulate --recorded runs/phase2 --gpus 1 2 --samplers tpe random
    python -m studies.simulate --recorded benchmarks/recorded/roofs.json --stoppers asha extrapolate none

The searcher and the scheduler are those of phase 2; learning curves are made up, or those that a study has recorded.
"extrapolate" stops a trial that would not become its arm's best even if it grew as no finished one did.
"busy" is the share of the GPUs' time that trained. "regret" is by how much the selected trial of an arm is under the
best that is known of it (of all these searches and many random points): the mean over arms, and "worst" that of the
worst arm. "to target" are the epochs of an arm until a trial that ran its course came within .01 of that best: the
median of the arms that got there, and how many did.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import optuna
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from studies.command_line import make_spec
from studies.search.plans import Search
from studies.settings.arms import Arm
from studies.simulate.clock import NEAR, Extrapolating, Simulated, simulate
from studies.simulate.curves import Curves, MadeUp, Recorded, best_known
from studies.simulate.recording import Recording
from studies.spec import StudySpec
from trainables.common.command import Parser, add_flags, run
from trainables.common.progress_bar import progress_bar
from trainables.config import Recipe

SEARCHES = {"asha": Search, "extrapolate": Extrapolating, "none": Search}
FIELDS = ("architectures", "tiles", "trials", "grace_epochs", "reduction_factor", "epochs")
"""Settings of a study that flags may change."""


class Case(NamedTuple):
    """What a row of the table is about."""

    sampler: str
    stopper: str
    gpus: int


def main(argv: Sequence[str] | None = None) -> int:
    """Simulates every combination that the command line asks for, and prints a row for each; the exit code is 0."""
    flags = _parser().parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)  # so that no number is cut
    cases = [Case(*each) for each in itertools.product(flags.samplers, flags.stoppers, flags.gpus)]
    seeds = range(flags.repeats)
    recording = Recording.read(flags.recorded) if flags.recorded else None
    specs = {(case, seed): _spec(flags, recording, case, seed) for seed in seeds for case in cases}
    runs: dict[Case, list[Simulated]] = {case: [] for case in cases}
    seconds = dict.fromkeys(cases, 0.0)
    known: list[dict[Arm, float]] = []
    with progress_bar(console) as track:
        for seed in map(int, track([str(seed) for seed in seeds], "simulating")):
            first = specs[cases[0], seed]  # neither sampler nor ladder changes what a point comes to
            curves: Curves = Recorded(recording, first) if recording else MadeUp(spec=first, seed=seed)
            for case in cases:
                started = time.perf_counter()
                runs[case].append(simulate(specs[case, seed], curves, gpus=case.gpus, search=SEARCHES[case.stopper]))
                seconds[case] += time.perf_counter() - started
            found = {arm: max(its[-1].arms[arm].best for its in runs.values()) for arm in first.arms()}
            known.append({arm: max(best, best_known(first, curves, arm)) for arm, best in found.items()})
    _show({case: _cells(runs[case], known, seconds[case]) for case in cases}, console)
    return 0


def _show(rows: Mapping[Case, Sequence[str]], console: Console) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for name in ("sampler", "stopper"):
        table.add_column(name, no_wrap=True)
    for name in ("GPUs", "hours", "busy", "epochs", "regret", "worst", "to target", "took"):
        table.add_column(name, justify="right", no_wrap=True)
    for case, cells in rows.items():
        table.add_row(case.sampler, case.stopper, str(case.gpus), *cells)
    console.print(table)


def _cells(runs: Sequence[Simulated], known: Sequence[dict[Arm, float]], seconds: float) -> list[str]:
    """A row's numbers: means over runs; of regrets the mean over arms, and that of the worst one."""
    regrets = [
        [best[arm] - found.best for arm, found in one.arms.items()] for one, best in zip(runs, known, strict=True)
    ]
    targets = [
        found.epochs_until(best[arm] - NEAR)
        for one, best in zip(runs, known, strict=True)
        for arm, found in one.arms.items()
    ]
    reached = [epochs for epochs in targets if epochs is not None]
    until = f"{statistics.median(reached):.0f} ({len(reached)}/{len(targets)})" if reached else f"– (0/{len(targets)})"
    mean = statistics.mean
    return [
        f"{mean(one.hours for one in runs):.2f}",
        f"{100 * mean(one.utilisation for one in runs):.0f} %",
        f"{mean(sum(arm.epochs for arm in one.arms.values()) for one in runs):.0f}",
        f"{mean(map(mean, regrets)):.3f}",
        f"{mean(map(max, regrets)):.3f}",
        until,
        f"{seconds:.1f} s",
    ]


def _spec(flags: argparse.Namespace, recording: Recording | None, case: Case, seed: int) -> StudySpec:
    """The study that flags describe, or the recorded one with what they change.

    Raises:
        UserError: A value is not allowed.
    """
    usual = StudySpec().flat() if recording else make_spec({"profile": "full"}).flat()
    settings = usual | dict(recording.settings if recording else {})
    settings |= {"tiles": settings["tiles"] or ([24] if settings["labels"] is None else None)}
    settings |= {name: value for name in FIELDS if (value := getattr(flags, name)) is not None}
    settings |= {"sampler": case.sampler, "seed": seed}
    if case.stopper == "none":
        settings["grace_epochs"] = settings["epochs"]
    return StudySpec.from_flat(settings)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m studies.simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--recorded", type=Path, metavar="STUDY", help="take arms and curves of that study: its folder, or a file"
    )
    fields = StudySpec.model_fields | Recipe.model_fields
    add_flags(parser, {name: fields[name] for name in FIELDS})
    number = partial(_at_least, 1)
    parser.add_argument(
        "--gpus", nargs="+", type=number, default=[1], metavar="N", help="trials side by side (default: 1)"
    )
    parser.add_argument(
        "--samplers", nargs="+", choices=("tpe", "gp", "random"), default=["tpe"], help="(default: tpe)"
    )
    parser.add_argument(
        "--stoppers", nargs="+", choices=tuple(SEARCHES), default=["asha", "none"], help="(default: asha none)"
    )
    parser.add_argument("--repeats", type=number, default=3, metavar="N", help="studies that are averaged (default: 3)")
    return parser


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"it is {text}, but must be a whole number of {least} or more")
    return int(text)


if __name__ == "__main__":
    run(main)
