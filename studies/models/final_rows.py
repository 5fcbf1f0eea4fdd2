"""Logs the scores and pictures of an arm's final models, and its openings of the test sets."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.logs.further_rows import FurtherModel
from analysis.logs.rows import FinalModel, OpeningRow, pictures_key
from studies.files.folder import predictions_folder
from studies.logs import tracking
from studies.models.evaluation import MAX_PICTURES, load_pictures
from studies.models.scores import ModelScores, ScoringResult
from studies.seal.seal import Attempt, Seal
from studies.search.coordinator import Coordinator
from studies.search.plans import Finals
from studies.search.trials import Trial, TrialKey
from studies.session import Session
from studies.settings.arms import Arm
from trainables.common.splits import set_name


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
        on_val: Results of models on val.
        on_test: Results of the arm's models on test, by signature; empty where they were not tested.
        attempt: The arm's.
        seal: Of `test`; None where it stays sealed.
    """
    plan = coordinator.plan
    assert isinstance(plan, Finals), "final models have a plan of their own"
    rows = [
        _row(plan, trial, on_val.get(trial.key), on_test.get(trial.config.signature()))
        for trial in coordinator.of_arm(arm)
    ]
    for row in rows:
        tracking.log_model(session.log, {**row, "attempt": attempt.id} if row["test_iou"] is not None else row)
    tested = [row for row in rows if row["test_iou"] is not None]
    scores = [row["test_iou"] for row in rows if row["test_iou"] is not None]
    content: dict[str, Any] = {"test_iou": statistics.fmean(scores) if scores else None, "models": rows}
    if seal is None or not on_test:
        return content
    log_pictures(session, arm, tested)
    return {"opening": _log_opening(session, arm, attempt, seal)} | content


def log_further(
    session: Session,
    coordinator: Coordinator,
    arm: Arm,
    results: Mapping[str, ScoringResult],
    attempt: Attempt,
    seal: Seal,
) -> dict[str, Any]:
    """Logs what an arm's models came to on a further test set, and its opening; what models.json says of both.

    Args:
        session: Of the study.
        coordinator: Of the final models.
        arm: The arm.
        results: Of its models, by signature; all of them have scores.
        attempt: The arm's.
        seal: Of the set.
    """
    rows = []
    for trial in coordinator.of_arm(arm):
        scores = results.get(signature := trial.config.signature())
        if not isinstance(scores, ModelScores):
            continue
        row = FurtherModel(
            arm=trial.arm.parent,
            number=trial.number,
            test_set=set_name(seal.split) or "",
            signature=signature,
            test_iou=scores.iou,
            test_f1=scores.f1,
            test_tile_iou=scores.tile_iou,
            test_tile_confusion=scores.tile_confusion,
            scored=f"{seal.split} {scores.scored}" if scores.scored else None,
            attempt=attempt.id,
        )
        tracking.log_further(session.log, row)
        rows.append(row)
    mean = statistics.fmean(row["test_iou"] for row in rows)
    return {"opening": _log_opening(session, arm, attempt, seal), "test_iou": mean, "models": rows}


def log_pictures(session: Session, arm: Arm, tested: Sequence[Mapping[str, Any]]) -> None:
    """Logs what the arm's median model predicted for the test tiles, as it was saved when they were open."""
    if not tested:
        return
    median = sorted(tested, key=lambda row: row["test_iou"])[(len(tested) - 1) // 2]
    tiles = sorted(median["test_tile_iou"])
    step = max(1.0, (len(tiles) - 1) / (MAX_PICTURES - 1))
    pictured = [tiles[round(i * step)] for i in range(min(MAX_PICTURES, len(tiles)))]  # the same for all arms
    if pictures := load_pictures(predictions_folder(session.out, "test", arm.name, median["number"]), pictured):
        session.log.log_pictures(pictures_key("test", arm.parent), list(pictures.values()), list(pictures))


def _log_opening(session: Session, arm: Arm, attempt: Attempt, seal: Seal) -> dict[str, Any]:
    """Logs an arm's opening of a test set, and its reasons to look again; what models.json says of it."""
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
    if name := set_name(seal.split):
        opening["test_set"] = name
    tracking.log_opening(session.log, opening)
    if reasons:
        tracking.log_opening(session.log, {**opening, "event": "reopened", "why": "; ".join(reasons)})
    return {**opening, "reopened": reasons}


def _row(plan: Finals, trial: Trial, val: ScoringResult | None, test: ScoringResult | None) -> FinalModel:
    """What is logged of a model, and written to models.json."""
    config = trial.config
    subset, seed = plan.subset_and_seed(trial.arm, trial.number)
    of_val, of_test = (result if isinstance(result, ModelScores) else None for result in (val, test))
    tta = of_test.tta if of_test else None
    how = [f"{split} {its.scored}" for split, its in (("val", of_val), ("test", of_test)) if its and its.scored]
    row = FinalModel(
        arm=trial.arm.parent,
        number=trial.number,
        run_arm=trial.arm.name,
        confirms=trial.arm.confirms or None,
        subset=subset,
        seed=seed,
        state=trial.outcome,
        init_seed=config.init_seed,
        draw_seed=config.recipe.draw_seed,
        subset_seed=config.recipe.subset_seed,
        signature=config.signature(),
        best_epoch=trial.best_epoch,
        epochs=trial.epoch,
        seconds=trial.seconds,
        micro_batch_size=trial.micro_batch_size,
        val_iou=of_val.iou if of_val else None,
        val_f1=of_val.f1 if of_val else None,
        val_tile_iou=of_val.tile_iou if of_val else None,
        val_tile_confusion=of_val.tile_confusion if of_val else None,
        test_iou=of_test.iou if of_test else None,
        test_f1=of_test.f1 if of_test else None,
        test_tile_iou=of_test.tile_iou if of_test else None,
        test_tile_confusion=of_test.tile_confusion if of_test else None,
        tta_iou=tta["iou"] if tta else None,
        tta_f1=tta["f1"] if tta else None,
        ensemble_iou=of_test.ensemble["iou"] if of_test and of_test.ensemble else None,
        ensemble_f1=of_test.ensemble["f1"] if of_test and of_test.ensemble else None,
        scored="; ".join(how) or None,
    )
    if tta and "tile_confusion" in tta:
        row["tta_tile_iou"], row["tta_tile_confusion"] = tta["tile_iou"], tta["tile_confusion"]
    return row
