"""What the scripts of all phases do: read the command line, run the study or a dry run, and show the result."""

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from studies import command_line as cli
from studies.files.folder import MODELS, has_study
from studies.profiles import PhaseName
from trainables.common.command import EXIT_INTERRUPTED, EXIT_OUT_OF_TIME
from trainables.common.errors import UserError

if TYPE_CHECKING:
    from studies.study import StudyResult


def run_phase(phase: PhaseName, description: str | None) -> int:
    """Runs a phase as its command line says; the exit code.

    0; 1 when an arm selected nothing or could not be tested; 2 for what only a person can mend; 75 when `--max-hours`
    ended it, 130 when a signal did.
    """
    request = cli.read_command_line(sys.argv[1:], phase=phase, description=description or "")
    console = Console(markup=False, emoji=False)  # reasons and paths may have [brackets]
    out = request.out
    if request.is_dry_run and request.options.resume:
        raise UserError("--dry-run is about a new study: python -m studies.status OUT says what is left of one")
    if out is None:
        out = next(path for path in cli.default_folders(phase) if not path.exists())
    if request.is_dry_run:
        from studies.dry_run import show_plan  # here, and below: --help needs neither

        show_plan(request, out, console)
        return 0
    from studies.study import run_study  # with Ray and torch

    try:
        result = run_study(request.spec, out=out, console=console, options=request.options)
    except KeyboardInterrupt:  # before the first trial, after the last score, or by a second signal
        what = f"resume with --out {out.resolve()} --resume" if has_study(out) else "no study was begun"
        console.print(f"interrupted: {what}", highlight=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    return _show_result(result, console)


def _show_result(result: "StudyResult", console: Console) -> int:
    """Shows the result of a study; the exit code."""
    if result.ending is not None:
        console.print(f"{result.ending}: resume with --out {result.out} --resume", highlight=False, soft_wrap=True)
        return EXIT_OUT_OF_TIME if result.ending == "out of time" else EXIT_INTERRUPTED
    if result.report is not None:
        from analysis.report.write import show

        show(result.report, console)
    console.print(f"study     {result.out}", highlight=False)
    if result.report is None and (result.out / MODELS).exists():
        console.print(f"scores    {result.out / MODELS}", highlight=False)
    for arm, reason in result.unselected.items():
        console.print(f"{arm}: no trial ran its course; the last one: {reason}", highlight=False)
    for arm, reason in result.untested.items():
        console.print(f"{arm}: not tested: {reason}", highlight=False)
    for arm, reason in result.unvalidated.items():
        console.print(f"{arm}: its selected model could not be validated: {reason}", highlight=False)
    return 1 if result.unselected or result.unvalidated or result.untested else 0
