"""Shows how far a study is: its stages, the time left for all of it, and the trials of each arm."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from analysis.logs.forecast_row import ForecastRow
from studies.models.scores import ScoringFailure, ScoringResult
from studies.search.coordinator import Coordinator
from studies.search.forecast import Forecast, StageName
from studies.search.trials import Trial, TrialKey, name_of
from trainables.common.duration import duration

REFRESH_SECONDS = 1.0

BAR_WIDTH = 24
"""Characters."""


@dataclass(slots=True)
class _Stage:
    """A stage that has begun: `done` of `total` units, of which `known` were done before and cost nothing."""

    name: StageName
    total: int
    coordinator: Coordinator | None = None
    known: int = 0
    done: int = 0
    began: float = field(default_factory=lambda: time.monotonic())
    ended: float | None = None


class StudyProgress:
    """Shows a study's stages: a bar for each on a terminal; in a log a line for each stage, trial and scored model.

    A context: a terminal is given back at its end.

    Args:
        console: Where it is shown.
    """

    def __init__(self, console: Console):
        self._console = console
        self._forecast: Forecast
        self._began = time.monotonic()
        self._refreshed = 0.0
        self._stages: dict[StageName, _Stage] = {}
        self._open: list[_Stage] = []
        self._live: Live | None = None
        self._first_forecast: tuple[float, float] | None = None

    def __enter__(self) -> "StudyProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._end(self._open)
        if self._live is not None:
            self._live.update(self.render(), refresh=True)
            self._live.stop()

    def start(self, forecast: Forecast) -> None:
        """Shows the stages from now on; the forecast learns from the trials of every stage that begins."""
        self._forecast = forecast
        if self._console.is_terminal:
            # Ray's session replaces stderr before this starts, and puts it back before this ends
            self._live = Live(console=self._console, auto_refresh=False, redirect_stderr=False)
            self._live.start()

    def begin(self, name: StageName, total: int = 1, *, done: int = 0, coordinator: Coordinator | None = None) -> None:
        """Begins a stage, which ends those before it.

        Args:
            name: One of the forecast's stages.
            total: Trials or models in all.
            done: Those that were done before.
            coordinator: Of the stage's trials, where it trains.
        """
        self._end(self._open)
        self._begin(_Stage(name, total, coordinator, known=done, done=done))

    def begin_beside(self, name: StageName, total: int, *, done: int, coordinator: Coordinator) -> None:
        """Begins a stage that trains while those before it go on; or, if it has begun, corrects its counts.

        Arguments as of `begin`.
        """
        if name not in self._stages:
            self._begin(_Stage(name, total, coordinator, known=done, done=done))
            return
        stage = self._stages[name]
        stage.total, stage.known, stage.done = total, stage.known + done - stage.done, done
        self.refresh()

    def _begin(self, stage: _Stage) -> None:
        name, done = stage.name, stage.done
        self._stages[name] = stage
        self._open.append(stage)
        if stage.coordinator is not None:
            self._forecast.follow(stage.coordinator)
        stages = self._forecast.stages
        following = ", ".join(stages[stages.index(name) + 1 :])
        amount = "" if name == "report" else f": {_count(name, stage.total)}"
        amount += f", {done} of them done before" if done else ""
        left = self.seconds_left()
        self._say(
            f"{name}{amount}{f'; then {following}' if following else ''}"
            f"{'' if left is None else f' · about {duration(left)} left'}"
        )
        self.refresh(at_once=True)

    def _advance(self, stage: _Stage, line: str, *, is_problem: bool = False) -> None:
        """Counts a unit of a stage as done and says so; on a terminal, only problems are put in words."""
        stage.done += 1
        if line:
            left = f"about {duration(self.seconds_left())} left"
            text = f"[{stage.done}/{stage.total}] {line} · {left}"
            if is_problem and self._live is not None:
                self._console.print(text, highlight=False, soft_wrap=True)
            self._say(text)
        self.refresh()

    def skip(self, count: int) -> None:
        """Counts units of the current stage as done that cost nothing."""
        self._open[-1].done += count
        self._open[-1].known += count
        self.refresh()

    def trial_ended(self, trial: Trial) -> None:
        """Counts a trial as done; the stage ends with its last one."""
        stage, coordinator = next(
            (stage, stage.coordinator)
            for stage in self._stages.values()
            if stage.coordinator is not None and trial.key in stage.coordinator.trials
        )
        best = f"best {trial.best:.3f} in epoch {trial.best_epoch}" if trial.epoch else "no epoch"
        if not trial.config.is_judged:
            best = f"epoch {trial.epoch}, on all labels"
        title = trial.arm.title(coordinator.spec)
        self._advance(stage, f"{title} #{trial.number} {trial.outcome} ({trial.reason}): {best}")
        if self._first_forecast is None and (left := self.seconds_left(but="report")) is not None:
            self._first_forecast = time.monotonic(), left
        if stage in self._open and stage.done >= stage.total:
            self._end([stage])

    def forecast(self) -> ForecastRow | None:
        """What was left by the forecast when the first trial had ended, and what it took until now."""
        if self._first_forecast is None:
            return None
        at, left = self._first_forecast
        return ForecastRow(after_seconds=at - self._began, left_seconds=left, took_seconds=time.monotonic() - at)

    def model_scored(self, key: TrialKey, result: ScoringResult, seconds: float) -> None:
        """Counts a model of the current stage as done, whose scoring took so long."""
        if isinstance(result, ScoringFailure):
            line = f"{name_of(key)} {result.reason}"
        else:
            line = f"{name_of(key)} scored in {duration(seconds)}{f' {result.scored}' if result.scored else ''}"
        if key[1] < 0:  # several together, each of which is counted itself
            self._say(line)
        else:
            self._advance(self._open[-1], line, is_problem=isinstance(result, ScoringFailure))

    def refresh(self, *, at_once: bool = False) -> None:
        """Draws the terminal again, about once a second; for whoever waits."""
        now = time.monotonic()
        if self._live is not None and (at_once or now - self._refreshed >= REFRESH_SECONDS):
            self._refreshed = now
            self._live.update(self.render(), refresh=True)

    def seconds_left(self, *, but: StageName = "") -> float | None:
        """Until the whole study is done, or all of it but a stage; None until the first epoch is done."""
        parts = [self._seconds_of(name) for name in self._forecast.stages if name != but]
        return None if None in parts else sum(part for part in parts if part is not None)

    def render(self) -> Group:
        """The stages with their bars, and the arms' trials of those that train."""
        left, gone = self.seconds_left(), time.monotonic() - self._began
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for name in self._forecast.stages:
            stage = self._stages.get(name)
            done, total = (0, None) if stage is None else (stage.done, stage.total)
            if name == "report" and stage is not None and stage.ended is not None:
                done = 1
            if stage is not None and stage.ended is not None:
                time_shown = f"took {duration(stage.ended - stage.began)}"
            else:
                time_shown = f"about {duration(self._seconds_of(name))}"
            bar = ProgressBar(total=max(1, total or 1), completed=done, width=BAR_WIDTH)
            counted = "" if total is None or name == "report" else f"{done}/{_count(name, total)}"
            table.add_row(name, bar, counted, time_shown)
        parts: list[Table | str] = [
            table,
            f"{duration(gone)} gone{f', about {duration(left)} left' if left != 0 else ''}",
        ]
        parts += [arm_table(stage.coordinator) for stage in self._open if stage.coordinator is not None]
        return Group(*parts)

    def _seconds_of(self, name: StageName) -> float | None:
        """Seconds that a stage still takes: 0 for one that has ended, None where nobody knows yet."""
        stage = self._stages.get(name)
        if stage is None:
            return self._forecast.seconds(name)
        if stage.ended is not None:
            return 0.0
        if stage.coordinator is not None:
            return self._forecast.seconds(name)
        gone = time.monotonic() - stage.began
        if stage.done > stage.known:
            return gone / (stage.done - stage.known) * (stage.total - stage.done)
        expected = self._forecast.seconds(name)  # as if nothing had been done before
        if expected is None or stage.done == stage.total:
            return None if expected is None else 0.0
        return max(1.0, expected * (stage.total - stage.known) / stage.total - gone)

    def _end(self, stages: Iterable[_Stage]) -> None:
        for stage in list(stages):
            stage.ended = time.monotonic()
            self._open.remove(stage)

    def _say(self, line: str) -> None:
        if self._live is None:
            self._console.print(line, highlight=False, soft_wrap=True)


def _count(name: StageName, total: int) -> str:
    """`3 trials`, `1 model`."""
    unit = "trial" if name == "search" else "model"
    return f"{total} {unit}{'' if total == 1 else 's'}"


def arm_table(coordinator: Coordinator) -> Table:
    """The state of every arm of a stage that trains."""
    title = f"best by {coordinator.spec.judged_metric}; running: trial·epoch"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("arm", min_width=max(len(arm.name) for arm in coordinator.arms))
    for column in ("done", "stopped", "failed", "running", "to come", "best"):
        table.add_column(column, justify="right", no_wrap=True)
    for arm in coordinator.arms:
        trials = coordinator.of_arm(arm)
        finished, stopped = (sum(trial.outcome == outcome for trial in trials) for outcome in ("finished", "stopped"))
        running = [trial for trial in trials if trial.outcome is None]
        leader = coordinator.selection(arm)
        table.add_row(
            arm.title(coordinator.spec),
            str(finished),
            str(stopped),
            str(len(trials) - finished - stopped - len(running)),
            " ".join(f"#{trial.number}·{trial.epoch}" for trial in running) or "–",
            str(coordinator.allowance(arm) - len(trials)),
            f"{leader.best:.3f} #{leader.number}" if leader and leader.config.is_judged else "–",
        )
    return table
