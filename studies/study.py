"""A whole study: from a spec to a folder with the ledger, W&B logs, the selection, the final models and the report."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from analysis.logs.errors import LogsError
from analysis.logs.run_configs import STUDY_JOB
from studies.backend.cluster import probe_storage, ray_session, ray_slots
from studies.backend.memory import needed_gib, trial_memory
from studies.backend.precision import is_faster_in_bf16
from studies.backend.slots import Slots
from studies.backend.watch import Permit, sigterm_as_ctrl_c
from studies.files import folder
from studies.files.disk import disk_errors_in_one_line
from studies.inputs import StudyInputs, check_unchanged, load_inputs
from studies.logs import tracking
from studies.logs.study_config import log_config
from studies.options import Options
from studies.progress import StudyProgress
from studies.seal.leaks import check_splits
from studies.seal.seal import Seal, seals_of
from studies.search.coordinator import Coordinator
from studies.search.forecast import Forecast, Sizes
from studies.search.ledger import Ledger
from studies.search.ledger_file import check_ledger
from studies.search.plans import first_plan
from studies.session import Session, StageResult
from studies.spec import StudySpec
from trainables.common.duration import duration
from trainables.common.errors import UserError

if TYPE_CHECKING:
    from analysis.report.write import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult(StageResult):
    """The result of a study.

    Attributes:
        out: Its folder.
        report: The tables; None where W&B is disabled or the study is not complete.
    """

    out: Path
    report: "Report | None" = None


def run_study(spec: StudySpec, *, out: Path, console: Console, options: Options | None = None) -> StudyResult:
    """Runs a study to its end, or resumes one.

    Args:
        spec: What to run.
        out: A folder that does not exist yet or is empty; or, to resume, the study's.
        console: Where progress is shown.
        options: How to run it.

    Raises:
        UserError: The spec, the tiles or the folder do not allow it, and nothing is written then; or something that
            only a person can mend stopped it on its way, and it can be resumed from there.
    """
    out, options = out.resolve(), options or Options()
    started = time.monotonic()
    is_resumed = options.resume and folder.has_study(out)
    if not is_resumed:
        folder.check_free(out)
    if options.resume and not is_resumed:
        console.print(f"{out} holds no study yet: starting it", highlight=False)
    inputs = load_inputs(spec, console)
    provenance = folder.provenance(inputs.facts)
    if is_resumed:
        provenance = check_unchanged(inputs, out, console)
        check_ledger(out / folder.LEDGER, provenance["study_id"])
    ends_at = None if options.max_hours is None else started + 3600 * options.max_hours
    with StudyProgress(console) as progress:
        with (
            sigterm_as_ctrl_c(),
            folder.hold_folder(out, resume=is_resumed),
            disk_errors_in_one_line(out),
            contextlib.nullcontext(_check_seals(inputs, out, provenance["study_id"], options, console)) as seals,
            contextlib.nullcontext(check_splits(inputs, seals, console, strict=options.strict_splits)) as inputs,
            ThreadPoolExecutor(1) as beside,
            contextlib.nullcontext(beside.submit(_count_parameters, inputs)) as parameters,
            ray_session(spec.address),  # only now: what the seal refuses needs no Ray
            sigterm_as_ctrl_c(),  # again, since Ray takes the signal over
        ):
            counted = parameters.result()  # before memory is traced and steps are timed
            slots = ray_slots(inputs.spec, lambda: needed_gib(trial_memory(inputs, console)))
            if spec.address is not None:
                probe_storage(out)
            if inputs.spec.bf16 is None and not is_resumed:  # or the file that is run again says so
                bf16 = is_faster_in_bf16(inputs, slots, console)
                inputs = replace(inputs, spec=inputs.spec.model_copy(update={"bf16": bf16}))
            with _open_ledger(inputs, out, provenance["study_id"]) as ledger:
                plan = first_plan(inputs.spec, inputs.digests, len(inputs.tiles.train))
                coordinator = Coordinator(inputs.spec, ledger, plan)
                versions = dict(inputs.facts["versions"])
                folder.write_study(out, inputs.spec, provenance, slots=str(slots), versions=versions)
                console.print(_first_line(out, inputs, coordinator, slots, is_resumed=is_resumed), highlight=False)
                forecast = Forecast(inputs.spec, _sizes(inputs), slots.count)
                config = log_config(inputs, counted, out.name, slots)
                config |= {"study_id": provenance["study_id"]}
                log = tracking.WandbRun(out, inputs.spec.wandb, name=out.name, job_type=STUDY_JOB, config=config)
                session = Session(
                    out=out,
                    study_id=provenance["study_id"],
                    inputs=inputs,
                    slots=slots,
                    ledger=ledger,
                    log=log,
                    permit=Permit(out, None if ends_at is None else ends_at - time.monotonic()),
                    options=options,
                    progress=progress,
                    console=console,
                )
                result = _run(session, coordinator, seals, forecast, is_resumed=is_resumed)
        if log.trouble:
            console.print(f"W&B: {log.trouble}", highlight=False)
        report = None
        if result.ending is None and inputs.spec.wandb != "disabled":
            report = _write_report(out, console)
    how = "done in" if result.ending is None else "ended after"
    console.print(f"{how} {duration(time.monotonic() - started)}", highlight=False)
    return StudyResult(out=out, report=report, **{item.name: getattr(result, item.name) for item in fields(result)})


def _count_parameters(inputs: StudyInputs) -> dict[str, tuple[int, int]]:
    """Beside the start of Ray, as is the import of torch: each takes some seconds.

    Raises:
        UserError: Weights do not fit the network that they are for.
    """
    from studies.models.parameters import parameters_by_architecture

    return parameters_by_architecture(inputs)


def _run(
    session: Session, coordinator: Coordinator, seals: Sequence[Seal], forecast: Forecast, *, is_resumed: bool
) -> StageResult:
    """Runs the stages, and completes the W&B files however they end."""
    from studies.stages import run_stages  # here: it imports torch, as `_count_parameters` did beside Ray's start

    permit = session.permit
    try:
        session.progress.start(forecast)
        with permit.until_signal():
            result = run_stages(session, coordinator, seals)
        if result.ending is None and session.inputs.spec.wandb != "disabled":
            if not is_resumed and (forecast_row := session.progress.forecast()) is not None:
                tracking.log_forecast(session.log, forecast_row)
            session.progress.begin("report")
    finally:
        permit.close()
        session.log.finish()
        tracking.complete_files()
    if permit.ending == "user error":
        raise UserError(f"{permit.reason}; what was done is kept, --resume continues")
    return result


def _check_seals(inputs: StudyInputs, out: Path, study_id: str, options: Options, console: Console) -> tuple[Seal, ...]:
    """The seals of the test sets, checked; none where these stay sealed."""
    if not (inputs.spec.seeds and inputs.spec.test):
        return ()
    seals = seals_of(inputs.dataset, inputs.rule, out=out, study=out.name, study_id=study_id)
    for note in (note for seal in seals for note in seal.check(reopen=options.reopen)):
        console.print(f"Note: {note}", highlight=False)
    return seals


@contextlib.contextmanager
def _open_ledger(inputs: StudyInputs, out: Path, study_id: str) -> Iterator[Ledger]:
    spec = inputs.spec
    labels = {arm.name: arm.label(spec) for arm in spec.arms()}
    ledger = Ledger(out / folder.LEDGER, labels, study_id=study_id, is_shared=spec.address is not None)
    try:
        yield ledger
    finally:
        ledger.close()


def _sizes(inputs: StudyInputs) -> Sizes:
    """The pixels of the tiles; of test sets as their headers say."""
    sealed_px = {
        files.split: [(tile.height_px, tile.width_px) for tile in files.tiles] for files in inputs.dataset.test_sets
    }
    return Sizes.of(inputs.spec, inputs.tiles, sealed_px)


def _first_line(out: Path, inputs: StudyInputs, coordinator: Coordinator, slots: Slots, *, is_resumed: bool) -> str:
    counts = sorted({coordinator.allowance(arm) for arm in coordinator.arms})
    line = (
        f"{out.name}: {len(coordinator.arms)} arms × {' or '.join(map(str, counts))} trials of up to "
        f"{coordinator.spec.recipe.epochs} epochs; {slots}; judged by {coordinator.spec.judged_metric}"
    )
    folds = sorted({inputs.num_networks(arm) for arm in coordinator.arms})
    if folds != [1]:
        line += f"; cross-validated in {' or '.join(map(str, folds))} folds"
    if is_resumed:
        num_open = len(coordinator.trials) - coordinator.num_ended
        line += f"\nresuming: {coordinator.num_ended} trials ended, {num_open} were interrupted"
    return line


def _write_report(out: Path, console: Console) -> "Report | None":
    from analysis.report.write import write_report  # here: what draws figures takes seconds, which --help needs not

    try:
        return write_report([out], out / "report")
    except (LogsError, OSError) as error:  # the logs may be incomplete; what was selected stands
        console.print(f"no report could be written: {error}", highlight=False)
        return None
