"""A Ray cluster on this machine: a head with one core, and a node with another, which dies and is replaced."""

import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Any

from driving import Driver, processes, send, server
from forked import MARK, SOON
from subject import Subject, worker_of


class Nodes:
    """The cluster that a subject's drivers run on; its processes have the check's mark."""

    def __init__(self, subject: Subject):
        self._subject = subject

    def __enter__(self) -> "Nodes":
        ray_folder = str(Path(self._subject.environment["RAY_TMPDIR"]) / "ray")
        os.environ[MARK] = self._subject.mark  # drivers have others
        self._ray = server().ray(num_cpus=1, _system_config=SOON, temp_dir=ray_folder)
        self._cluster = self._ray.__enter__()
        self._add()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ray.__exit__(kind, error, at)
        del os.environ[MARK]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def kill_under_a_trial(self, driver: Driver) -> None:
        """While the node has a trial; another node takes its place."""
        self._kill(driver, "node SIGKILL under a final model", lambda: set(self._trials()))

    def kill_under_a_scoring(self, driver: Driver, split: str) -> None:
        """While the node scores a final model."""

        def scorers() -> set[int]:
            marks = self._subject.out.parent.glob(f"scoring-*-confirmation-*-{split}")
            return {int(path.read_text(encoding="utf-8") or 0) for path in marks if not _done(path).exists()}

        self._kill(driver, f"node SIGKILL while it scores on {split}", scorers)

    def _trials(self) -> list[int]:
        trials = self._subject.trials()
        return [
            worker_of(self._subject, key) for key, trial in trials.items() if trial.outcome is None and trial.values
        ]

    def _kill(self, driver: Driver, kind: str, busy: Any) -> None:
        found: list[int] = []

        def look() -> bool:
            below = {p.pid for p in processes(self._subject.mark) if p.parent == self._raylet}
            found[:] = sorted(below & busy())
            return bool(found)

        driver.until(look, f"work on the node ({kind})", poll_seconds=0.02)
        if found:
            send(found[0], signal.SIGSTOP)  # it ends nothing any more, however slow this machine is
            self._cluster.remove_node(self._node, allow_graceful=False)
            send(found[0], signal.SIGKILL)  # with the power goes everything at once
        self._subject.book(kind, bool(found))
        if found:
            self._add()

    def _add(self) -> None:
        self._node = self._cluster.add_node(num_cpus=1)
        (raylet,) = self._node.all_processes["raylet"]
        self._raylet = raylet.process.pid


def _done(path: Path) -> Path:
    return path.with_name(path.name.replace("scoring-", "scored-", 1))
