"""Scoring models side by side on a real Ray: retries, modes, and what ends it."""

import io
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from studies.backend.cluster import ray_session
from studies.backend.scoring import Scorers, scoring_modes
from studies.backend.slots import Slots
from studies.backend.watch import Permit
from studies.files.folder import trial_folder
from studies.models.evaluation import VAL_SCORES, load_scores
from studies.models.scores import Evaluate, ModelScores, ScoringFailure, ScoringJob, ScoringMode, ScoringResult
from studies.models.val_scores import score_on_val
from studies.search.trials import TrialKey
from studies.settings.arms import Arm
from trainables.checkpoints import BEST
from trainables.common.whole_files import digest
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal

ARM = Arm("unet", 4)
CORES = os.cpu_count() or 1
SHARED = Slots(count=2, cpus=1, gpus=0.5, alone=(1, 1.0))
CROWDED = Slots(count=2, cpus=CORES, gpus=0.0, alone=(CORES, 0.0))
"""Two workers of which Ray has room for one."""
ONE = replace(CROWDED, count=1)
WINDOWS = "in windows of 512 px"
CPU = f"on the CPU, {WINDOWS}"

SCORES = ModelScores(iou=0.5, f1=0.6, tile_iou={"a": 0.5}, tile_confusion={"a": [1, 0, 0, 1]}, epoch=1)
FULL = ScoringFailure(kind="out of memory", reason="out of memory on cuda")


@pytest.fixture(scope="module", autouse=True)
def _connected(request, drivers):
    """The Ray that others share; with faults one of its own, with a GPU that nothing but Ray knows of."""
    if any(item.path == request.path and item.get_closest_marker("faults") for item in request.session.items):
        with drivers.ray(num_cpus=CORES, num_gpus=1) as cluster, ray_session(cluster.address):
            yield
    else:
        with ray_session(request.getfixturevalue("ray_address")):
            yield


class Scene:
    """Models to score, and what their scorings did, from the files that these leave."""

    def __init__(self, folder: Path, tiles: TrainVal):
        self.out, self.tiles = folder, tiles
        self.permit = Permit(folder)
        self.said = Console(record=True, width=200, file=io.StringIO())

    def job(self, number: int, *, may_end: bool = True) -> ScoringJob:
        folder = trial_folder(self.out, ARM.name, number)
        folder.mkdir(parents=True, exist_ok=True)
        return ScoringJob(folder=folder, beat=folder / "beat", permit=self.permit.path if may_end else None)

    def score(
        self, evaluate: Evaluate, count: int = 1, *, slots: Slots = ONE, may_end: bool = True, **named: Any
    ) -> dict[int, ScoringResult]:
        """`first_labels` are for the models, all else that is named for those who score them."""
        jobs = {(ARM, number): self.job(number, may_end=may_end) for number in range(count)}
        first_labels = named.pop("first_labels", {})
        settings = {"hang_seconds": 60.0, "on_scored": lambda *_: None, "console": self.said} | named
        with Scorers(self.tiles.info, slots, self.permit, evaluate=evaluate, **settings) as scorers:
            results = scorers.score(jobs, self.tiles.val, first_labels=first_labels)
        return {number: result for (_, number), result in results.items()}

    def tried(self, number: int) -> list[list[Any]]:
        """[words, device, began, ended] of each try."""
        path = trial_folder(self.out, ARM.name, number) / "tried"
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def scene(tmp_path, tiles):
    return Scene(tmp_path, tiles)


def scoring(
    fails: Callable[[ScoringJob, ScoringMode], ScoringFailure | None] = lambda *_: None, seconds: float = 0.0
) -> Evaluate:
    """A scoring that takes so long, gives what `fails` gives if that is anything, and leaves word of its try."""

    def evaluate(job: ScoringJob, mode: ScoringMode, tiles: Tiles, info: DatasetInfo) -> ScoringResult:
        job.beat.touch()
        began = time.time()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if job.permit is not None and not job.permit.exists():
                return ScoringFailure(kind="stopped")
            time.sleep(0.01)
        with (job.folder / "tried").open("a") as file:
            file.write(json.dumps([mode.label, mode.device, began, time.time()]) + "\n")
        return fails(job, mode) or replace(SCORES, scored=mode.label)

    return evaluate


def scored(results: Mapping[int, ScoringResult]) -> dict[int, ModelScores]:
    """The models that have scores."""
    return {number: result for number, result in results.items() if isinstance(result, ModelScores)}


def test_modes_of_a_shared_gpu_a_whole_one_and_a_cpu():
    assert [(w.label, w.device, w.gpus, w.is_alone, w.window_px) for w in scoring_modes(SHARED)] == [
        ("", "cuda", 0.5, False, None),
        ("", "cuda", 1.0, True, None),
        (WINDOWS, "cuda", 1.0, True, 512),
        (CPU, "cpu", 0.0, True, 512),
    ]
    assert [w.label for w in scoring_modes(Slots(count=1, cpus=4, gpus=1.0, alone=(4, 1.0)))] == ["", WINDOWS, CPU]
    assert [w.label for w in scoring_modes(Slots(count=2, cpus=1, gpus=0.0, alone=(2, 0.0)))] == ["", "", WINDOWS]
    assert [w.label for w in scoring_modes(Slots(count=1, cpus=2, gpus=0.0, alone=(2, 0.0)))] == ["", WINDOWS]


@pytest.mark.faults
def test_model_that_is_too_large_is_scored_alone_then_in_windows_then_on_the_cpu_or_fails_alone(scene):
    def fails(job: ScoringJob, mode: ScoringMode) -> ScoringFailure | None:
        needed = {"0000": [""], "0001": [], "0002": ["", WINDOWS], "0003": ["", WINDOWS, CPU]}[job.folder.name]
        return FULL if mode.label in needed else None

    results = scene.score(scoring(fails, seconds=0.2), 4, slots=SHARED)
    assert {number: scores.scored for number, scores in scored(results).items()} == {0: WINDOWS, 1: "", 2: CPU}
    assert results[3] == ScoringFailure(reason=FULL.reason)
    assert [(words, device) for words, device, *_ in scene.tried(0)] == [("", "cuda"), ("", "cuda"), (WINDOWS, "cuda")]
    assert [(words, device) for words, device, *_ in scene.tried(2)][-1] == (CPU, "cpu")
    assert len(scene.tried(3)) == 4
    alone = [(began, ended) for number in (0, 2, 3) for _, _, began, ended in scene.tried(number)[1:]]
    others = [(b, e) for number in range(4) for _, _, b, e in scene.tried(number)]
    for began, ended in alone:  # nothing else was scored meanwhile
        assert [(b, e) for b, e in others if b < ended and e > began] == [(began, ended)]


@pytest.mark.faults
def test_way_that_it_was_scored_in_before_is_tried_first(scene):
    known = {(ARM, 0): WINDOWS, (ARM, 1): "a way of another version"}
    results = scene.score(scoring(), 2, first_labels=known)
    assert {number: scores.scored for number, scores in scored(results).items()} == {0: WINDOWS, 1: ""}
    assert len(scene.tried(0)) == 1


@pytest.mark.faults
def test_killed_worker_is_replaced_twice(scene):
    def fails(job: ScoringJob, mode: ScoringMode) -> None:
        num_kills = {"0000": 2, "0001": 3, "0002": 0}[job.folder.name]
        if len((job.folder / "tried").read_text().splitlines()) <= num_kills:
            os.kill(os.getpid(), signal.SIGKILL)

    results = scene.score(scoring(fails), 3)
    assert sorted(scored(results)) == [0, 2]
    lost = results[1]
    assert isinstance(lost, ScoringFailure)
    assert lost.reason.startswith("lost 3 workers: its worker was lost (")
    assert [len(scene.tried(number)) for number in range(3)] == [3, 3, 1]


def test_workers_that_fit_nowhere_any_more_leave_their_models_to_those_that_do(scene):
    """As where a node died: two were planned, and there is room for one."""
    scene.permit.close()
    scene.permit = Permit(scene.out, seconds=120.0)  # not for ever, where they do not
    results = scene.score(scoring(), 3, slots=CROWDED)
    assert {number: scores.iou for number, scores in scored(results).items()} == dict.fromkeys(range(3), 0.5)


def test_prepared_workers_score_side_by_side_though_nothing_of_ray_s_is_free(scene):
    def meets(job: ScoringJob, mode: ScoringMode, tiles: Tiles, info: DatasetInfo) -> ScoringResult:
        job.beat.touch()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if all((job.folder.parent / name / "beat").exists() for name in ("0000", "0001")):
                return SCORES
            time.sleep(0.01)
        return ScoringFailure(reason="alone")

    jobs = {(ARM, number): scene.job(number) for number in range(2)}
    settings = {"hang_seconds": 90.0, "console": scene.said, "evaluate": meets}
    with Scorers(scene.tiles.info, CROWDED, scene.permit, **settings) as scorers:
        scorers.prepare(1)
        scorers.prepare(CROWDED.count + 1)
        assert scorers.score(jobs, scene.tiles.val) == dict.fromkeys(jobs, SCORES)


@pytest.mark.faults
def test_worker_that_hangs_is_replaced(scene):
    def fails(job: ScoringJob, mode: ScoringMode) -> None:
        if len((job.folder / "tried").read_text().splitlines()) == 1:
            time.sleep(600)

    began = time.monotonic()
    assert list(scored(scene.score(scoring(fails), hang_seconds=1.0))) == [0]
    assert time.monotonic() - began < 60
    assert "its worker hung: it began no tile for 0.0167 min" in scene.said.export_text()


def test_withdrawn_permit_ends_it_and_keeps_what_is_known(scene):
    def fails(job: ScoringJob, mode: ScoringMode) -> None:
        if job.folder.name == "0001":
            job.permit.unlink()

    def end(*_: Any) -> None:
        scene.permit.withdraw("interrupted")

    results = scene.score(scoring(fails, seconds=0.1), 4, on_scored=end)
    assert list(results) == [0]
    assert scene.permit.ending == "interrupted"


@pytest.mark.faults
def test_time_that_is_over_ends_it(scene):
    scene.permit.close()
    scene.permit = Permit(scene.out, seconds=3.0)
    began = time.monotonic()
    assert scene.score(scoring(seconds=600.0), 3) == {}
    assert scene.permit.ending == "out of time"
    assert time.monotonic() - began < 60


def test_scoring_without_a_permit_goes_on_whatever_asks_to_end(scene):
    scene.permit.withdraw("interrupted")
    assert len(scene.score(scoring(seconds=0.1), 3, may_end=False)) == 3


def test_disk_that_fails_ends_the_study_until_a_person_mends_it(scene):
    result = ScoringFailure(kind="disk", reason="OSError: [Errno 28] No space left on device")
    assert scene.score(scoring(lambda *_: result), 2) == {}
    assert (scene.permit.ending, scene.permit.reason) == ("user error", result.reason)


def test_what_was_scored_on_val_before_is_loaded(scene, make_session):
    scored: list[list[int]] = []

    class Counted(Scorers):
        def score(self, jobs: Any, *arguments: Any, **named: Any) -> dict[TrialKey, ScoringResult]:
            scored.append([number for _, number in jobs])
            for job in jobs.values():
                content = {"tiles": job.scores_of, "model": digest(job.folder / BEST), "scores": SCORES.content()}
                (job.folder / VAL_SCORES).write_text(json.dumps(content))
            return dict.fromkeys(jobs, SCORES)

    session = make_session(scene.out)
    models = [(ARM, number) for number in range(3)]
    for arm, number in models:
        trial_folder(scene.out, arm.name, number).mkdir(parents=True)
        (trial_folder(scene.out, arm.name, number) / BEST).write_text(f"model {number}")
    scorers = Counted(scene.tiles.info, SHARED, session.permit, hang_seconds=1.0, console=scene.said)
    first = score_on_val(session, scorers, models, stage="scoring on val")
    assert score_on_val(session, scorers, models, stage="scoring on val") == first == dict.fromkeys(models, SCORES)
    folder = trial_folder(scene.out, ARM.name, 1)
    (folder / BEST).write_text("another model")
    (trial_folder(scene.out, ARM.name, 2) / VAL_SCORES).write_text('{"tiles": "one", "mo')  # torn
    assert score_on_val(session, scorers, models, stage="scoring on val") == first
    assert load_scores(folder, "other tiles") is None
    assert scored == [[0, 1, 2], [], [1, 2]]
