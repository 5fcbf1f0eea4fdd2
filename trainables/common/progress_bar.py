"""Steps over tiles that a progress bar can follow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Track: TypeAlias = Callable[[Sequence[str], str], Iterable[str]]
"""Is given the tile ids of a step and its name, and yields the ids."""


def no_track(tiles: Sequence[str], step: str) -> Iterable[str]:
    """The ids as they are."""
    return tiles


@contextmanager
def progress_bar(console: Console) -> Iterator[Track]:
    """A bar per step with the time left; in a terminal only."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def track(tiles: Sequence[str], step: str) -> Iterable[str]:
            return progress.track(tiles, description=step) if tiles else ()

        yield track
