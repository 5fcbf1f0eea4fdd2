"""Phase 2: tunes every architecture under an equal allowance and tells which configuration was best for each."""

import sys

from rich.console import Console

from analysis.report import show
from studies import cli
from studies.study import run_study
from trainables.command import EXIT_INTERRUPTED, run


def main() -> int:
    """Runs the phase; the exit code: 0, 1 when an arm selected nothing, 2 for a user's error, 130 when interrupted."""
    spec, out = cli.read_command_line(sys.argv[1:], description=__doc__ or "")
    console = Console()
    if out is None:
        out = next(path for path in cli.default_folders("phase2") if not path.exists())
    result = run_study(spec, out=out, console=console)
    if not result.complete:
        console.print(f"interrupted: {result.out} holds the trials that ended; nothing was selected", highlight=False)
        return EXIT_INTERRUPTED
    if result.report is not None:
        show(result.report, console)
    console.print(f"study     {result.out}\nselection {result.out / 'selection.json'}", highlight=False)
    for arm, reason in result.unselected.items():
        console.print(f"{arm}: no trial ran its course; the last one: {reason}", highlight=False)
    return 1 if result.unselected else 0


if __name__ == "__main__":
    run(main)
