"""The final models of each arm: scored on val, then on the test tiles, opened once per arm; all else never sees these.

Each arm's opening of the test tiles is put on record before a pixel is read, and its result right after.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from studies import tracking
from studies.coordinator import Coordinator
from studies.engine import evaluate_all
from studies.folder import MODELS, write_json
from studies.plans import Finals
from studies.resources import Slots
from studies.seal import Attempt, Seal
from studies.spec import Arm
from studies.trials import Progress
from studies.watch import Permit
from trainables.errors import UserError
from trainables.tiles import TrainVal

RECORDED = ("error", "iou", "f1", "tile_iou", "tile_confusion")
"""What is put on record of a model's scores on the test tiles."""

MAX_PICTURES = 24
"""Test tiles whose pictures are logged per arm; of larger test sets every so many-th, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What scoring final models needs.

    Attributes:
        plan: Of the final models.
        coordinator: Of the plan, complete.
        tiles: Train and val tiles.
        out: The study's folder.
        slots: The shape of an evaluation.
        permit: Its withdrawal ends the scoring between arms.
        reopen: The reason to look again where an opening left no result; none if empty.
        log: The study's run.
        console: Where progress is shown.
    """

    plan: Finals
    coordinator: Coordinator
    tiles: TrainVal
    out: Path
    slots: Slots
    permit: Permit
    reopen: str
    log: tracking.Run
    console: Console


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
    num_models = sum(map(len, finished.values()))
    work.console.print(f"scoring {num_models} final models on {len(work.tiles.val)} whole val tiles", highlight=False)
    val = evaluate_all(finished, work.tiles.val, work.tiles.info, work.out, work.slots, keeps_pixels=False)
    tiles = f"{work.tiles.digest()} {work.tiles.scale}"
    content: dict[str, Any] = {}
    unscored: dict[str, str] = {}
    refused: UserError | None = None
    for arm, numbers in finished.items():
        if work.permit.ending is not None:
            break
        if not numbers:
            unscored[arm.parent] = work.coordinator.of_arm(arm)[-1].reason
            continue
        if errors := [val[arm, number]["error"] for number in numbers if "error" in val[arm, number]]:
            unscored[arm.parent] = f"a model could not be scored on val: {errors[0]}"
        signatures = tuple(work.coordinator.trials[arm, n].assignment.config.signature() for n in numbers)
        attempt = Attempt(arm=arm.parent, signatures=signatures, tiles=tiles)
        result: dict[str, Any] | None = None
        if seal is not None:
            try:
                result = seal.recorded(attempt) or _test(work, seal, attempt, arm, numbers)
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


def _test(work: Scoring, seal: Seal, attempt: Attempt, arm: Arm, numbers: Sequence[int]) -> dict[str, Any]:
    """Opens the test tiles, puts the result on record if all models could be scored, and keeps the predictions.

    Raises:
        UserError: The attempt was opened before without a result, and there is no reason to look again.
    """
    models = f"{len(numbers)} model{'s' if len(numbers) > 1 else ''}"
    work.console.print(f"opening the test tiles for {arm.parent}: {models}, attempt {attempt.id}", highlight=False)
    with work.permit.until_signal():
        return _score_test(work, seal, attempt, arm, numbers)


def _score_test(work: Scoring, seal: Seal, attempt: Attempt, arm: Arm, numbers: Sequence[int]) -> dict[str, Any]:
    test = seal.open(attempt, reopen=work.reopen)
    results = evaluate_all({arm: numbers}, test, work.tiles.info, work.out, work.slots, keeps_pixels=True)
    seeds = {  # by signature: another study may number them otherwise
        signature: {key: found[key] for key in RECORDED if key in found}
        for signature, found in zip(attempt.signatures, (results[arm, n] for n in numbers), strict=True)
    }
    scored = [number for number in numbers if "error" not in results[arm, number]]
    if len(scored) == len(numbers):
        seal.record(attempt, {"seeds": seeds})
    for number in scored:  # after the record: pictures may not fit on the disk
        folder, found = _predictions(work, arm, number), results[arm, number]
        _save(folder, dict(zip(test.ids, found["predictions"], strict=True)), ".png")
        _save(folder, dict(zip(test.ids, found["pictures"], strict=True)), "_beside.jpg")
        if found["probabilities"]:
            _save(folder, dict(zip(test.ids, found["probabilities"], strict=True)), "_probability.png")
    return {"seeds": seeds}


def _predictions(work: Scoring, arm: Arm, number: int) -> Path:
    return work.out / "predictions" / "test" / arm.name / f"model-{number}"


def _save(folder: Path, pictures: Mapping[str, NDArray[np.uint8]], ending: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for tile_id, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{tile_id}{ending}")


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
        tracking.log_model(work.log, row | ({"attempt": attempt.id} if row["test_iou"] is not None else {}))
    scores = [row["test_iou"] for row in rows if row["test_iou"] is not None]
    content = {"test_iou": statistics.fmean(scores) if scores else None, "models": rows}
    if seal is None or result is None:
        return content
    _log_pictures(work, arm, [row for row in rows if row["test_iou"] is not None])
    history, line = seal.history(), seal.opening(attempt)
    reasons = [why for opened, why in history.reopened if opened == attempt.id]
    opening = {
        "arm": arm.parent,
        "attempt": attempt.id,
        "event": "opened" if seal.is_own(line) else "recorded",
        "at": line["at"],
        "tiles_digest": line["tiles_digest"],
        "num_attempts": history.num_attempts,
        "num_studies": history.num_studies,
    }
    tracking.log_opening(work.log, opening)
    if reasons:
        tracking.log_opening(work.log, opening | {"event": "reopened", "why": "; ".join(reasons)})
    return {"opening": opening | {"reopened": reasons}} | content


def _row(
    work: Scoring, arm: Arm, progress: Progress, on_val: Mapping[str, Any], tested: Mapping[str, Any]
) -> dict[str, Any]:
    """What is logged of a model; see `tracking.log_model`."""
    number, config = progress.assignment.number, progress.assignment.config
    test = tested.get(config.signature(), {})
    subset, seed = work.plan.place(arm, number)
    return {
        "arm": arm.parent,
        "number": number,
        "run_arm": arm.name,
        "confirms": arm.confirms or None,
        "subset": subset,
        "seed": seed,
        "state": progress.outcome,
        "init_seed": config.init_seed,
        "draw_seed": config.recipe.draw_seed,
        "subset_seed": config.recipe.subset_seed,
        "signature": config.signature(),
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "seconds": progress.seconds,
        "micro_batch_size": progress.micro_batch_size,
        "val_iou": on_val.get("iou"),
        "val_f1": on_val.get("f1"),
        "val_tile_iou": on_val.get("tile_iou"),
        "val_tile_confusion": on_val.get("tile_confusion"),
        "test_iou": test.get("iou"),
        "test_f1": test.get("f1"),
        "test_tile_iou": test.get("tile_iou"),
        "test_tile_confusion": test.get("tile_confusion"),
    }


def _log_pictures(work: Scoring, arm: Arm, rows: Sequence[Mapping[str, Any]]) -> None:
    """Logs what the arm's median model predicted for the test tiles, as it was saved when they were open."""
    if not rows:
        return
    median = sorted(rows, key=lambda row: row["test_iou"])[(len(rows) - 1) // 2]
    tiles = sorted(median["test_tile_iou"])
    step = max(1.0, (len(tiles) - 1) / (MAX_PICTURES - 1))
    shown = [tiles[round(i * step)] for i in range(min(MAX_PICTURES, len(tiles)))]  # the same for all arms
    pictures = {}
    for tile in shown:
        path = _predictions(work, arm, median["number"]) / f"{tile}_beside.jpg"
        if path.exists():  # a result that another study put on record left its pictures there
            with Image.open(path) as picture:
                pictures[tile] = np.asarray(picture)
    if pictures:
        work.log.log_pictures(f"tested/{arm.parent}", list(pictures.values()), list(pictures))
