"""Scores models on whole val tiles; what was scored before is loaded."""

from collections.abc import Iterable

from studies.backend.scoring import Scorers
from studies.files.folder import beat_file, predictions_folder, trial_folder
from studies.models.evaluation import load_scores
from studies.models.scores import ScoringJob, ScoringResult
from studies.search.coordinator import Coordinator
from studies.search.forecast import StageName
from studies.search.trials import TrialKey
from studies.session import Session


def score_finals_on_val(session: Session, scorers: Scorers, coordinator: Coordinator) -> dict[TrialKey, ScoringResult]:
    """Scores the final models of a coordinator that ran their course, as `score_on_val`; none where there is no val."""
    if session.inputs.spec.labels is not None:
        return {}
    trials = (trial for arm in coordinator.arms for trial in coordinator.of_arm(arm))
    models = [trial.key for trial in trials if trial.outcome == "finished"]
    return score_on_val(session, scorers, models, stage="scoring on val")


def score_on_val(
    session: Session, scorers: Scorers, models: Iterable[TrialKey], *, stage: StageName, pictures: bool = False
) -> dict[TrialKey, ScoringResult]:
    """Scores models on the val tiles; where the permit is withdrawn, those not scored by then are left out.

    Args:
        session: Of the study.
        scorers: The workers.
        models: Which.
        stage: What it is for.
        pictures: Whether to save pictures of some tiles (see `predictions_folder`).
    """
    out, tiles_id = session.out, session.inputs.scored_tiles
    folders = {(arm, number): trial_folder(out, arm.name, number) for arm, number in models}
    known = {key: scores for key, folder in folders.items() if (scores := load_scores(folder, tiles_id)) is not None}
    session.progress.begin(stage, len(folders), done=len(known))
    jobs = {
        (arm, number): ScoringJob(
            folder=folder,
            beat=beat_file(out, arm.name, number),
            permit=session.permit.path,
            scores_of=tiles_id,
            pictures=predictions_folder(out, "val", arm.name, number) if pictures else None,
        )
        for (arm, number), folder in folders.items()
        if (arm, number) not in known
    }
    return known | scorers.score(jobs, session.inputs.tiles.val)
