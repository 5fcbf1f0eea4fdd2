"""What is logged: a log that keeps it, and the runs that are on the disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.logs.wandb_run import LoggedRun, read_run
from studies.logs import tracking


def runs_below(out: Path, folders: str = "*run-*") -> list[LoggedRun]:
    """The runs in such folders of W&B's that say which they are, oldest first."""
    found = [read_run(path, []) for path in out.glob(f"wandb/{folders}/run-*.wandb")]
    return sorted((run for run in found if run is not None), key=lambda run: run.start)


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
