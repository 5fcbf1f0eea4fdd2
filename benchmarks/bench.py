"""All benchmarks of a CPU, in one run beside their peers: a table with ratios, and `benchmarks/results/latest.json`.

    make bench          [ONLY="draws steps"]

Takes some 10 minutes on two cores that do nothing else. Numbers are medians, and means of trials and draws, with
quartiles in parentheses where something was measured several times.
"""

import argparse
import importlib
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks.table import Row, show, write_rows
from trainables.common.command import Parser, run

SECTIONS = {
    "orchestration": "benchmarks.orchestration.rows",
    "draws": "benchmarks.draws",
    "driver": "benchmarks.driver",
    "search": "benchmarks.search",
    "logs": "benchmarks.logs",
    "steps": "benchmarks.steps",
    "study": "benchmarks.study",
}
"""Modules whose `rows` measure; each is imported when its turn has come."""

RESULTS = Path(__file__).parent / "results" / "latest.json"
LIBRARIES = ("torch", "ray", "optuna", "albumentations", "segmentation-models-pytorch")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="|".join(SECTIONS))
    parser.add_argument("--json", type=Path, default=RESULTS, help="file for the numbers (default: %(default)s)")
    options = parser.parse_args(arguments)
    console, started = Console(highlight=False, markup=False), time.monotonic()
    rows: list[Row] = []
    about = about_machine()
    for number, name in enumerate(options.only, start=1):
        seconds = time.monotonic() - started
        console.print(f"[{number}/{len(options.only)}] {name} · {seconds:.0f} s so far", soft_wrap=True)
        for row in importlib.import_module(SECTIONS[name]).rows():
            rows.append(row)
            write_rows(options.json, rows, about)  # what was measured outlasts what goes wrong later
    title = f"{about['processor']}, {about['cores']} cores, {about['date']}, torch {about['torch']}, ray {about['ray']}"
    show(rows, console, title=title)
    console.print(f"numbers   {options.json}", soft_wrap=True)
    console.print(f"done in {(time.monotonic() - started) / 60:.1f} min")
    return 0


def about_machine() -> dict[str, str]:
    """The processor, the date and the versions of what was measured."""
    import torch

    from trainables.device import device_model

    cores = str(os.cpu_count())
    about = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "processor": device_model(torch.device("cpu")), "cores": cores}
    return about | {name: version(name) for name in LIBRARIES}


if __name__ == "__main__":
    run(main)
