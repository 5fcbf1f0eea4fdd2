"""Scores the final models of each arm on `test` and further test sets, each opened once per arm.

Each opening is put on record before a pixel is read, and its result right after. Nothing else ever sees test tiles.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studies.backend.scoring import Scorers
from studies.files.folder import MODELS, beat_file, predictions_folder, trial_folder, write_json
from studies.models.ensembles import ensemble_jobs, with_ensembles
from studies.models.final_rows import log_arm, log_further
from studies.models.scores import ModelScores, ScoringFailure, ScoringJob, ScoringResult, load_record
from studies.seal.seal import Attempt, Seal
from studies.search.coordinator import Coordinator
from studies.search.forecast import scoring_on
from studies.search.plans import Finals
from studies.search.trials import TrialKey, name_of
from studies.session import Session
from trainables.common.errors import UserError
from trainables.common.splits import TEST

TestResults = dict[str, ScoringResult]
"""Results of an arm's models on a test set, by signature: another study may number them otherwise."""


def score(
    session: Session,
    coordinator: Coordinator,
    plan: Finals,
    scorers: Scorers,
    seals: Sequence[Seal],
    val: Mapping[TrialKey, ScoringResult],
) -> dict[str, str]:
    """Scores every arm's models on each test set, writes models.json and the predictions.

    A signal that arrives while test tiles are open takes effect after the result is on record.

    Args:
        session: Of the study.
        coordinator: Of the final models, complete.
        plan: The coordinator's.
        scorers: The workers.
        seals: Of the test sets, `test` first; none leaves them sealed.
        val: What the models came to on val; empty where there is none.

    Returns:
        Arms that could not be scored, with the reason.

    Raises:
        UserError: An arm's attempt was opened before without a result, and there is no reason to look again; all other
            arms and test sets are scored.
    """
    finished = {
        arm: [trial.key for trial in coordinator.of_arm(arm) if trial.outcome == "finished"] for arm in coordinator.arms
    }
    content: dict[str, Any] = {}
    unscored: dict[str, str] = {}
    refused: UserError | None = None
    for seal in seals or (None,):
        session.permit.check_time()
        if seal is not None and session.permit.ending is None:
            session.progress.begin(scoring_on(seal.split), sum(map(len, finished.values())))
        for arm, keys in finished.items():
            session.permit.check_time()
            if session.permit.ending is not None:
                break
            if not keys:
                unscored[arm.parent] = coordinator.of_arm(arm)[-1].reason
                continue
            attempt = Attempt(
                arm=arm.parent,
                signatures=tuple(coordinator.trials[key].config.signature() for key in keys),
                tiles=session.inputs.scored_tiles,
            )
            try:
                on_val = {key: val.get(key) for key in keys}
                found = _results(session, scorers, seal, attempt, on_val, plan)
            except UserError as error:
                refused, found = refused or error, {}
                session.progress.skip(len(keys))
            results: TestResults = {} if isinstance(found, str) else found
            if isinstance(found, str):
                unscored[arm.parent] = found
            if seal is None or seal.split == TEST:
                content[arm.parent] = log_arm(session, coordinator, arm, val, results, attempt, seal)
                if len(seals) > 1:
                    content[arm.parent]["further"] = {other.split: None for other in seals[1:]}  # so far
            elif results:
                its = log_further(session, coordinator, arm, results, attempt, seal)
                content[arm.parent]["further"][seal.split] = its
            write_json(session.out / MODELS, content)
    if refused is not None:  # only now: it takes nothing from the other arms
        raise refused
    return unscored


def _results(
    session: Session,
    scorers: Scorers,
    seal: Seal | None,
    attempt: Attempt,
    on_val: Mapping[TrialKey, ScoringResult | None],
    plan: Finals,
) -> TestResults | str:
    """Results of an arm's models on a test set, those on record or new ones; or why there are none.

    Args:
        session: Of the study.
        scorers: The workers.
        seal: Of the set; None leaves it sealed, without any result.
        attempt: The arm's.
        on_val: Its models with their results on val, where there are any.
        plan: Of the models.

    Raises:
        UserError: As `_test`.
    """
    if (failure := _first_failure(on_val.values())) is not None:
        # Nothing is opened for it: what fails on val may fail on test, and tiles are opened once
        if seal is not None:
            session.progress.skip(len(on_val))
        return f"a model could not be scored on val: {failure}"
    if seal is None:
        return {}
    recorded = _load_recorded(seal, attempt)
    results = recorded or _test(session, scorers, seal, attempt, on_val, plan)
    session.progress.skip(len(on_val) if recorded else 0)
    if (failure := _first_failure(results.values())) is not None:
        where = "" if seal.split == TEST else f"{seal.split}: "
        return f"{where}{failure}; the tiles count as opened, look again with --reopen WHY"
    return results


def _test(
    session: Session,
    scorers: Scorers,
    seal: Seal,
    attempt: Attempt,
    on_val: Mapping[TrialKey, ScoringResult | None],
    plan: Finals,
) -> TestResults:
    """Opens a test set, scores an arm's models and keeps their predictions; records the result if none failed.

    Args:
        session: Of the study.
        scorers: The workers.
        seal: Of the set.
        attempt: The arm's.
        on_val: Its models with their results on val, where there are any: each is scored in the same mode.
        plan: Of the models, which says whose probabilities are averaged, too.

    Raises:
        UserError: The attempt was opened before without a result, and there is no reason to look again.
    """
    count = f"{len(on_val)} model{'s' if len(on_val) > 1 else ''}"
    session.say(f"opening the {seal.split} tiles for {attempt.arm}: {count}, attempt {attempt.id}")
    out = session.out
    jobs = {
        (arm, number): ScoringJob(
            folder=trial_folder(out, arm.name, number),
            beat=beat_file(out, arm.name, number),
            permit=None,  # whatever asks the study to end takes effect after the result is on record
            pictures=predictions_folder(out, seal.split, arm.name, number),
            keeps_all=True,
            tta=session.inputs.spec.tta and seal.split == TEST,
        )
        for arm, number in on_val
    }
    labels = {key: scores.scored for key, scores in on_val.items() if isinstance(scores, ModelScores)}
    tiles = seal.open(attempt, reopen=session.options.reopen)
    together = ensemble_jobs(jobs, plan) if session.inputs.spec.ensembles and seal.split == TEST else {}
    found = scorers.score(jobs | together, tiles, first_labels=labels)
    for key in together:
        if isinstance(result := found[key], ScoringFailure):
            session.say(f"Note: {name_of(key)} has no score: {result.reason}")
    found = with_ensembles(found, jobs, plan)
    results = dict(zip(attempt.signatures, (found[key] for key in on_val), strict=True))
    scores_of = {signature: scores for signature, scores in results.items() if isinstance(scores, ModelScores)}
    if len(scores_of) == len(results):
        seal.record(attempt, {"seeds": {signature: scores.recorded() for signature, scores in scores_of.items()}})
    for scores in scores_of.values():
        if scores.unsaved:
            session.say(f"Note: pictures are missing, as {scores.unsaved}")
    return results


def _load_recorded(seal: Seal, attempt: Attempt) -> TestResults:
    """The results of an attempt that are on record; empty where there are none."""
    recorded = seal.recorded(attempt) or {"seeds": {}}
    return {signature: load_record(row) for signature, row in recorded["seeds"].items()}


def _first_failure(results: Iterable[ScoringResult | None]) -> str | None:
    """Why the first of the models without scores has none; None where all have some."""
    return next((result.reason for result in results if isinstance(result, ScoringFailure)), None)
