"""The trial of all orchestrators: an IoU that costs nothing to compute, and a line for when it began and ended."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

from trainables.common.command import Parser

LR, DROPOUT = (1e-4, 1e-2), (0.0, 0.5)
"""The ranges that are searched; the first by powers of ten."""


def values(lr: float, decoder_dropout: float, *, reports: int, events: Path) -> Iterator[float]:
    """The IoU of each epoch of a trial; the first is computed when it began, and the last before it ended."""
    _note(events, "began")
    height = 0.8 - 0.15 * abs(math.log10(lr / 1e-3)) - 0.2 * decoder_dropout
    for epoch in range(1, reports + 1):
        if epoch == reports:
            _note(events, "ended")
        yield height * (1 - math.exp(-epoch / 3))


def _note(events: Path, what: str) -> None:
    with events.open("a", encoding="utf-8") as file:  # one write of a short line: processes do not mix theirs
        file.write(f"{what} {time.time()}\n")


def flags_of(description: str | None) -> Parser:
    """The command line that all orchestrators have."""
    parser = Parser(description=description)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--reports", type=int, required=True, help="that a trial makes")
    parser.add_argument("--events", type=Path, required=True, help="file for the times of trials")
    parser.add_argument("--folder", type=Path, required=True, help="for whatever is written")
    return parser
