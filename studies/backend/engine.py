"""Runs the trials of all arms in one `Tuner.fit()` of Ray Tune; coordinators decide which run and which stop."""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from studies.backend import lost_workers
from studies.backend.kept_checkpoints import Checkpoints
from studies.backend.slots import Slots
from studies.backend.watch import NothingRunsError, Permit, Watch
from studies.backend.worker import TrialWorker, WorkerSettings
from studies.files.folder import beat_file
from studies.search.coordinator import MAX_LOSSES, Coordinator
from studies.search.relay import Relay
from studies.search.trials import EpochReport, Trial, TrialKey
from trainables.data.tiles import TrainVal

OnEnd = Callable[[Trial], None]


def run_trials(
    coordinators: Sequence[Coordinator],
    tiles: TrainVal,
    settings: WorkerSettings,
    slots: Slots,
    *,
    permit: Permit,
    hang_seconds: float,
    on_end: OnEnd,
    on_step: Callable[[], None],
    on_free: Callable[[int], None] = lambda count: None,
) -> bool:
    """Runs trials until every allowance is spent; False when the permit was withdrawn before.

    Args:
        coordinators: Decide what runs and what stops; trials of a later one run where an earlier one has none left.
        tiles: Put into Ray's object store once; every worker reads them there without a copy.
        settings: Of every worker.
        slots: The shape of a trial and how many run side by side.
        permit: Withdrawn by signals, by the end of the time allowed, and by a user's error in a trial.
        hang_seconds: A trial that gives no sign of life for so long loses its worker.
        on_end: Called with every trial that ended.
        on_step: Called about ten times a second.
        on_free: Called, again and again, with the number of slots that have nothing more to do.
    """
    checkpoints = {coordinator: Checkpoints(coordinator, settings.out) for coordinator in coordinators}
    relay = Relay(coordinators)
    if relay.is_complete:
        return True
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots.count)
    searcher = _Searcher(relay, slots, permit, on_free)
    watch = Watch(permit, hang_seconds, lambda trial_id: beat_file(settings.out, *searcher.name(trial_id)))
    searcher.started = watch.started
    usual, alone = _bundle(slots.cpus, slots.gpus), _bundle(*slots.alone)
    trainable = tune.with_resources(
        tune.with_parameters(TrialWorker, tiles=tiles, settings=settings),
        lambda config: tune.PlacementGroupFactory([alone if config["is_alone"] else usual]),
    )
    with tempfile.TemporaryDirectory(prefix="fewtile-") as scratch:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=_Scheduler(relay, searcher, watch, slots, permit, on_end, checkpoints),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                verbose=0,
                callbacks=[watch, _Steps(on_step)],
                failure_config=tune.FailureConfig(max_failures=0),  # the coordinator decides what is tried again
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the fit loop writes its own
            ),
        )
        try:
            with permit.until_signal(), lost_workers.translated_errors():
                tuner.fit()
        except NothingRunsError:
            for key in list(searcher.current):
                relay.of(key).interrupt(key)
        except tune.TuneError:
            if searcher.broken is not None:  # of which Tune passes the text on, and no more
                raise searcher.broken from searcher.broken.__cause__
            raise
    return relay.is_complete


def _bundle(cpus: float, gpus: float) -> dict[str, float]:
    return {"CPU": cpus} | ({"GPU": gpus} if gpus else {})


class NotPickled:
    """Tune pickles its parts for a restore that Fewtile never makes: nothing of them is to be kept."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Steps(NotPickled, tune.Callback):  # type: ignore[misc]
    """Passes Tune's steps on, and lets Tune forget what trials reported: 34 KB of each (seen)."""

    def __init__(self, on_step: Callable[[], None]):
        self._on_step = on_step

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._on_step()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune before it writes down what it has of the trial."""
        trial.run_metadata.metric_analysis, trial.run_metadata.metric_n_steps = {}, {}


def _keeping_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps the error that a call of Tune's raised, such as a full disk: Tune passes only its text on."""

    @functools.wraps(method)
    def keeping(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except Exception as error:
            self.keep(error)
            raise

    return keeping


class _Searcher(NotPickled, Searcher):  # type: ignore[misc]
    """Passes the coordinators' trials to Tune."""

    def __init__(self, relay: Relay, slots: Slots, permit: Permit, on_free: Callable[[int], None]):
        super().__init__(metric="best", mode="max")
        self._relay, self._slots, self._permit, self._on_free = relay, slots, permit, on_free
        self.keys: dict[str, TrialKey] = {}
        self.current: dict[TrialKey, str] = {}  # Tune's id of each trial that runs: it changes with each try
        self.started: set[str] = set()
        self._alone: str | None = None
        self.broken: Exception | None = None

    def keep(self, error: Exception) -> None:
        """Keeps the first error of the study itself, which ends it."""
        self.broken = self.broken or error

    def name(self, trial_id: str) -> tuple[str, int]:
        """Arm and number of one of Tune's trials."""
        arm, number = self.keys[trial_id]
        return arm.name, number

    @_keeping_errors
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._permit.ending is not None:
            return str(Searcher.FINISHED)
        if self._relay.num_running >= self._slots.count:
            return None
        if self._alone not in self.started and self._alone in self.current.values():
            return None  # others would take what it waits for, again and again
        trial = self._relay.next()
        if trial is None:  # running trials may still be retried
            if not self._relay.num_running:
                return str(Searcher.FINISHED)
            if self._relay.is_final:
                self._on_free(self._slots.count - self._relay.num_running)
            return None
        key = self.keys[trial_id] = trial.key
        self.current[key] = trial_id
        self._alone = trial_id if trial.is_alone else None
        return {
            "arm": trial.arm.name,
            "parent": trial.arm.parent,
            "number": trial.number,
            "config": trial.config.model_dump_json(),
            "epoch": trial.epoch,
            "stage": self._relay.of(key).plan.stage,
            "rungs": list(self._relay.of(key).ladders[trial.arm].rungs),
            "is_alone": trial.is_alone,
            "micro_batch_size": trial.micro_batch_size,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the scheduler handles it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""


class _Scheduler(NotPickled, FIFOScheduler):  # type: ignore[misc]
    """Passes Tune's results to the coordinators and their decisions back; every end of a trial arrives here."""

    def __init__(
        self,
        relay: Relay,
        searcher: _Searcher,
        watch: Watch,
        slots: Slots,
        permit: Permit,
        on_end: OnEnd,
        checkpoints: Mapping[Coordinator, Checkpoints],
    ):
        super().__init__()
        self._relay, self._searcher, self._watch = relay, searcher, watch
        self._slots, self._permit, self._on_end, self._checkpoints = slots, permit, on_end, checkpoints
        self._losses_in_a_row = 0

    def keep(self, error: Exception) -> None:
        """See `_Searcher.keep`."""
        self._searcher.keep(error)

    @_keeping_errors
    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        key = self._searcher.keys[trial.trial_id]
        ends = True
        match result.get("error"):
            case None:
                self._losses_in_a_row = 0
                report = EpochReport(**{field.name: result[field.name] for field in dataclasses.fields(EpochReport)})
                ends = self._relay.of(key).report(key, report)
            case "out of memory":
                self._out_of_memory(key, result["reason"])
            case "user error":
                self._relay.of(key).interrupt(key)
                self._permit.withdraw("user error", result["reason"])
            case outcome:
                self._relay.of(key).fail(key, outcome, result["reason"], result["details"])
        if ends:
            self._forget(key)
        return str(TrialScheduler.STOP if ends else TrialScheduler.CONTINUE)

    @_keeping_errors
    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Interrupts a trial that Tune is done with and that nothing else ended: the permit was withdrawn."""
        key = self._searcher.keys[trial.trial_id]
        if self._searcher.current.get(key) == trial.trial_id:
            del self._searcher.current[key]
            self._relay.of(key).interrupt(key)
            if self._permit.ending is None:
                self._permit.withdraw(
                    "user error",
                    f"{self._permit.path} is gone: was the folder removed, or does another driver use it?",
                )

    @_keeping_errors
    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Retries a trial whose worker was lost, was killed, or could not start."""
        key = self._searcher.keys[trial.trial_id]
        if self._searcher.current.get(key) != trial.trial_id:
            return
        error = lost_workers.error_of(trial)
        if self._permit.ending is not None:
            self._relay.of(key).interrupt(key)
        elif isinstance(error, lost_workers.WorkerOutOfMemoryError):
            self._out_of_memory(key, "out of memory on the machine: its worker was killed")
        else:
            self._lose(key, self._watch.killed.get(trial.trial_id, lost_workers.reason_of(error)))
        self._forget(key)

    def _lose(self, key: TrialKey, reason: str) -> None:
        """Retries a trial whose worker was lost; ends the study where worker after worker is lost and no epoch is done.

        That is no fault of the trials, so none of them fails by it.
        """
        self._losses_in_a_row += 1
        if self._losses_in_a_row >= MAX_LOSSES * max(2, self._slots.count):
            self._relay.of(key).interrupt(key)
            self._permit.withdraw("user error", f"{self._losses_in_a_row} workers were lost in a row: {reason}")
        else:
            self._relay.of(key).lose(key, reason)

    def _out_of_memory(self, key: TrialKey, reason: str) -> None:
        self._relay.of(key).out_of_memory(key, reason, has_company=self._slots.has_company)

    def _forget(self, key: TrialKey) -> None:
        """Forgets Tune's trial; where ours ended with it, logs it and removes the checkpoints that nobody needs."""
        del self._searcher.current[key]
        coordinator = self._relay.of(key)
        trial = coordinator.trials[key]
        if trial.outcome is not None:
            self._on_end(trial)
            self._checkpoints[coordinator].trial_ended(trial)
