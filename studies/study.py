"""A whole study: from a spec to a folder with the ledger, W&B logs, the selection, the final models and the report."""

import functools
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from analysis.logs.wandb_files import LogsError
from studies import folder
from studies.backend.cluster import plan_slots, probe_storage, ray_session
from studies.backend.engine import run_trials
from studies.backend.progress import ProgressDisplay
from studies.backend.scoring import Scorers
from studies.backend.slots import Slots
from studies.backend.watch import Ending, Permit, sigterm_as_ctrl_c
from studies.backend.worker import WorkerSettings
from studies.disk import said_in_one_line
from studies.logs import tracking
from studies.models import finals, selection
from studies.models.evaluation import score_model
from studies.models.parameters import parameters_by_architecture
from studies.options import Options
from studies.preparation import Prepared, check_unchanged, log_config, prepare
from studies.seal.seal import Seal
from studies.search.coordinator import Coordinator
from studies.search.forecast import Sizes, seconds_after, seconds_to_test
from studies.search.ledger import Ledger
from studies.search.ledger_file import check_ledger
from studies.search.plans import Finals, first_plan
from studies.search.trials import Progress
from studies.spec import StudySpec
from trainables.common.duration import duration
from trainables.common.errors import UserError
from trainables.trial import fit

if TYPE_CHECKING:
    from analysis.report.write import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """What a study came to.

    Attributes:
        out: Its folder.
        ending: What ended it before its allowances were spent; None when it is complete.
        unselected: Arms of which no trial ran its course, with the reason of their last trial.
        unvalidated: Arms whose selected model could not be scored on whole tiles, with the reason.
        untested: Arms that were to be tested and were not, with the reason.
        report: The tables; None where W&B is disabled or the study is not complete.
    """

    out: Path
    ending: Ending | None
    unselected: dict[str, str] = field(default_factory=dict)
    unvalidated: dict[str, str] = field(default_factory=dict)
    untested: dict[str, str] = field(default_factory=dict)
    report: "Report | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """One driver at work on a study."""

    out: Path
    study_id: str
    prepared: Prepared
    slots: Slots
    ledger: Ledger
    sizes: Sizes
    log: tracking.Run
    permit: Permit
    options: Options
    console: Console


def run_study(spec: StudySpec, *, out: Path, console: Console, options: Options | None = None) -> StudyResult:
    """Runs a study to its end, or goes on with one.

    Args:
        spec: What to run.
        out: A folder that does not exist yet or is empty; or, to go on, the study's.
        console: Where progress is shown.
        options: How to run it.

    Raises:
        UserError: The spec, the tiles or the folder do not allow it, and nothing is written then; or something that
            only a person can mend stopped it on its way, and it can go on from there.
    """
    out, options = out.resolve(), options or Options()
    started = time.monotonic()
    resume = options.resume and folder.begun(out)
    if not resume:
        folder.check_free(out)
    if options.resume and not resume:
        console.print(f"{out} holds no study yet: starting it", highlight=False)
    prepared = prepare(spec, console)
    parameters = parameters_by_architecture(prepared)
    provenance = folder.provenance(prepared.facts)
    if resume:
        provenance = check_unchanged(prepared, out, console)
        check_ledger(out / folder.LEDGER, provenance["study_id"])
    with (
        sigterm_as_ctrl_c(),
        folder.claimed(out, resume=resume),
        ray_session(spec.address),
        sigterm_as_ctrl_c(),  # again, since Ray takes the signal over
        said_in_one_line(out),
    ):
        sealed = None
        if prepared.spec.seeds and prepared.spec.test:
            sealed = Seal(prepared.dataset, out=out, study=out.name, study_id=provenance["study_id"])
            for note in sealed.check(reopen=options.reopen):
                console.print(f"Note: {note}", highlight=False)
        slots = plan_slots(prepared.spec, prepared.train_px, prepared.scored_px)
        if spec.address is not None:
            probe_storage(out)
        ledger = Ledger(
            out / folder.LEDGER,
            {arm.name: arm.label(prepared.spec) for arm in prepared.spec.arms()},
            study_id=provenance["study_id"],
            is_shared=spec.address is not None,
        )
        try:
            coordinator = Coordinator(
                prepared.spec, ledger, first_plan(prepared.spec, prepared.digests, len(prepared.tiles.train))
            )
            versions = dict(prepared.facts["versions"])
            folder.write_study(out, prepared.spec, provenance, slots=str(slots), versions=versions)
            console.print(_first_line(out, coordinator, slots, resume=resume), highlight=False)
            origin = {"study_id": provenance["study_id"]}
            log = tracking.Run(
                out,
                prepared.spec.wandb,
                name=out.name,
                job_type="study",
                config=log_config(prepared, parameters, out.name, slots) | origin,
            )
            seconds = None if options.max_hours is None else 3600 * options.max_hours - (time.monotonic() - started)
            permit = Permit(out, seconds)
            try:
                session = _Session(
                    out=out,
                    study_id=provenance["study_id"],
                    prepared=prepared,
                    slots=slots,
                    ledger=ledger,
                    sizes=Sizes.of(prepared.spec, prepared.tiles, _test_sizes(prepared)),
                    log=log,
                    permit=permit,
                    options=options,
                    console=console,
                )
                run = _search_and_confirm if prepared.spec.has_search else _run_finals
                with permit.until_signal():
                    result = run(session, coordinator, sealed)
            finally:
                permit.close()
                log.finish()
                tracking.complete_files()
        finally:
            ledger.close()
        if permit.ending == "user error":
            raise UserError(f"{permit.reason}; what was done is kept, --resume goes on")
    how = "done in" if result.ending is None else "ended after"
    console.print(f"{how} {duration(time.monotonic() - started)}", highlight=False)
    if log.trouble:
        console.print(f"W&B: {log.trouble}", highlight=False)
    report = None
    if result.ending is None and prepared.spec.wandb != "disabled":
        from analysis.report.write import write_report  # here: what draws figures takes seconds to import

        try:
            report = write_report([out], out / "report")
        except (LogsError, OSError) as error:  # the logs may be incomplete; what was selected stands
            console.print(f"no report could be written: {error}", highlight=False)
    return replace(result, report=report)


def _search_and_confirm(session: _Session, coordinator: Coordinator, sealed: Seal | None) -> StudyResult:
    """The search, the selection, and the selected configurations with new seeds where these are wanted."""
    out, permit, spec = session.out, session.permit, session.prepared.spec
    if not coordinator.is_complete:  # what an earlier driver selected from fewer trials no longer stands
        for name in (selection.NAME, folder.MODELS):
            (out / name).unlink(missing_ok=True)
    if not _run_stage(session, coordinator):
        return StudyResult(out=out, ending=permit.ending)
    selected = {arm: best for arm in coordinator.arms if (best := coordinator.selection(arm)) is not None}
    unselected = {arm.name: coordinator.of_arm(arm)[-1].reason for arm in coordinator.arms if arm not in selected}
    session.console.print(f"validating {len(selected)} selected models on whole tiles", highlight=False)
    with _scorers(session) as scorers:
        unvalidated = selection.validate(
            selected,
            session.prepared,
            scorers,
            out=out,
            permit=permit,
            log=session.log,
            later=functools.partial(_seconds_after, session, coordinator),
        )
    if permit.ending is not None:
        return StudyResult(out=out, ending=permit.ending)
    result = StudyResult(out=out, ending=None, unselected=unselected, unvalidated=unvalidated)
    if not selected or not spec.seeds:
        return result
    configs = {arm: progress.assignment.config for arm, progress in selected.items()}
    plan = Finals.confirming(spec, configs, len(session.prepared.tiles.train))
    session.ledger.add_arms({arm.name: arm.label(spec) for arm in plan.arms})
    session.console.print(
        f"confirming {len(plan.arms)} configurations with {spec.seeds} new seeds each", highlight=False
    )
    final = _run_finals(session, Coordinator(spec, session.ledger, plan), sealed)
    return replace(result, ending=final.ending, untested=final.untested)


def _run_finals(session: _Session, coordinator: Coordinator, sealed: Seal | None) -> StudyResult:
    """Trains the final models, and scores them on val and, unless they are sealed, on the test tiles."""
    out, permit, plan = session.out, session.permit, coordinator.plan
    assert isinstance(plan, Finals), "final models have a plan of their own"
    if not _run_stage(session, coordinator):
        return StudyResult(out=out, ending=permit.ending)
    with _scorers(session) as scorers:
        work = finals.Scoring(
            plan=plan,
            coordinator=coordinator,
            tiles=session.prepared.tiles,
            scored_tiles=session.prepared.scored_tiles,
            out=out,
            scorers=scorers,
            permit=permit,
            reopen=session.options.reopen,
            log=session.log,
            console=session.console,
            later=functools.partial(seconds_to_test, coordinator, session.sizes, session.slots.count),
        )
        untested = finals.score(work, sealed)
    return StudyResult(out=out, ending=permit.ending, untested=untested)


def _run_stage(session: _Session, coordinator: Coordinator) -> bool:
    """Runs a plan's trials, logging each that ended, also those of earlier drivers; whether it is complete."""
    spec, options = session.prepared.spec, session.options
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
        stage=coordinator.plan.stage,
        tensorboard=spec.tensorboard,
        checkpoint_seconds=options.checkpoint_seconds,
        fit=options.fit or fit,
    )

    def log(progress: Progress) -> None:
        tracking.log_trial(session.log, progress, coordinator.plan.stage)

    for progress in coordinator.trials.values():
        if progress.outcome is not None:  # so that the newest run of a study is whole
            log(progress)
    display = ProgressDisplay(
        coordinator, session.slots.count, session.console, functools.partial(_seconds_after, session, coordinator)
    )
    try:
        complete = run_trials(
            coordinator,
            session.prepared.tiles,
            settings,
            session.slots,
            permit=session.permit,
            hang_seconds=60 * options.hang_minutes,
            on_end=log,
            callbacks=[display],
        )
    finally:
        display.close()
    for progress in coordinator.trials.values():
        if progress.outcome is None:
            log(progress)
    return complete


def _test_sizes(prepared: Prepared) -> list[tuple[int, int]]:
    """(height, width) of each test tile, as their headers say."""
    return [(tile.height_px, tile.width_px) for tile in prepared.dataset.test.tiles]


def _first_line(out: Path, coordinator: Coordinator, slots: Slots, *, resume: bool) -> str:
    spec, known = coordinator.spec, coordinator.trials.values()
    counts = sorted({coordinator.plan.allowance(arm) for arm in coordinator.arms})
    line = (
        f"{out.name}: {len(coordinator.arms)} arms × {' or '.join(map(str, counts))} trials of up to "
        f"{spec.recipe.epochs} epochs; {slots}; judged by {spec.judged_metric}"
    )
    if resume:
        ended = sum(progress.outcome is not None for progress in known)
        line += f"\ngoing on: {ended} trials ended, {len(known) - ended} were interrupted"
    return line


def _seconds_after(session: _Session, coordinator: Coordinator) -> float:
    return seconds_after(coordinator, session.sizes, session.slots.count)


def _scorers(session: _Session) -> Scorers:
    return Scorers(
        session.prepared.tiles.info,
        session.slots,
        session.permit,
        hang_seconds=60 * session.options.hang_minutes,
        console=session.console,
        evaluate=session.options.evaluate or score_model,
    )
