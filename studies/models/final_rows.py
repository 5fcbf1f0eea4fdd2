"""Logs what an arm's final models came to: their scores, their pictures, and who opened the test tiles."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from studies.folder import predictions_folder
from studies.logs import tracking
from studies.models.evaluation import MAX_PICTURES, load_pictures
from studies.models.scores import ModelScores, ScoringResult
from studies.seal.seal import Attempt, Seal
from studies.search.coordinator import Coordinator
from studies.search.plans import Finals
from studies.search.trials import Trial, TrialKey
from studies.session import Session
from studies.spec import Arm


def log_arm(
    session: Session,
    coordinator: Coordinator,
    arm: Arm,
    on_val: Mapping[TrialKey, ScoringResult],
    on_test: Mapping[str, ScoringResult],
    attempt: Attempt,
    seal: Seal | None,
) -> dict[str, Any]:
    """Logs an arm's models; what models.json says of the arm.

    Args:
        session: Of the study.
        coordinator: Of the final models.
        arm: The arm.
        on_val: What models came to on val.
        on_test: What the arm's models came to on test, by signature; empty where they were not tested.
        attempt: The arm's.
        seal: Of the test tiles; None where they stay sealed.
    """
    plan = coordinator.plan
    assert isinstance(plan, Finals), "final models have a plan of their own"
    rows = [
        _row(plan, trial, on_val.get(trial.key), on_test.get(trial.config.signature()))
        for trial in coordinator.of_arm(arm)
    ]
    for row in rows:
        tracking.log_model(session.log, row | ({"attempt": attempt.id} if row["test_iou"] is not None else {}))
    tested = [row for row in rows if row["test_iou"] is not None]
    mean = statistics.fmean(row["test_iou"] for row in tested) if tested else None
    content = {"test_iou": mean, "models": rows}
    if seal is None or not on_test:
        return content
    log_pictures(session, arm, tested)
    return {"opening": _log_opening(session, arm, attempt, seal)} | content


def log_pictures(session: Session, arm: Arm, tested: Sequence[Mapping[str, Any]]) -> None:
    """Logs what the arm's median model predicted for the test tiles, as it was saved when they were open."""
    if not tested:
        return
    median = sorted(tested, key=lambda row: row["test_iou"])[(len(tested) - 1) // 2]
    tiles = sorted(median["test_tile_iou"])
    step = max(1.0, (len(tiles) - 1) / (MAX_PICTURES - 1))
    pictured = [tiles[round(i * step)] for i in range(min(MAX_PICTURES, len(tiles)))]  # the same for all arms
    if pictures := load_pictures(predictions_folder(session.out, "test", arm.name, median["number"]), pictured):
        session.log.log_pictures(f"tested/{arm.parent}", list(pictures.values()), list(pictures))


def _log_opening(session: Session, arm: Arm, attempt: Attempt, seal: Seal) -> dict[str, Any]:
    """Logs an arm's opening of the test tiles, and its reasons to look again; what models.json says of it."""
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
    tracking.log_opening(session.log, opening)
    if reasons:
        tracking.log_opening(session.log, opening | {"event": "reopened", "why": "; ".join(reasons)})
    return opening | {"reopened": reasons}


def _row(plan: Finals, trial: Trial, val: ScoringResult | None, test: ScoringResult | None) -> dict[str, Any]:
    """What is logged of a model; see `tracking.log_model`."""
    config = trial.config
    subset, seed = plan.place(trial.arm, trial.number)
    scores = {"val": val, "test": test}
    known = {split: result for split, result in scores.items() if isinstance(result, ModelScores)}
    row: dict[str, Any] = {
        "arm": trial.arm.parent,
        "number": trial.number,
        "run_arm": trial.arm.name,
        "confirms": trial.arm.confirms or None,
        "subset": subset,
        "seed": seed,
        "state": trial.outcome,
        "init_seed": config.init_seed,
        "draw_seed": config.recipe.draw_seed,
        "subset_seed": config.recipe.subset_seed,
        "signature": config.signature(),
        "best_epoch": trial.best_epoch,
        "epochs": trial.epoch,
        "seconds": trial.seconds,
        "micro_batch_size": trial.micro_batch_size,
    }
    for split in scores:
        for name in ("iou", "f1", "tile_iou", "tile_confusion"):
            row[f"{split}_{name}"] = getattr(known[split], name) if split in known else None
    how = [f"{split} {result.scored}" for split, result in known.items() if result.scored]
    return row | {"scored": "; ".join(how) or None}
