"""Validates the trials that a search selected on whole val tiles, logs them, and writes selection.json."""

from collections.abc import Mapping

from analysis.logs.rows import SelectionRow, pictures_key
from studies.backend.scoring import Scorers
from studies.files.folder import predictions_folder, trial_folder, write_json
from studies.logs import tracking
from studies.models.evaluation import load_pictures, pictured
from studies.models.scores import ModelScores, ScoringFailure, ScoringResult
from studies.models.val_scores import score_on_val
from studies.search.plans import is_recipe
from studies.search.trials import Trial, TrialKey
from studies.session import Session
from studies.settings.arms import Arm
from trainables.checkpoints import BEST

NAME = "selection.json"


def validate(session: Session, scorers: Scorers, selected: Mapping[Arm, Trial]) -> dict[str, str]:
    """Scores the selected models on whole val tiles, logs them and writes selection.json.

    Where the permit is withdrawn meanwhile, nothing is logged or written.

    Args:
        session: Of the study.
        scorers: The workers.
        selected: The selected trial of each arm that has one.

    Returns:
        Arms whose model could not be scored, with the reason.
    """
    models = [trial.key for trial in selected.values()]
    results = score_on_val(session, scorers, models, stage="validation", pictures=True)
    if session.permit.ending is not None:
        return {}
    _log(session, selected, results)
    return {arm.name: result.reason for (arm, _), result in results.items() if isinstance(result, ScoringFailure)}


def log_judged(session: Session, selected: Mapping[Arm, Trial]) -> None:
    """Logs cross-validated trials and writes selection.json: folds judged them, and none is a model."""
    _log(session, selected, {})


def _log(session: Session, selected: Mapping[Arm, Trial], results: Mapping[TrialKey, ScoringResult]) -> None:
    out, spec, val = session.out, session.inputs.spec, session.inputs.tiles.val
    content = {}
    for arm, trial in selected.items():
        result = results.get(trial.key)
        scores = result if isinstance(result, ModelScores) else None
        by_folds = trial.best if trial.config.folds else None
        checkpoint = (trial_folder(out, arm.name, trial.number) / BEST).relative_to(out)
        row = SelectionRow(
            arm=arm.name,
            number=trial.number,
            signature=trial.config.signature(),
            judged=trial.best,
            val_iou=by_folds if scores is None else scores.iou,
            val_f1=None if scores is None else scores.f1,
            best_epoch=trial.best_epoch,
        )
        if spec.with_recipe:
            row["is_recipe"] = is_recipe(spec, arm, trial.config, session.inputs.digests)
        tracking.log_selection(session.log, row)
        if scores is not None:
            folder = predictions_folder(out, "val", arm.name, trial.number)
            if pictures := load_pictures(folder, [val.ids[i] for i in pictured(len(val))]):
                session.log.log_pictures(pictures_key("val", arm.name), list(pictures.values()), list(pictures))
        content[arm.name] = {key: value for key, value in row.items() if key != "arm"} | {
            "architecture_label": arm.label(spec),
            "judged_metric": spec.judged_metric,
            "tile_iou": None if scores is None else scores.tile_iou,
            "checkpoint": None if trial.config.folds else str(checkpoint),
            "config": trial.config.model_dump(mode="json"),
        }
    write_json(out / NAME, content)
