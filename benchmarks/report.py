"""Seconds and peak memory of turning a large study's W&B logs into frames, and these into the report, in one run.

    python -m benchmarks.report --out FOLDER [--runs 10000] [--epochs 60] [--to-the-end] [--report]

Writes a made-up study under FOLDER, unless one lies there, reads it in a process of its own and prints a table.
`--to-the-end` makes up a study without a ladder; `--report` measures the whole report as well.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from analysis.logs.wandb_files import read_logs
from benchmarks.made_up_study import LEVELS, NUM_SEEDS, write_study
from trainables.common.command import Parser, run

ROOT = Path(__file__).parents[1]


def _measure(step: str, out: Path) -> dict[str, float]:
    """Runs one step in this process, and returns what it took."""
    if step == "write_report":
        from analysis.report.write import write_report  # not needed to read, so it shall not count there
    started = time.perf_counter()
    counts = {}
    if step == "write_report":
        write_report([out], out / "report")
    else:
        logs = read_logs(out)
        counts = {"runs": len(logs.runs), "rows": len(logs.history)}
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "mib": _peak_mib(), **counts}


def _peak_mib() -> float:
    """The most memory that this process has had; `ru_maxrss` would count what its parent had when it started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the made-up study")
    parser.add_argument("--runs", type=int, default=10_000, help="of trials")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--to-the-end", action="store_true", help="no trial is stopped early")
    parser.add_argument("--report", action="store_true", help="measure the whole report as well")
    parser.add_argument("--measure", choices=("read_logs", "write_report"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    out: Path = options.out
    if options.measure:
        print(json.dumps(_measure(options.measure, out)))
        return 0
    if options.runs < (fewest := len(LEVELS) * (NUM_SEEDS + 1)):
        parser.error(f"--runs is {options.runs}, but must be at least {fewest}: each arm has {NUM_SEEDS} final models")
    if not out.exists():
        part = out.with_name(f"{out.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a run that was interrupted
        write_study(part, out.name, runs=options.runs, epochs=options.epochs, to_the_end=options.to_the_end)
        part.rename(out)
    size = sum(path.stat().st_size for path in out.glob("wandb/*/*.wandb"))
    print(f"{out}: {size / 2**20:.0f} MiB of W&B files\n")
    print("| step | seconds | with imports, CPU s | peak MiB | runs | rows |\n|---|---|---|---|---|---|")
    for step in ("read_logs", "write_report") if options.report else ("read_logs",):
        command = [sys.executable, "-m", "benchmarks.report", "--out", str(out.absolute()), "--measure", step]
        found = json.loads(subprocess.check_output(command, text=True, cwd=ROOT).splitlines()[-1])
        print(
            f"| {step} | {found['seconds']:.1f} | {found['cpu']:.1f} | {found['mib']:.0f} | "
            f"{found.get('runs', '')} | {found.get('rows', '')} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    run(main)
