"""Draws where a pixel of an image looks, one panel per stage of SegFormer: `python -m analysis.attention FILE.npz`."""

import argparse
import sys
from collections.abc import Sequence

from analysis.given import given_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the file that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.attention", description=__doc__)
    parser.add_argument("file", type=given_path, help="what python -m trainables.attention wrote")
    parser.add_argument("--head", type=int, metavar="N", help="one head, from 1; the mean over heads if left out")
    parser.add_argument(
        "--to", type=given_path, metavar="FILE.png", help="the picture, .png or .svg; beside the file, as .png"
    )
    given = parser.parse_args(arguments)
    from analysis.attention.draw import AttentionError, write_picture  # here: --help needs no matplotlib

    try:
        to = given.file.with_suffix(".png") if given.to is None else given.to
        write_picture(given.file, to, given.head)
    except AttentionError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: the picture cannot be written: {error}\n")
        return 2
    sys.stdout.write(f"{to}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
