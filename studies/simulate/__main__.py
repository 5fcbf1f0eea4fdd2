"""Simulates the search of a study on any number of GPUs, without training: how long, how full, how far from the best.

    python -m studies.simulate --architectures unet unet_resnet34 --trials 32 --gpus 4
    python -m studies.simulate --recorded runs/phase2 --gpus 1 2 --samplers tpe random

The searcher and the scheduler are those of phase 2; learning curves are made up, or those that a study has recorded.
"busy" is the share of the GPUs' time that trained. "regret" is by how much the selected trial of an arm is under the
best that is known of it (the best of many random points): the mean over arms, and "worst" that of the worst arm. "to
target" are the epochs of an arm until a trial that ran its course came within .01 of that best: the median of the arms
that got there, and how many did.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import optuna
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from searchspace.spaces import random_point
from studies.files import folder
from studies.profiles import TOP_CANDIDATES
from studies.settings.arms import Arm
from studies.simulate.clock import NEAR, Simulated, simulate
from studies.simulate.curves import Curves, MadeUp, Recorded
from studies.spec import StudySpec
from trainables.common.command import Parser, run
from trainables.common.errors import UserError
from trainables.common.progress_bar import progress_bar
from trainables.config import Recipe

NUM_RANDOM = 1000
"""Random points whose best is what is known of an arm."""

STOPPERS = ("asha", "none")


def main(argv: Sequence[str] | None = None) -> int:
    """Simulates every combination that the command line asks for, and prints a row for each; the exit code is 0."""
    flags = _parser().parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    console = Console(highlight=False, markup=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for name in ("sampler", "stopper"):
        table.add_column(name, no_wrap=True)
    for name in ("GPUs", "hours", "busy", "epochs", "regret", "worst", "to target", "took"):
        table.add_column(name, justify="right", no_wrap=True)
    cases = {f"{case}": case for case in itertools.product(flags.samplers, flags.stoppers, flags.gpus)}
    with progress_bar(console) as track:
        for name in track(list(cases), "simulating"):
            sampler, stopper, gpus = cases[name]
            started = time.perf_counter()
            runs = [_simulated(flags, sampler, stopper, gpus, seed) for seed in range(flags.repeats)]
            seconds = time.perf_counter() - started
            table.add_row(
                sampler, stopper, str(gpus), *_cells([one for one, _ in runs], [known for _, known in runs], seconds)
            )
    console.print(table)
    return 0


def _simulated(
    flags: argparse.Namespace, sampler: str, stopper: str, gpus: int, seed: int
) -> tuple[Simulated, dict[Arm, float]]:
    """One simulated study, and the best known IoU of each of its arms."""
    spec = _spec(flags, sampler, stopper, seed)
    curves: Curves = Recorded(flags.recorded, spec) if flags.recorded else MadeUp(spec=spec, seed=seed)
    result = simulate(spec, curves, gpus=gpus)
    return result, {arm: max(best_known(spec, curves, arm), found.best) for arm, found in result.arms.items()}


def best_known(spec: StudySpec, curves: Curves, arm: Arm) -> float:
    """The best IoU of many random points of an arm, each trained to its end."""
    space = arm.space(spec)
    return max(max(curves.values(arm, random_point(space, seed))) for seed in range(NUM_RANDOM))


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


def _spec(flags: argparse.Namespace, sampler: str, stopper: str, seed: int) -> StudySpec:
    """The study that flags describe, or the recorded one with what they change.

    Raises:
        UserError: They do not go together.
    """
    settings = folder.load_frozen(flags.recorded)[0] if flags.recorded else {}
    spec = StudySpec.from_flat(settings) if settings else None
    epochs = flags.epochs or (spec.recipe.epochs if spec else Recipe().epochs)
    changes = {
        "sampler": sampler,
        "seed": seed,
        "recipe": (spec.recipe if spec else Recipe()).model_copy(update={"epochs": epochs}),
    }
    for name in ("architectures", "tiles", "trials", "grace_epochs", "reduction_factor"):
        if (value := getattr(flags, name)) is not None:
            changes[name] = tuple(value) if isinstance(value, list) else value
    if stopper == "none":
        changes["grace_epochs"] = epochs
    base = spec.model_dump() if spec else {"architectures": TOP_CANDIDATES, "tiles": (24,)}
    try:
        return StudySpec.model_validate(base | changes)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{'/'.join(map(str, first['loc'])) or 'the study'}: {first['msg']}: see --help") from error


def _parser() -> Parser:
    parser = Parser(
        prog="python -m studies.simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = partial(_at_least, 1)
    parser.add_argument("--recorded", type=Path, metavar="STUDY", help="take arms and curves of that study's folder")
    parser.add_argument("--architectures", nargs="+", metavar="NAME", help="(default: phase 2's of full)")
    parser.add_argument("--tiles", nargs="+", type=number, metavar="N", help="data budgets (default: 24)")
    parser.add_argument("--trials", type=number, metavar="N", help="trials per arm")
    parser.add_argument("--epochs", type=number, metavar="N", help="epochs of a trial that runs its course")
    parser.add_argument("--grace-epochs", type=number, metavar="N", help="ASHA's first rung")
    parser.add_argument("--reduction-factor", type=partial(_at_least, 2), metavar="N", help="ASHA's n")
    parser.add_argument(
        "--gpus", nargs="+", type=number, default=[1], metavar="N", help="trials side by side (default: 1)"
    )
    parser.add_argument("--samplers", nargs="+", choices=("tpe", "random"), default=["tpe"], help="(default: tpe)")
    parser.add_argument("--stoppers", nargs="+", choices=STOPPERS, default=list(STOPPERS), help="(default: both)")
    parser.add_argument("--repeats", type=number, default=3, metavar="N", help="studies that are averaged (default: 3)")
    return parser


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"it is {text}, but must be a whole number of {least} or more")
    return int(text)


if __name__ == "__main__":
    run(main)
