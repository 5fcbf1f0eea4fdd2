"""Scores models on whole tiles, side by side on Ray: retried where a worker is lost or memory is short."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from studies.backend.lost_workers import reason_of
from studies.backend.slots import Slots
from studies.backend.watch import GRACE_SECONDS, NO_ROOM_SECONDS, STOP_SECONDS, Permit
from studies.backend.worker import beat_file, trial_folder
from studies.models.evaluation import Evaluate, Job, Way, known_scores, score_model
from studies.search.coordinator import MAX_LOSSES
from studies.spec import Arm
from trainables.common.duration import duration
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal

POLL_SECONDS = 0.5

WINDOW_PX = 512
"""Side of the windows that a model is scored in where whole tiles are too much for the memory."""

Key = tuple[Arm, int]
"""A model: its arm, and its number in it."""


def ways(slots: Slots) -> list[Way]:
    """How a model is scored: as trials run; where memory is short, alone; then in windows; then on the CPU."""
    usual = Way(words="", cpus=slots.cpus, gpus=slots.gpus)
    alone = replace(usual, cpus=slots.alone[0], gpus=slots.alone[1], is_alone=True)
    windows = replace(alone, words=f"in windows of {WINDOW_PX} px", window_px=WINDOW_PX)
    cpu = replace(windows, words=f"on the CPU, {windows.words}", gpus=0.0)
    return [usual, *([alone] if slots.has_company else []), windows, *([cpu] if slots.gpus else [])]


@dataclass(slots=True)
class _Task:
    """A model that is to be scored: the way that is tried next, and the workers that were lost by it."""

    key: Key
    job: Job
    way: int = 0
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


class _Worker:
    """A process of Ray's that scores one model after another."""

    def score(self, evaluate: Evaluate, job: Job, way: Way, tiles: Tiles, info: DatasetInfo) -> dict[str, Any]:
        """See `score_model`."""
        return evaluate(job, way, tiles, info)


class Scorers:
    """Workers that score models; they stay warm from one call of `score` to the next, and end with the context.

    Args:
        info: Of the tiles.
        slots: The shape of a worker and how many run side by side.
        permit: Ends a scoring that may end.
        hang_seconds: A worker that begins no tile for so long is replaced.
        console: Where progress is shown.
        evaluate: What scoring a model does.
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
    ):
        self._info, self._slots, self._permit = info, slots, permit
        self._hang_seconds, self._console, self._evaluate = hang_seconds, console, evaluate
        self._ways = ways(slots)
        self._idle: list[tuple[tuple[int, float], Any]] = []

    def __enter__(self) -> "Scorers":
        return self

    def __exit__(self, *_: object) -> None:
        for _, worker in self._idle:
            ray.kill(worker)
        self._idle.clear()

    def score(
        self,
        jobs: Mapping[Key, Job],
        tiles: Tiles,
        *,
        first_words: Mapping[Key, str] | None = None,
        later: Callable[[], float] = lambda: 0.0,
    ) -> dict[Key, dict[str, Any]]:
        """Scores models on whole tiles; see `score_model`.

        A model whose scoring fails has an `error` instead: it takes nothing from the others. Where the permit of the
        jobs is withdrawn meanwhile, models that were not scored by then are left out.

        Args:
            jobs: The models. Those without a permit are scored to the end whatever asks the study to end.
            tiles: Put into Ray's object store once.
            first_words: The way that each model was scored in before, by its `scored`: tried first; usual if left out.
            later: Seconds of the study that come after this, for the time left.
        """
        if not jobs:
            return {}
        known = first_words or {}
        words = [way.words for way in self._ways]
        waiting = [
            _Task(key, job, words.index(known[key]) if known.get(key) in words else 0) for key, job in jobs.items()
        ]
        may_end = all(task.job.permit is not None for task in waiting)
        running: dict[Any, _Running] = {}
        results: dict[Key, dict[str, Any]] = {}
        stored, began, busy_at = ray.put(tiles), time.monotonic(), time.monotonic()
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
                    if (result := self._taken(reference, ended, waiting)) is not None:
                        results[ended.task.key] = result
                        self._say(ended, result, len(results), len(jobs), began, later)
                now = time.monotonic()
                self._check_alive(running.values(), now)
                if ready or any(one.seen is not None for one in running.values()):
                    busy_at = now
                elif now - busy_at > NO_ROOM_SECONDS:
                    busy_at = now
                    self._no_room(may_end=may_end)
            return results | self._ended(running)
        finally:
            for one in running.values():
                ray.kill(one.worker)

    def _start(self, waiting: list[_Task], running: dict[Any, _Running], stored: Any) -> None:
        """Hands models to workers as far as there is room; one that is scored alone waits until nothing else runs."""
        while waiting and len(running) < self._slots.count:
            if any(self._ways[one.task.way].is_alone for one in running.values()):
                return
            place = next((i for i, task in enumerate(waiting) if not self._ways[task.way].is_alone), None)
            if place is None and running:
                return
            task = waiting.pop(place or 0)
            self._submit(task, running, stored)

    def _submit(self, task: _Task, running: dict[Any, _Running], stored: Any) -> None:
        way = self._ways[task.way]
        worker = self._worker((way.cpus, way.gpus))
        with contextlib.suppress(OSError):  # what a killed worker left is no sign of this one
            task.job.beat.unlink(missing_ok=True)
        reference = worker.score.remote(self._evaluate, task.job, way, stored, self._info)
        running[reference] = _Running(task, worker)

    def _hand_over(self, waiting: list[_Task], running: dict[Any, _Running], stored: Any) -> None:
        """Gives models whose workers have not begun to idle ones, when there are no other models left for these.

        Where a node died, there may be room for fewer workers than were planned: idle ones would keep it for ever.
        """
        for reference, one in list(running.items()):
            way = self._ways[one.task.way]
            if not waiting and one.seen is None and any(shape == (way.cpus, way.gpus) for shape, _ in self._idle):
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
        return ray.remote(_Worker).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0).remote()

    def _rest(self, ended: _Running) -> None:
        """Keeps a worker for another model."""
        way = self._ways[ended.task.way]
        self._idle.append(((way.cpus, way.gpus), ended.worker))

    def _taken(self, reference: Any, ended: _Running, waiting: list[_Task]) -> dict[str, Any] | None:
        """What a model came to; None where it is tried again, or the scoring ends."""
        task = ended.task
        try:
            result: dict[str, Any] = ray.get(reference)
        except ray.exceptions.OutOfMemoryError:
            return self._with_less_memory(task, waiting, "out of memory on the machine: its worker was killed")
        except ray.exceptions.RayError as error:
            ray.kill(ended.worker)
            return self._retried(task, waiting, ended.killed or reason_of(error))
        if result.get("kind") == "out of memory":
            ray.kill(ended.worker)  # what it still holds is free for the next try
            return self._with_less_memory(task, waiting, result["error"])
        self._rest(ended)
        match result.get("kind"):
            case "stopped":
                return None
            case "disk" if task.job.permit is not None:
                self._permit.withdraw("user error", result["error"])
                return None
        return result

    def _with_less_memory(self, task: _Task, waiting: list[_Task], reason: str) -> dict[str, Any] | None:
        task.way += 1
        if task.way == len(self._ways):
            return {"error": reason}
        words = self._ways[task.way].words or "alone"
        self._console.print(f"{_name(task.key)}: {reason}; it is scored again {words}", highlight=False)
        waiting.append(task)
        return None

    def _retried(self, task: _Task, waiting: list[_Task], reason: str) -> dict[str, Any] | None:
        task.losses += 1
        if task.losses >= MAX_LOSSES:
            return {"error": f"lost {task.losses} workers: {reason}"}
        self._console.print(f"{_name(task.key)}: {reason}; it is scored again", highlight=False)
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

    def _no_room(self, *, may_end: bool) -> None:
        minutes = f"{NO_ROOM_SECONDS / 60:.3g}"
        if may_end:
            self._permit.withdraw("user error", f"no machine had room to score a model for {minutes} min: free one")
        else:  # the test tiles are open: whoever ends this now needs --reopen
            self._console.print(f"no machine had room to score a model for {minutes} min: waiting", highlight=False)

    def _ended(self, running: dict[Any, _Running]) -> dict[Key, dict[str, Any]]:
        """Waits for workers that were told to end; the scores of those that were done all the same.

        Those that still wait for room, and those that do not end, are left in `running`.
        """
        results: dict[Key, dict[str, Any]] = {}
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
                self._rest(one)
                if "iou" in result:
                    results[one.task.key] = result
            self._check_alive(running.values(), time.monotonic())
        return results

    def _say(
        self,
        ended: _Running,
        result: Mapping[str, Any],
        num_done: int,
        num_all: int,
        began: float,
        later: Callable[[], float],
    ) -> None:
        now = time.monotonic()
        left = (now - began) / num_done * (num_all - num_done) + later()
        what = result["error"] if "error" in result else f"scored in {duration(now - ended.began)}"
        how = f" {result['scored']}" if result.get("scored") else ""
        self._console.print(
            f"[{num_done}/{num_all}] {_name(ended.task.key)} {what}{how} · about {duration(left)} left",
            highlight=False,
            soft_wrap=True,
        )


def _name(key: Key) -> str:
    arm, number = key
    return f"{arm.name} #{number}"


def score_on_val(
    scorers: Scorers,
    models: Iterable[Key],
    tiles: TrainVal,
    *,
    out: Path,
    tiles_digest: str,
    permit: Permit,
    pictures: bool = False,
    later: Callable[[], float] = lambda: 0.0,
) -> dict[Key, dict[str, Any]]:
    """Scores models on the val tiles; what was scored before is read.

    Args:
        scorers: The workers.
        models: Which.
        tiles: Train and val tiles.
        out: The study's folder.
        tiles_digest: What tells the tiles from others.
        permit: Its withdrawal ends the scoring: models that were not scored by then are left out.
        pictures: Whether to save pictures of some tiles (see `val_pictures`).
        later: See `Scorers.score`.
    """
    folders = {(arm, number): trial_folder(out, arm.name, number) for arm, number in models}
    known = {key: scores for key, folder in folders.items() if (scores := known_scores(folder, tiles_digest))}
    jobs = {
        (arm, number): Job(
            folder=folder,
            beat=beat_file(out, arm.name, number),
            permit=permit.path,
            scores_of=tiles_digest,
            pictures=val_pictures(out, (arm, number)) if pictures else None,
        )
        for (arm, number), folder in folders.items()
        if (arm, number) not in known
    }
    return known | scorers.score(jobs, tiles.val, later=later)


def val_pictures(out: Path, model: Key) -> Path:
    """Where pictures of a model's predictions for val tiles lie."""
    arm, number = model
    return out / "predictions" / "val" / arm.name / f"model-{number}"
