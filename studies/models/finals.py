"""The final models of each arm: scored on val, then on the test tiles, opened once per arm; all else never sees these.

Each arm's opening of the test tiles is put on record before a pixel is read, and its result right after.
"""

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.logs.rows import FinalModel, OpeningRow, pictures_key
from studies.backend.scoring import Key, Scorers, score_on_val
from studies.backend.watch import Permit
from studies.backend.worker import beat_file, trial_folder
from studies.folder import MODELS, write_json
from studies.logs import tracking
from studies.models.evaluation import MAX_PICTURES, Job, read_pictures
from studies.seal.seal import Attempt, Seal
from studies.search.coordinator import Coordinator
from studies.search.plans import Finals
from studies.search.trials import Progress
from studies.spec import Arm
from trainables.common.errors import UserError
from trainables.data.tiles import TrainVal

RECORDED = ("error", "iou", "f1", "tile_iou", "tile_confusion", "scored")
"""What is put on record of a model's scores on the test tiles, as far as there is something to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What scoring final models needs.

    Attributes:
        plan: Of the final models.
        coordinator: Of the plan, complete.
        tiles: Train and val tiles.
        scored_tiles: What tells them from others (see `Prepared`).
        out: The study's folder.
        scorers: Workers that score.
        permit: Its withdrawal ends the scoring on val at once, and that on test between arms.
        reopen: The reason to look again where an opening left no result; none if empty.
        log: The study's run.
        console: Where progress is shown.
        later: Seconds that the rest of the study takes with so many models to test, for the time left.
    """

    plan: Finals
    coordinator: Coordinator
    tiles: TrainVal
    scored_tiles: str
    out: Path
    scorers: Scorers
    permit: Permit
    reopen: str
    log: tracking.WandbRun
    console: Console
    later: Callable[[int], float] = lambda _: 0.0


def score(work: Scoring, seal: Seal | None) -> dict[str, str]:
    """Scores every arm's models on val and test, writes models.json and the predictions.

    A signal that arrives while test tiles are open takes effect after the result is on record.

    Args:
        work: What to score, and how.
        seal: Of the test tiles; None leaves them sealed.

    Returns:
        Arms that could not be scored, with the reason.

    Raises:
        UserError: An arm's attempt was opened before without a result, and there is no reason to look again; all other
            arms are scored.
    """
    finished = {
        arm: [p.assignment.number for p in work.coordinator.of_arm(arm) if p.outcome == "finished"]
        for arm in work.coordinator.arms
    }
    models = [(arm, number) for arm, numbers in finished.items() for number in numbers]
    work.console.print(f"scoring {len(models)} final models on {len(work.tiles.val)} whole val tiles", highlight=False)
    val = score_on_val(
        work.scorers,
        models,
        work.tiles,
        out=work.out,
        tiles_digest=work.scored_tiles,
        permit=work.permit,
        later=lambda: work.later(len(models)),
    )
    untested = len(models)
    content: dict[str, Any] = {}
    unscored: dict[str, str] = {}
    refused: UserError | None = None
    for arm, numbers in finished.items():
        work.permit.check_time()
        if work.permit.ending is not None:
            break
        if not numbers:
            unscored[arm.parent] = work.coordinator.of_arm(arm)[-1].reason
            continue
        untested -= len(numbers)
        signatures = tuple(work.coordinator.trials[arm, n].assignment.config.signature() for n in numbers)
        attempt = Attempt(arm=arm.parent, signatures=signatures, tiles=work.scored_tiles)
        result: dict[str, Any] | None = None
        if errors := [val[arm, number]["error"] for number in numbers if "error" in val[arm, number]]:
            # Nothing is opened for it: what fails on val may fail on test, and tiles are opened once
            unscored[arm.parent] = f"a model could not be scored on val: {errors[0]}"
        elif seal is not None:
            try:
                ways = {(arm, number): val[arm, number].get("scored", "") for number in numbers}
                later = functools.partial(work.later, untested)
                result = seal.recorded(attempt) or _test(work, seal, attempt, arm, ways, later)
            except UserError as error:
                refused = refused or error
            if result is not None and (errors := [s["error"] for s in result["seeds"].values() if "error" in s]):
                unscored[arm.parent] = f"{errors[0]}; the tiles count as opened, look again with --reopen WHY"
                result = None
        content[arm.parent] = _logged(work, arm, val, result, attempt, seal)
        write_json(work.out / MODELS, content)
    if refused is not None:  # only now: it takes nothing from the other arms
        raise refused
    return unscored


def _test(
    work: Scoring, seal: Seal, attempt: Attempt, arm: Arm, ways: Mapping[Key, str], later: Callable[[], float]
) -> dict[str, Any]:
    """Opens the test tiles, and puts the result on record if all models could be scored; keeps the predictions.

    Args:
        work: What scoring needs.
        seal: Of the test tiles.
        attempt: The arm's.
        arm: Whose models are tested.
        ways: Its models, and how each was scored on val.
        later: Seconds that the rest of the study takes after this.

    Raises:
        UserError: The attempt was opened before without a result, and there is no reason to look again.
    """
    models = f"{len(ways)} model{'s' if len(ways) > 1 else ''}"
    work.console.print(f"opening the test tiles for {arm.parent}: {models}, attempt {attempt.id}", highlight=False)
    jobs = {
        (arm, number): Job(
            folder=trial_folder(work.out, arm.name, number),
            beat=beat_file(work.out, arm.name, number),
            permit=None,  # whatever asks the study to end takes effect after the result is on record
            pictures=_predictions(work, arm, number),
            keeps_all=True,
        )
        for _, number in ways
    }
    results = work.scorers.score(jobs, seal.open(attempt, reopen=work.reopen), first_words=ways, later=later)
    seeds = {  # by signature: another study may number them otherwise
        signature: {key: found[key] for key in RECORDED if found.get(key) not in (None, "")}
        for signature, found in zip(attempt.signatures, (results[key] for key in ways), strict=True)
    }
    if not any("error" in found for found in results.values()):
        seal.record(attempt, {"seeds": seeds})
    for found in results.values():
        if "unsaved" in found:
            work.console.print(f"Note: pictures are missing, as {found['unsaved']}", highlight=False)
    return {"seeds": seeds}


def _predictions(work: Scoring, arm: Arm, number: int) -> Path:
    return work.out / "predictions" / "test" / arm.name / f"model-{number}"


def _logged(
    work: Scoring,
    arm: Arm,
    val: Mapping[tuple[Arm, int], dict[str, Any]],
    result: dict[str, Any] | None,
    attempt: Attempt,
    seal: Seal | None,
) -> dict[str, Any]:
    """Logs an arm's scores, pictures, and who opened the tiles; what models.json says of the arm.

    `result` is None where the test tiles stay sealed, or gave no result.
    """
    tested = {} if result is None else result["seeds"]
    rows = [
        _row(work, arm, progress, val.get((arm, progress.assignment.number), {}), tested)
        for progress in work.coordinator.of_arm(arm)
    ]
    for row in rows:
        tracking.log_model(work.log, {**row, "attempt": attempt.id} if row["test_iou"] is not None else row)
    scores = [row["test_iou"] for row in rows if row["test_iou"] is not None]
    content: dict[str, Any] = {"test_iou": statistics.fmean(scores) if scores else None, "models": rows}
    if seal is None or result is None:
        return content
    _log_pictures(work, arm, [row for row in rows if row["test_iou"] is not None])
    history, line = seal.history(), seal.opening(attempt)
    reasons = [why for opened, why in history.reopened if opened == attempt.id]
    opening = OpeningRow(
        arm=arm.parent,
        attempt=attempt.id,
        event="opened" if seal.is_own(line) else "recorded",
        at=line["at"],
        tiles_digest=line["tiles_digest"],
        num_attempts=history.num_attempts,
        num_studies=history.num_studies,
    )
    tracking.log_opening(work.log, opening)
    if reasons:
        tracking.log_opening(work.log, {**opening, "event": "reopened", "why": "; ".join(reasons)})
    return {"opening": {**opening, "reopened": reasons}} | content


def _row(
    work: Scoring, arm: Arm, progress: Progress, on_val: Mapping[str, Any], tested: Mapping[str, Any]
) -> FinalModel:
    """What is logged of a model, and written to models.json."""
    number, config = progress.assignment.number, progress.assignment.config
    test = tested.get(config.signature(), {})
    subset, seed = work.plan.place(arm, number)
    scored = {"val": on_val.get("scored"), "test": test.get("scored")}
    return FinalModel(
        arm=arm.parent,
        number=number,
        run_arm=arm.name,
        confirms=arm.confirms or None,
        subset=subset,
        seed=seed,
        state=progress.outcome,
        init_seed=config.init_seed,
        draw_seed=config.recipe.draw_seed,
        subset_seed=config.recipe.subset_seed,
        signature=config.signature(),
        best_epoch=progress.best_epoch,
        epochs=progress.epoch,
        seconds=progress.seconds,
        micro_batch_size=progress.micro_batch_size,
        val_iou=on_val.get("iou"),
        val_f1=on_val.get("f1"),
        val_tile_iou=on_val.get("tile_iou"),
        val_tile_confusion=on_val.get("tile_confusion"),
        test_iou=test.get("iou"),
        test_f1=test.get("f1"),
        test_tile_iou=test.get("tile_iou"),
        test_tile_confusion=test.get("tile_confusion"),
        scored="; ".join(f"{split} {how}" for split, how in scored.items() if how) or None,
    )


def _log_pictures(work: Scoring, arm: Arm, rows: Sequence[Mapping[str, Any]]) -> None:
    """Logs what the arm's median model predicted for the test tiles, as it was saved when they were open."""
    if not rows:
        return
    median = sorted(rows, key=lambda row: row["test_iou"])[(len(rows) - 1) // 2]
    tiles = sorted(median["test_tile_iou"])
    step = max(1.0, (len(tiles) - 1) / (MAX_PICTURES - 1))
    shown = [tiles[round(i * step)] for i in range(min(MAX_PICTURES, len(tiles)))]  # the same for all arms
    if pictures := read_pictures(_predictions(work, arm, median["number"]), shown):
        work.log.log_pictures(pictures_key("test", arm.parent), list(pictures.values()), list(pictures))
