"""What a person watches while a study runs: per arm the trials, the best so far, and the time left."""

import time
from collections.abc import Callable
from typing import Any

from ray import tune
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from studies.search.coordinator import Coordinator
from studies.search.forecast import seconds_left
from studies.search.trials import Progress
from trainables.common.duration import duration

REFRESH_SECONDS = 1.0


class ProgressDisplay(tune.Callback):  # type: ignore[misc]
    """A table that refreshes in a terminal; one line per ended trial where there is none.

    Args:
        coordinator: Of the stage.
        num_slots: Trials side by side.
        console: Where it is shown.
        later: Seconds of the study that come after the stage.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that Fewtile never makes."""
        return {}

    def __init__(
        self,
        coordinator: Coordinator,
        num_slots: int,
        console: Console,
        later: Callable[[], float] = lambda: 0.0,
    ):
        self._coordinator, self._num_slots, self._console, self._later = coordinator, num_slots, console, later
        self._started = time.monotonic()
        self._refreshed = 0.0
        self._said = {key for key, progress in coordinator.trials.items() if progress.outcome is not None}
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        if self._live is not None:
            self._live.start()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune about ten times a second."""
        now = time.monotonic()
        if self._live is not None and now - self._refreshed >= REFRESH_SECONDS:
            self._refreshed = now
            self._live.update(self.render(), refresh=True)
        if self._live is None:
            self._say_ended()

    def close(self) -> None:
        """Shows the last state and gives the terminal back."""
        if self._live is not None:
            self._live.update(self.render(), refresh=True)
            self._live.stop()
        else:
            self._say_ended()

    def render(self) -> Table:
        """The state of every arm."""
        left = self._seconds_left()
        elapsed = time.monotonic() - self._started
        metric = self._coordinator.spec.judged_metric
        title = f"{duration(elapsed)} gone, about {duration(left)} left; best by {metric}; running: trial·epoch"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("arm", min_width=max(len(arm.name) for arm in self._coordinator.arms))
        for column in ("done", "stopped", "failed", "running", "to come", "best"):
            table.add_column(column, justify="right", no_wrap=True)
        for arm in self._coordinator.arms:
            trials = self._coordinator.of_arm(arm)
            finished, stopped = (sum(p.outcome == o for p in trials) for o in ("finished", "stopped"))
            running = [p for p in trials if p.outcome is None]
            leader = self._coordinator.selection(arm)
            table.add_row(
                arm.title(self._coordinator.spec),
                str(finished),
                str(stopped),
                str(len(trials) - finished - stopped - len(running)),
                " ".join(f"#{p.assignment.number}·{p.epoch}" for p in running) or "–",
                str(self._coordinator.plan.allowance(arm) - len(trials)),
                f"{leader.best:.3f} #{leader.assignment.number}" if leader else "–",
            )
        return table

    def _say_ended(self) -> None:
        for key, progress in self._coordinator.trials.items():
            if progress.outcome is not None and key not in self._said:
                self._said.add(key)
                self._console.print(self._line(progress), highlight=False, soft_wrap=True)

    def _line(self, progress: Progress) -> str:
        done = sum(p.outcome is not None for p in self._coordinator.trials.values())
        total = sum(self._coordinator.plan.allowance(arm) for arm in self._coordinator.arms)
        left = duration(self._seconds_left())
        best = f"best {progress.best:.3f} in epoch {progress.best_epoch}" if progress.epoch else "no epoch"
        arm = progress.assignment.arm.title(self._coordinator.spec)
        what = f"{arm} #{progress.assignment.number} {progress.outcome} ({progress.reason})"
        return f"[{done}/{total}] {what}: {best} · about {left} left"

    def _seconds_left(self) -> float | None:
        """Until the whole study is done."""
        stage = seconds_left(self._coordinator, self._num_slots)
        return None if stage is None else stage + self._later()
