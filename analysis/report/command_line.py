"""The command line of the report. It is read before the libraries are imported that draw figures."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from trainables.common.command import Parser


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The folders of studies `out`, the W&B project `wandb` and the report's folder `to`; None where left out.

    Args:
        arguments: Those of the process if None.
    """
    parser = Parser(
        prog="python -m analysis.report",
        description="Writes the report of one or more studies from their W&B logs: tables, figures and a page.",
    )
    help_out = "folders of studies, those that hold wandb/"
    parser.add_argument("out", metavar="OUT", nargs="*", type=Path, help=help_out)
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="read all studies of this W&B project as well")
    help_to = "folder of the report; OUT/report if left out, and for several studies report beside the first"
    parser.add_argument("--to", metavar="DIR", type=Path, help=help_to)
    return parser.parse_args(arguments)
