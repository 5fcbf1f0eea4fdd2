"""Phase 2: tunes every architecture under an equal allowance and tells which configuration was best for each."""

import sys

from rich.console import Console

from analysis.report import show
from studies import cli
from studies.study import run_study
from trainables.command import EXIT_INTERRUPTED, EXIT_OUT_OF_TIME, run


def main() -> int:
    """Runs the phase; the exit code.

    0; 1 when an arm selected nothing or could not be tested; 2 for what only a person can mend; 75 when `--max-hours`
    ended it, 130 when a signal did.
    """
    request = cli.read_command_line(sys.argv[1:], description=__doc__ or "")
    console = Console(markup=False, emoji=False)  # reasons and paths are shown as they are
    out = request.out
    if out is None:
        out = next(path for path in cli.default_folders("phase2") if not path.exists())
    result = run_study(request.spec, out=out, console=console, options=request.options)
    if result.ending is not None:
        console.print(f"{result.ending}: go on with --out {result.out} --resume", highlight=False, soft_wrap=True)
        return EXIT_OUT_OF_TIME if result.ending == "out of time" else EXIT_INTERRUPTED
    if result.report is not None:
        show(result.report, console)
    console.print(f"study     {result.out}\nselection {result.out / 'selection.json'}", highlight=False)
    for arm, reason in result.unselected.items():
        console.print(f"{arm}: no trial ran its course; the last one: {reason}", highlight=False)
    for arm, reason in result.untested.items():
        console.print(f"{arm}: not tested: {reason}", highlight=False)
    for arm, reason in result.unvalidated.items():
        console.print(f"{arm}: its selected model could not be validated: {reason}", highlight=False)
    return 1 if result.unselected or result.unvalidated or result.untested else 0


if __name__ == "__main__":
    run(main)
