"""The rows of `make bench`: what was measured of Fewtile and of a peer in the same run, as a table and as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trainables.common.whole_files import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Repeated measurements of one thing.

    Attributes:
        value: Their median; or, of what comes in turns, their mean, which says how much gets done in all.
        low: The first quartile; the only value, where there is one.
        high: The third quartile.
        count: How many there were.
    """

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The median and the quartiles of at least one value."""
        ordered = sorted(values)
        if len(ordered) == 1:
            return cls(value=ordered[0], low=ordered[0], high=ordered[0], count=1)
        low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(value=median, low=low, high=high, count=len(ordered))

    @classmethod
    def mean_of(cls, values: Sequence[float]) -> "Spread":
        """The mean and the quartiles of at least one value."""
        return replace(cls.of(values), value=statistics.fmean(values))

    def __str__(self) -> str:
        if self.count == 1:
            return _short(self.value)
        return f"{_short(self.value)} ({_short(self.low)} … {_short(self.high)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was measured.

    Attributes:
        what: In words, such as `start until the first step`.
        unit: Of both numbers, such as `s`.
        ours: Fewtile's.
        peer: The peer's name.
        theirs: The peer's; None where nothing is comparable, and the number stands alone.
        is_better_when: `less` or `more`.
    """

    what: str
    unit: str
    ours: Spread
    peer: str = ""
    theirs: Spread | None = None
    is_better_when: str = "less"

    @property
    def ratio(self) -> float | None:
        """How many times as good Fewtile is: above 1 where it is ahead, by their values; None without a peer."""
        if self.theirs is None:
            return None
        ratio = self.theirs.value / self.ours.value
        return ratio if self.is_better_when == "less" else 1 / ratio


WIDTH = 150
"""Of the table (characters), in whatever terminal."""


def show(rows: Sequence[Row], console: Console, *, title: str) -> None:
    """Prints rows as a table."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left")
    for name in ("measured", "unit"):
        table.add_column(name)
    table.add_column("Fewtile", justify="right")
    table.add_column("beside")
    table.add_column("its number", justify="right")
    table.add_column("times as good", justify="right")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        theirs = "" if row.theirs is None else str(row.theirs)
        table.add_row(row.what, row.unit, str(row.ours), row.peer, theirs, ratio)
    Console(file=console.file, width=WIDTH).print(table)


def write_rows(path: Path, rows: Sequence[Row], about: dict[str, str]) -> None:
    """Writes rows and what they were measured on as JSON, whole or not at all."""
    content = {"about": about, "rows": [asdict(row) | {"ratio": row.ratio} for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{json.dumps(content, indent=1)}\n".encode())


def _short(value: float) -> str:
    """Three digits that say something, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
