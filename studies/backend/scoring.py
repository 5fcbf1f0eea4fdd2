"""Scores models on whole tiles, side by side on Ray: retried where a worker is lost or memory is short."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from rich.console import Console

from studies.backend.lost_workers import reason_of
from studies.backend.scoring_worker import ScoringWorker
from studies.backend.slots import Slots
from studies.backend.watch import GRACE_SECONDS, NO_ROOM_SECONDS, STOP_SECONDS, Permit
from studies.models.evaluation import score_model
from studies.models.scores import Evaluate, ModelScores, ScoringFailure, ScoringJob, ScoringMode, ScoringResult
from studies.search.coordinator import MAX_LOSSES
from studies.search.trials import TrialKey, name_of
from trainables.data.tiles import DatasetInfo, Tiles

POLL_SECONDS = 0.5

WINDOW_PX = 512
"""Side of the windows that a model is scored in where whole tiles are too much for the memory."""

OnScored = Callable[[TrialKey, ScoringResult, float], None]
"""Receives each model's scores, or why it has none, and the seconds that the last try took."""


def scoring_modes(slots: Slots) -> list[ScoringMode]:
    """How a model is scored: as trials run; where memory is short, alone; then in windows; then on the CPU."""
    usual = ScoringMode(label="", cpus=slots.cpus, gpus=slots.gpus)
    alone = replace(usual, cpus=slots.alone[0], gpus=slots.alone[1], is_alone=True)
    windows = replace(alone, label=f"in windows of {WINDOW_PX} px", window_px=WINDOW_PX)
    cpu = replace(windows, label=f"on the CPU, {windows.label}", gpus=0.0)
    return [usual, *([alone] if slots.has_company else []), windows, *([cpu] if slots.gpus else [])]


@dataclass(slots=True)
class _Task:
    """A model that is to be scored: the mode that is tried next, and the workers that it lost."""

    key: TrialKey
    job: ScoringJob
    mode: int = 0
    losses: int = 0


@dataclass(slots=True)
class _Running:
    """A model that a worker has, and when there was a sign of life, by this machine's clock."""

    task: _Task
    worker: Any
    began: float = field(default_factory=time.monotonic)
    stamp: float = 0.0
    seen: float | None = None
    killed: str = ""


class Scorers:
    """Workers that score models; they stay warm from one call of `score` to the next, and end with the context.

    Args:
        info: Of the tiles.
        slots: The shape of a worker and how many run side by side.
        permit: Ends a scoring that may end.
        hang_seconds: A worker that begins no tile for so long is replaced.
        console: Where retries are shown.
        evaluate: What scoring a model does.
        on_scored: Called with every model.
        on_wait: Called about twice a second.
    """

    def __init__(
        self,
        info: DatasetInfo,
        slots: Slots,
        permit: Permit,
        *,
        hang_seconds: float,
        console: Console,
        evaluate: Evaluate = score_model,
        on_scored: OnScored = lambda key, result, seconds: None,
        on_wait: Callable[[], None] = lambda: None,
    ):
        self._info, self._slots, self._permit = info, slots, permit
        self._hang_seconds, self._console, self._evaluate = hang_seconds, console, evaluate
        self._on_scored, self._on_wait = on_scored, on_wait
        self._modes = scoring_modes(slots)
        self._idle: list[tuple[tuple[int, float], Any]] = []

    def __enter__(self) -> "Scorers":
        return self

    def __exit__(self, *_: object) -> None:
        for _, worker in self._idle:
            ray.kill(worker)
        self._idle.clear()

    def prepare(self, count: int) -> None:
        """Starts workers ahead of `score`, up to so many, since imports take each of them seconds.

        They reserve no core of Ray's, or a trial that is to be retried would not get its own: so this is for slots of
        this machine's CPUs that have nothing more to do.
        """
        usual = self._modes[0]
        while len(self._idle) < min(count, self._slots.count):
            worker = ray.remote(ScoringWorker).options(num_cpus=0, max_restarts=0, max_task_retries=0).remote()
            worker.prepare.remote(self._evaluate)
            self._idle.append(((usual.cpus, usual.gpus), worker))

    def score(
        self, jobs: Mapping[TrialKey, ScoringJob], tiles: Tiles, *, first_labels: Mapping[TrialKey, str] | None = None
    ) -> dict[TrialKey, ScoringResult]:
        """Scores models on whole tiles; see `score_model`.

        A model whose scoring fails takes nothing from the others. Where the permit of the jobs is withdrawn meanwhile,
        models that were not scored by then are left out.

        Args:
            jobs: The models. Those without a permit are scored to the end whatever asks the study to end.
            tiles: Put into Ray's object store once.
            first_labels: The mode that each model was scored in before, by its label: tried first; usual if left out.
        """
        if not jobs:
            return {}
        known = first_labels or {}
        labels = [mode.label for mode in self._modes]
        waiting = [
            _Task(key, job, labels.index(known[key]) if known.get(key) in labels else 0) for key, job in jobs.items()
        ]
        may_end = all(task.job.permit is not None for task in waiting)
        running: dict[Any, _Running] = {}
        results: dict[TrialKey, ScoringResult] = {}
        stored, busy_at = ray.put(tiles), time.monotonic()
        try:
            while waiting or running:
                if may_end:
                    self._permit.check_time()
                    if self._permit.ending is not None:
                        break
                self._start(waiting, running, stored)
                self._hand_over(waiting, running, stored)
                ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
                for reference in ready:
                    ended = running.pop(reference)
                    if (result := self._result(reference, ended, waiting)) is not None:
                        results[ended.task.key] = result
                        self._on_scored(ended.task.key, result, time.monotonic() - ended.began)
                self._on_wait()
                now = time.monotonic()
                self._check_alive(running.values(), now)
                if ready or any(one.seen is not None for one in running.values()):
                    busy_at = now
                elif now - busy_at > NO_ROOM_SECONDS:
                    busy_at = now
                    self._report_no_room(may_end=may_end)
            return results | self._drain(running)
        finally:
            for one in running.values():
                ray.kill(one.worker)

    def _start(self, waiting: list[_Task], running: dict[Any, _Running], stored: Any) -> None:
        """Hands models to workers as far as there is room; one that is scored alone waits until nothing else runs."""
        while waiting and len(running) < self._slots.count:
            if any(self._modes[one.task.mode].is_alone for one in running.values()):
                return
            place = next((i for i, task in enumerate(waiting) if not self._modes[task.mode].is_alone), None)
            if place is None and running:
                return
            task = waiting.pop(place or 0)
            self._submit(task, running, stored)

    def _submit(self, task: _Task, running: dict[Any, _Running], stored: Any) -> None:
        mode = self._modes[task.mode]
        worker = self._worker((mode.cpus, mode.gpus))
        with contextlib.suppress(OSError):  # what a killed worker left is no sign of this one
            task.job.beat.unlink(missing_ok=True)
        reference = worker.score.remote(self._evaluate, task.job, mode, stored, self._info)
        running[reference] = _Running(task, worker)

    def _hand_over(self, waiting: list[_Task], running: dict[Any, _Running], stored: Any) -> None:
        """Gives models whose workers have not begun to idle ones, when there are no other models left for these.

        Where a node died, there may be room for fewer workers than were planned: idle ones would keep it for ever.
        """
        for reference, one in list(running.items()):
            mode = self._modes[one.task.mode]
            if not waiting and one.seen is None and any(shape == (mode.cpus, mode.gpus) for shape, _ in self._idle):
                del running[reference]
                ray.kill(one.worker)
                self._submit(one.task, running, stored)

    def _worker(self, shape: tuple[int, float]) -> Any:
        """An idle worker of this shape, else a new one; idle ones of another shape would take its room."""
        for place, (other, worker) in enumerate(self._idle):
            if other == shape:
                del self._idle[place]
                return worker
        for _, worker in self._idle:
            ray.kill(worker)
        self._idle.clear()
        cpus, gpus = shape
        return (
            ray.remote(ScoringWorker).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0).remote()
        )

    def _keep_worker(self, ended: _Running) -> None:
        """Keeps a worker for another model."""
        mode = self._modes[ended.task.mode]
        self._idle.append(((mode.cpus, mode.gpus), ended.worker))

    def _result(self, reference: Any, ended: _Running, waiting: list[_Task]) -> ScoringResult | None:
        """The scores of a model, or why it has none; None where it is retried, or the scoring ends."""
        task = ended.task
        try:
            result: ScoringResult = ray.get(reference)
        except ray.exceptions.OutOfMemoryError:
            return self._retry_with_less_memory(task, waiting, "out of memory on the machine: its worker was killed")
        except ray.exceptions.RayError as error:
            ray.kill(ended.worker)
            return self._retry(task, waiting, ended.killed or reason_of(error))
        if isinstance(result, ScoringFailure) and result.kind == "out of memory":
            ray.kill(ended.worker)  # what it still holds is free for the next try
            return self._retry_with_less_memory(task, waiting, result.reason)
        self._keep_worker(ended)
        if isinstance(result, ScoringFailure):
            if result.kind == "stopped":
                return None
            if result.kind == "disk" and task.job.permit is not None:
                self._permit.withdraw("user error", result.reason)
                return None
        return result

    def _retry_with_less_memory(self, task: _Task, waiting: list[_Task], reason: str) -> ScoringFailure | None:
        task.mode += 1
        if task.mode == len(self._modes):
            return ScoringFailure(reason=reason)
        how = self._modes[task.mode].label or "alone"
        self._console.print(f"{name_of(task.key)}: {reason}; retrying {how}", highlight=False)
        waiting.append(task)
        return None

    def _retry(self, task: _Task, waiting: list[_Task], reason: str) -> ScoringFailure | None:
        task.losses += 1
        if task.losses >= MAX_LOSSES:
            return ScoringFailure(reason=f"lost {task.losses} workers: {reason}")
        self._console.print(f"{name_of(task.key)}: {reason}; retrying", highlight=False)
        waiting.append(task)
        return None

    def _check_alive(self, running: Iterable[_Running], now: float) -> None:
        """Kills workers that begin no tile for too long."""
        for one in running:
            try:
                stamp = one.task.job.beat.stat().st_mtime
            except OSError:
                stamp = 0.0
            if stamp != one.stamp:
                one.stamp, one.seen = stamp, now
            if one.seen is not None and not one.killed and now - one.seen > self._hang_seconds:
                one.killed = f"its worker hung: it began no tile for {self._hang_seconds / 60:.3g} min"
                ray.kill(one.worker)

    def _report_no_room(self, *, may_end: bool) -> None:
        minutes = f"{NO_ROOM_SECONDS / 60:.3g}"
        if may_end:
            self._permit.withdraw("user error", f"no machine had room to score a model for {minutes} min: free one")
        else:  # the test tiles are open: whoever ends this now needs --reopen
            self._console.print(f"no machine had room to score a model for {minutes} min: waiting", highlight=False)

    def _drain(self, running: dict[Any, _Running]) -> dict[TrialKey, ScoringResult]:
        """Waits for workers that were asked to end; the scores of those that were done all the same.

        Those that still wait for room, and those that do not end, are left in `running`.
        """
        results: dict[TrialKey, ScoringResult] = {}
        began = time.monotonic()
        while running:
            waited = time.monotonic() - began
            has_begun = any(one.seen is not None for one in running.values())
            if waited > (STOP_SECONDS if has_begun else GRACE_SECONDS):
                break
            ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
            for reference in ready:
                one = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayError:
                    ray.kill(one.worker)
                    continue
                self._keep_worker(one)
                if isinstance(result, ModelScores):
                    results[one.task.key] = result
            self._check_alive(running.values(), time.monotonic())
        return results
