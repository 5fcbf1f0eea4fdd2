"""Makes a folder of tiles, in the layout of record, from a published data set: the command line of all adapters."""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trainables.common.command import Parser, run
from trainables.common.progress_bar import progress_bar
from trainables.datasets import inria_crops
from trainables.datasets.adapters import ADAPTERS
from trainables.datasets.sources.classes import absent_class_notes
from trainables.datasets.sources.plan import Plan
from trainables.datasets.write import write_tiles

INRIA = "inria"
"""Has a command of its own: its tiles are crops that a person may nudge."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code is 0.

    Raises:
        UserError: A flag is wrong, or the source or the folder to make is not as the data set's adapter needs it.
    """
    flags = _parser().parse_args(argv)
    console = Console(highlight=False, markup=False)
    if flags.DATASET == INRIA:
        inria_crops.run(flags, console)
        return 0
    settings = {name: value for name, value in vars(flags).items() if name not in ("DATASET", "dst")}
    plan = ADAPTERS[flags.DATASET].plan(**settings)
    with progress_bar(console) as track:
        counts = write_tiles(flags.DATASET, plan, flags.dst, track=track)
    _show(plan, counts, flags.dst, console)
    return 0


def _parser() -> Parser:
    about = "Makes a folder of tiles from a published data set."
    parser = Parser(prog="python -m trainables.prepare", description=about, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, dest="DATASET", metavar="DATASET")
    rows: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {INRIA: (inria_crops.ABOUT, inria_crops.add_flags)}
    rows |= {name: (adapter.about, adapter.add_flags) for name, adapter in ADAPTERS.items()}
    for name, (about, add_flags) in rows.items():
        command = commands.add_parser(name, help=about, description=f"{about}.", allow_abbrev=False)
        add_flags(command)
        to_make = "folder to make, to finish or to change" if name == INRIA else "folder to make or to finish"
        command.add_argument("--dst", type=Path, required=True, metavar="DIR", help=to_make)
    return parser


def _show(plan: Plan, counts: Mapping[str, NDArray[np.int64]], dst: Path, console: Console) -> None:
    """Says what was made: pixels per class and split, notes, and where everything lies."""
    table = Table(box=SIMPLE_HEAD, title="pixels per class", title_justify="left")
    table.add_column("class")
    for split in counts:
        num_tiles = sum(tile.split == split for tile in plan.tiles)
        table.add_column(f"{split} ({num_tiles} tiles)", justify="right")
    totals = {split: int(count.sum()) for split, count in counts.items()}
    names = [*plan.info.classes, *(["ignored"] if plan.info.ignore_index is not None else [])]
    for index, name in enumerate(names):
        cells = [f"{int(count[index]):,} {count[index] / totals[split]:6.1%}" for split, count in counts.items()]
        table.add_row(name, *cells)
    console.print(table)
    for note in (*plan.notes, *absent_class_notes(counts, plan.info)):
        console.print(note, soft_wrap=True)
    console.print()
    for name, path in (("tiles", dst), ("about", dst / "dataset.json"), ("overview", dst / "overview.png")):
        console.print(f"{name:8} {path}", soft_wrap=True)
    console.print("Look at the overview: does each mask belong to its image?")


if __name__ == "__main__":
    run(main)
