"""A log that keeps what is logged, for tests of what that is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.logs import tracking


class KeptLog(tracking.WandbRun):
    """Its rows, and its pictures and captions by key."""

    def __init__(self, out: Path) -> None:
        super().__init__(out, "disabled", name="study", job_type="study", config={})
        self.rows: list[dict[str, Any]] = []
        self.pictures: dict[str, tuple[list[Any], list[str]]] = {}

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def log_pictures(self, key: str, pictures: Sequence[Any], captions: Sequence[str]) -> None:
        self.pictures[key] = (list(pictures), list(captions))

    def under(self, prefix: str) -> list[dict[str, Any]]:
        """The rows with such keys, without the prefix."""
        rows = [row for row in self.rows if f"{prefix}arm" in row]
        return [{key.removeprefix(prefix): value for key, value in row.items()} for row in rows]
