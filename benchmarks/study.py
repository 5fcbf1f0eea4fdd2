"""A small real study: how its wall clock splits into start, training, scoring, report and end."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from analysis.logs.wandb_files import read_logs
from benchmarks.table import Row, Spread
from trainables.datasets.demo import write_demo_tiles

ROOT = Path(__file__).parents[1]
FLAGS = ["--architectures", "unet:efficientnet_lite0@frozen", "unet:efficientnet_lite0@staged"]
FLAGS += ["--trials", "2", "--seeds", "2"]
PARTS = {
    "start": "until the first epoch can begin",
    "training": "search and final models",
    "scoring": "whole tiles of val and test",
    "report": "tables, figures and page",
    "end": "until the process has ended",
}


def rows() -> Iterator[Row]:
    """Runs phase 2 of `quick` with a small search on the demo's tiles, as a person would."""
    with tempfile.TemporaryDirectory(prefix="fewtile-bench-") as name:
        data, out = Path(name) / "tiles", Path(name) / "study"
        write_demo_tiles(data)
        command = [sys.executable, str(ROOT / "studies" / "phase2_tuning.py"), f"--data={data}", f"--out={out}", *FLAGS]
        started = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            lines = [(time.monotonic() - started, line) for line in process.stdout]
        ended = time.monotonic() - started
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {lines[-3:]}")
        epochs = read_logs(out).runs["seconds"].sum()
    seconds = split(lines, ended)
    for part, words in PARTS.items():
        share = f"{100 * seconds[part] / ended:.0f} % of a small study of {ended:.0f} s"
        yield Row(what=f"{part} ({words}): {share}", unit="s", ours=Spread.of([seconds[part]]))
    yield Row(
        what="share of two cores that trained while the study trained",
        unit="%",
        ours=Spread.of([100 * epochs / 2 / seconds["training"]]),
        is_better_when="more",
    )


def split(lines: Iterable[tuple[float, str]], ended: float) -> dict[str, float]:
    """Seconds of each part of a study, by when it printed the first line of each.

    Args:
        lines: Seconds since the start, and what was printed then.
        ended: Seconds until the process had ended.
    """
    begins = {"training": "search:", "scoring": "validation:", "report": "report ", "end": "done in"}
    times = {"start": 0.0}
    for at, line in lines:
        for part, words in begins.items():
            if part not in times and line.startswith(words):
                times[part] = at
    names = list(PARTS)
    return {
        part: times.get(following, ended) - times[part] for part, following in zip(names, [*names[1:], ""], strict=True)
    }
