"""Draws where a pixel of an image looks, one panel per stage of SegFormer: `python -m analysis.attention FILE.npz`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from trainables.common.command import Parser, exit_code, run
from trainables.common.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the file that the command line names; returns the exit code."""
    parser = Parser(prog="python -m analysis.attention", description=__doc__)
    parser.add_argument("file", type=Path, help="what python -m trainables.attention wrote")
    parser.add_argument("--head", type=int, metavar="N", help="one head, from 1; the mean over heads if left out")
    parser.add_argument(
        "--to", type=Path, metavar="FILE.png", help="the picture, .png or .svg; beside the file, as .png"
    )
    return exit_code(lambda: _draw(parser.parse_args(arguments)))


def _draw(given: argparse.Namespace) -> int:
    from analysis.attention.draw import write_picture  # here: --help needs no matplotlib

    to = given.file.with_suffix(".png") if given.to is None else given.to
    try:
        write_picture(given.file, to, given.head)
    except OSError as error:
        raise UserError(f"the picture cannot be written: {error}") from error
    sys.stdout.write(f"{to}\n")
    return 0


if __name__ == "__main__":
    run(main)
