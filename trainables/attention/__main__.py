"""Where one pixel of an image looks: SegFormer's self-attention from it, stage by stage, as arrays in a file.

`python -m trainables.attention CHECKPOINT IMAGE --pixel X Y` writes them; `python -m analysis.attention` draws them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from trainables.common.command import Parser, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the attention from one pixel, as the command line says."""
    parser = Parser(prog="python -m trainables.attention", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a best.pt of segformer_mit_b3")
    parser.add_argument("image", type=Path, help="an image like its tiles, of any size")
    parser.add_argument("--pixel", type=int, nargs=2, metavar=("X", "Y"), required=True, help="column and row, from 0")
    parser.add_argument(
        "--bands",
        type=int,
        nargs="+",
        metavar="N",
        help="the image's bands that the model knows, from 1; all if left out",
    )
    parser.add_argument("--to", type=Path, default=Path("attention.npz"), help="the file to write (%(default)s)")
    given = parser.parse_args(arguments)
    from trainables.attention.maps import write_attention  # here: --help needs no torch

    x, y = given.pixel
    shapes = write_attention(given.checkpoint, given.image, x, y, given.to, given.bands)
    words = ", ".join(f"{heads} × {rows}×{columns}" for heads, rows, columns in shapes)
    sys.stdout.write(
        f"{given.to}: heads × keys per stage: {words}; draw it with python -m analysis.attention {given.to}\n"
    )
    return 0


if __name__ == "__main__":
    run(main)
