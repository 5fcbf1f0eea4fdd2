"""The stages of a study: training the trials of a plan, validating what a search selected, scoring final models."""

from collections.abc import Sequence
from dataclasses import replace

from studies.backend.engine import run_trials
from studies.backend.scoring import Scorers
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
from studies.session import Session, StageResult
from studies.settings.arms import Arm
from trainables.trial import fit


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
    """The search, final models of each arm as soon as its search ended, where these are wanted, and all scoring."""
    out, permit, spec = session.out, session.permit, session.inputs.spec
    if not coordinator.is_complete:  # what an earlier driver selected from fewer trials no longer stands
        for name in (selection.NAME, folder.MODELS):
            (out / name).unlink(missing_ok=True)
    with _scorers(session) as scorers:
        beside = Coordinator(spec, session.ledger, _final_models(session, coordinator))
        if not _train(session, scorers, coordinator, beside):
            return StageResult(ending=permit.ending)
        selected = {arm: best for arm in coordinator.arms if (best := coordinator.selection(arm)) is not None}
        unselected = {arm.name: coordinator.of_arm(arm)[-1].reason for arm in coordinator.arms if arm not in selected}
        unvalidated = {}
        if spec.labels is None:
            unvalidated = selection.validate(session, scorers, selected)
        else:
            selection.log_judged(session, selected)
        if permit.ending is not None:
            return StageResult(ending=permit.ending)
        result = StageResult(ending=None, unselected=unselected, unvalidated=unvalidated)
        if not selected or not spec.seeds:
            return result
        plan = _final_models(session, coordinator, *coordinator.arms)  # in their order, not in that of their ends
        final = Coordinator(spec, session.ledger, plan)
        restore_seeds(final, plan)
        scored = _score(session, final, plan, scorers, seals)
    scored = scored or _train_and_score(session, final, plan, seals)
    return replace(result, ending=scored.ending, untested=scored.untested)


def _train_and_score(session: Session, coordinator: Coordinator, plan: Finals, seals: Sequence[Seal]) -> StageResult:
    """Trains the final models, in rounds, and scores them on val and, unless they are sealed, on the test tiles."""
    restore_seeds(coordinator, plan)
    result = None
    while result is None:
        with _scorers(session) as scorers:
            if not _train(session, scorers, coordinator):
                return StageResult(ending=session.permit.ending)
            result = _score(session, coordinator, plan, scorers, seals)
    return result


def _score(
    session: Session, coordinator: Coordinator, plan: Finals, scorers: Scorers, seals: Sequence[Seal]
) -> StageResult | None:
    """Scores the final models; None where some arms get more seeds first."""
    val = score_finals_on_val(session, scorers, coordinator)
    if add_seeds(session, coordinator, plan, val):
        return None
    untested = finals.score(session, coordinator, plan, scorers, seals, val)
    return StageResult(ending=session.permit.ending, untested=untested)


def _train(session: Session, scorers: Scorers, coordinator: Coordinator, final: Coordinator | None = None) -> bool:
    """Runs the trials of a plan, logging each that ended, also those of earlier drivers; whether all of them ended.

    Args:
        session: Of the study.
        scorers: Of what is trained; on CPUs of this machine their workers start in slots that have nothing more to do.
        coordinator: Of the plan.
        final: Takes the final models of each arm of a search as soon as that ended; None where there are none.
    """
    spec, progress = session.inputs.spec, session.progress
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
        tensorboard=spec.tensorboard,
        checkpoint_seconds=session.options.checkpoint_seconds,
        fit=session.options.fit or fit,
    )
    is_search = coordinator.plan.stage == "search"
    progress.begin(
        "search" if is_search else "final models",
        coordinator.num_planned,
        done=coordinator.num_ended,
        coordinator=coordinator,
    )
    coordinators = [coordinator]
    if final is not None:
        coordinators.append(final)
        for arm in coordinator.arms:
            _confirm(session, coordinator, final, arm)

    def on_end(trial: Trial) -> None:
        one = next(one for one in coordinators if trial.key in one.trials)
        tracking.log_trial(session.log, trial, one.plan.stage)
        progress.trial_ended(trial)
        if final is not None and one is coordinator:
            _confirm(session, coordinator, final, trial.arm)

    for one in coordinators:
        for trial in one.trials.values():
            if trial.outcome is not None:  # so that the newest run of a study is whole
                tracking.log_trial(session.log, trial, one.plan.stage)
    is_complete = run_trials(
        coordinators,
        session.inputs.tiles,
        settings,
        session.slots,
        permit=session.permit,
        hang_seconds=60 * session.options.hang_minutes,
        on_end=on_end,
        on_step=progress.refresh,
        on_free=scorers.prepare if spec.address is None and not session.slots.gpus else lambda count: None,
    )
    for one in coordinators:
        for trial in one.trials.values():
            if trial.outcome is None:
                tracking.log_trial(session.log, trial, one.plan.stage)
    return is_complete


def _confirm(session: Session, search: Coordinator, final: Coordinator, arm: Arm) -> None:
    """Plans the final models of an arm whose search is complete, where they are wanted; and no other's."""
    spec = session.inputs.spec
    if not (spec.seeds and search.is_arm_complete(arm)):
        return
    added = _final_models(session, search, arm)
    session.ledger.add_arms({one.name: one.label(spec) for one in added.arms})
    final.extend(added)
    restore_seeds(final, added)
    if final.arms:
        num_to_come = spec.num_confirming * sum(not search.is_arm_complete(one) for one in search.arms)
        total = final.num_planned + num_to_come
        session.progress.begin_beside("final models", total, done=final.num_ended, coordinator=final)


def _final_models(session: Session, search: Coordinator, *arms: Arm) -> Finals:
    """The plan of final models of what the search selected in arms."""
    spec, digests = session.inputs.spec, session.inputs.digests
    selected = {arm: best for arm in arms if (best := search.selection(arm)) is not None}
    epochs = {arm: best.best_epoch for arm, best in selected.items()}
    for arm in selected:  # a recipe that ASHA stopped does not say where it would have been best
        finished = [trial for trial in search.of_arm(arm) if trial.outcome == "finished"]
        own = (t.best_epoch for t in finished if is_recipe(spec, arm, t.config, digests))
        epochs[replace(arm, is_recipe=True)] = next(own, spec.recipe.epochs)
    configs = {arm: best.config for arm, best in selected.items()}
    return Finals.confirming(spec, configs, len(session.inputs.tiles.train), digests, epochs)


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
