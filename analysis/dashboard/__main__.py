"""Builds a W&B workspace and a W&B report for a project's trials: `python -m analysis.dashboard entity/project`.

The numbers there are of single trials, as W&B shows them: intervals and contrasts are in `python -m analysis.report`.
"""

import argparse
import sys
from collections.abc import Sequence

from trainables.common.command import Parser, exit_code, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes, or with --dry-run prints, what the command line names; returns the exit code."""
    parser = Parser(prog="python -m analysis.dashboard", description=__doc__)
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="W&B project with the runs of one or more studies")
    parser.add_argument("--metric", help="judged metric that the panels show; by default what the studies say")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the specification, with no server and no login (metric: val/iou)"
    )
    return exit_code(lambda: _make(parser.parse_args(arguments)))


def _make(given: argparse.Namespace) -> int:
    from analysis.dashboard.build import save, specification  # here: --help needs no W&B
    from analysis.logs.wandb_api import check_project

    check_project(given.project)
    if given.dry_run:
        sys.stdout.write(specification(given.project, given.metric or "val/iou"))
        return 0
    view, document = save(given.project, given.metric)
    sys.stdout.write(f"workspace: {view}\nreport:    {document}\n")
    return 0


if __name__ == "__main__":
    run(main)
