"""The stages of a study: training the trials of a plan, validating what a search selected, scoring final models."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from studies.backend.engine import run_trials
from studies.backend.scoring import Scorers
from studies.backend.watch import Ending
from studies.backend.worker import WorkerSettings
from studies.files import folder
from studies.logs import tracking
from studies.models import finals, selection
from studies.models.evaluation import score_model
from studies.models.more_seeds import add_seeds, restore_seeds
from studies.models.val_scores import score_finals_on_val
from studies.seal.seal import Seal
from studies.search.coordinator import Coordinator
from studies.search.plans import Finals, is_recipe
from studies.search.trials import Trial
from studies.session import Session
from trainables.trial import fit


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """The result of a study's stages.

    Attributes:
        ending: What ended them before the allowances were spent; None where they are complete.
        unselected: Arms of which no trial ran its course, with the reason of their last trial.
        unvalidated: Arms whose selected model could not be scored on whole tiles, with the reason.
        untested: Arms that were to be tested and were not, with the reason.
    """

    ending: Ending | None
    unselected: dict[str, str] = field(default_factory=dict)
    unvalidated: dict[str, str] = field(default_factory=dict)
    untested: dict[str, str] = field(default_factory=dict)


def run_stages(session: Session, coordinator: Coordinator, seals: Sequence[Seal]) -> StageResult:
    """Runs a study's stages from the trials of its first plan on.

    Args:
        session: Of the study.
        coordinator: Of the first plan.
        seals: Of the test sets, `test` first; none leaves them sealed.
    """
    plan = coordinator.plan
    if isinstance(plan, Finals):
        return _train_and_score(session, coordinator, plan, seals)
    return _search_and_confirm(session, coordinator, seals)


def _search_and_confirm(session: Session, coordinator: Coordinator, seals: Sequence[Seal]) -> StageResult:
    """The search, the validation, and final models of the selected configurations where these are wanted."""
    out, permit, spec = session.out, session.permit, session.inputs.spec
    if not coordinator.is_complete:  # what an earlier driver selected from fewer trials no longer stands
        for name in (selection.NAME, folder.MODELS):
            (out / name).unlink(missing_ok=True)
    if not _train(session, coordinator):
        return StageResult(ending=permit.ending)
    selected = {arm: best for arm in coordinator.arms if (best := coordinator.selection(arm)) is not None}
    unselected = {arm.name: coordinator.of_arm(arm)[-1].reason for arm in coordinator.arms if arm not in selected}
    if spec.labels is None:
        with _scorers(session) as scorers:
            unvalidated = selection.validate(session, scorers, selected)
    else:
        unvalidated = {}
        selection.log_judged(session, selected)
    if permit.ending is not None:
        return StageResult(ending=permit.ending)
    result = StageResult(ending=None, unselected=unselected, unvalidated=unvalidated)
    if not selected or not spec.seeds:
        return result
    configs = {arm: trial.config for arm, trial in selected.items()}
    epochs = {arm: trial.best_epoch for arm, trial in selected.items()}
    for arm in selected:  # a recipe that ASHA stopped does not say where it would have been best
        finished = [trial for trial in coordinator.of_arm(arm) if trial.outcome == "finished"]
        own = (t.best_epoch for t in finished if is_recipe(spec, arm, t.config, session.inputs.digests))
        epochs[replace(arm, is_recipe=True)] = next(own, spec.recipe.epochs)
    plan = Finals.confirming(spec, configs, len(session.inputs.tiles.train), session.inputs.digests, epochs)
    session.ledger.add_arms({arm.name: arm.label(spec) for arm in plan.arms})
    final = _train_and_score(session, Coordinator(spec, session.ledger, plan), plan, seals)
    return replace(result, ending=final.ending, untested=final.untested)


def _train_and_score(session: Session, coordinator: Coordinator, plan: Finals, seals: Sequence[Seal]) -> StageResult:
    """Trains the final models, in rounds, and scores them on val and, unless they are sealed, on the test tiles."""
    restore_seeds(coordinator, plan)
    while _train(session, coordinator):
        with _scorers(session) as scorers:
            val = score_finals_on_val(session, scorers, coordinator)
            if not add_seeds(session, coordinator, plan, val):
                untested = finals.score(session, coordinator, plan, scorers, seals, val)
                return StageResult(ending=session.permit.ending, untested=untested)
    return StageResult(ending=session.permit.ending)


def _train(session: Session, coordinator: Coordinator) -> bool:
    """Runs a plan's trials, logging each that ended, also those of earlier drivers; whether all of them ended."""
    stage, spec = coordinator.plan.stage, session.inputs.spec
    settings = WorkerSettings(
        out=session.out,
        study=session.out.name,
        study_id=session.study_id,
        profile=spec.profile,
        wandb=spec.wandb,
        num_threads=session.slots.cpus,
        overlays_every=spec.overlays_every,
        device=session.slots.device,
        permit=session.permit.path,
        stage=stage,
        tensorboard=spec.tensorboard,
        checkpoint_seconds=session.options.checkpoint_seconds,
        fit=session.options.fit or fit,
    )

    def on_end(trial: Trial) -> None:
        tracking.log_trial(session.log, trial, stage)
        session.progress.trial_ended(trial)

    for trial in coordinator.trials.values():
        if trial.outcome is not None:  # so that the newest run of a study is whole
            tracking.log_trial(session.log, trial, stage)
    session.progress.begin(
        "search" if stage == "search" else "final models",
        coordinator.num_planned,
        done=coordinator.num_ended,
        coordinator=coordinator,
    )
    is_complete = run_trials(
        coordinator,
        session.inputs.tiles,
        settings,
        session.slots,
        permit=session.permit,
        hang_seconds=60 * session.options.hang_minutes,
        on_end=on_end,
        on_step=session.progress.refresh,
    )
    for trial in coordinator.trials.values():
        if trial.outcome is None:
            tracking.log_trial(session.log, trial, stage)
    return is_complete


def _scorers(session: Session) -> Scorers:
    return Scorers(
        session.inputs.tiles.info,
        session.slots,
        session.permit,
        hang_seconds=60 * session.options.hang_minutes,
        console=session.console,
        evaluate=session.options.evaluate or score_model,
        on_scored=session.progress.model_scored,
        on_wait=session.progress.refresh,
    )
