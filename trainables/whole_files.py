"""Files that are whole or not there, and the steps over tiles that a progress bar can follow."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

Track: TypeAlias = Callable[[Sequence[str], str], Iterable[str]]
"""Is given the tile ids of a step and its name, and yields the ids; for a progress bar."""


def no_track(tiles: Sequence[str], step: str) -> Iterable[str]:
    """The ids as they are."""
    return tiles


def part_path(path: Path) -> Path:
    """Where a file is written before it is whole; always the same, so that nothing is left when a run is repeated."""
    return path.with_name(f".{path.name}.part")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under another name and renames it, so that a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part_path(path).write_bytes(content)
    part_path(path).replace(path)
