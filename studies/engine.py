"""The only place that drives Ray: all arms' trials in one `Tuner.fit()`, decided by the coordinator."""

import contextlib
import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Read when Ray is imported: no new-style output, no own loggers, no change of folder, no own handling of Ctrl-C
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# An interrupted trial or one with an error has no metric to report
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from studies.coordinator import Coordinator, Progress
from studies.resources import Node, Slots, plan
from studies.spec import Arm, StudySpec
from studies.worker import Trial, WorkerSettings, evaluate_selected, stop_file, trial_folder
from trainables.errors import UserError
from trainables.tiles import TrainVal

CONNECT_TIMEOUT_SECONDS = 5.0

OnEnd = Callable[[Progress], None]

WORKER_ENVIRONMENT = {
    # glibc gives large blocks back to the system and faults them in again for every draw otherwise
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}


@contextlib.contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """A Ray of this machine's own, or a connection to a cluster, quiet, and shut down at the end.

    Raises:
        UserError: No cluster answers at `address`.
    """
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    local: dict[str, Any] = {"include_dashboard": False} if address is None else {}
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    try:
        _probe(address)
        ray.init(
            address="local" if address is None else address,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": WORKER_ENVIRONMENT},
            **local,
        )
    except (ConnectionError, OSError, ValueError) as error:
        if address is None:
            raise
        raise UserError(
            f"--address {address} answers no Ray driver: give auto or HOST:PORT of a cluster that was started with "
            "`ray start --head`, or leave --address out"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def plan_slots(spec: StudySpec, tile_px: int) -> Slots:
    """The slots of the Ray that is connected; `tile_px` is the longest side of a train tile."""
    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            resources, here = node["Resources"], NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            num_gpus = int(resources.get("GPU", 0))
            gpu_gib = float(ray.get(_gpu_gib.options(scheduling_strategy=here).remote())) if num_gpus else 0.0
            nodes.append(Node(cpus=int(resources.get("CPU", 0)), gpus=num_gpus, gpu_gib=gpu_gib))
    return plan(spec, nodes, tile_px)


def run_trials(
    coordinator: Coordinator,
    tiles: TrainVal,
    settings: WorkerSettings,
    slots: Slots,
    *,
    on_end: OnEnd,
    callbacks: Sequence[Any],
) -> bool:
    """Runs trials until every allowance is spent; False when a signal ended it before.

    Args:
        coordinator: Decides what runs and what stops.
        tiles: Put into Ray's object store once; every worker reads them there without a copy.
        settings: What every worker is told.
        slots: The shape of a trial and how many run side by side.
        on_end: Called with every trial that ended.
        callbacks: Tune callbacks that show progress.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots.count)
    stop = stop_file(settings.out)
    scratch = settings.out / "ray"
    trainable = tune.with_resources(
        tune.with_parameters(Trial, tiles=tiles, settings=settings), {"cpu": slots.cpus, "gpu": slots.gpus}
    )
    searcher = _Searcher(coordinator, slots.count, stop, on_end)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=_Scheduler(coordinator, searcher, settings.out, on_end),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            callbacks=list(callbacks),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the fit loop writes its own
        ),
    )
    try:
        with _stop_on_signals(stop):
            tuner.fit()
            return not stop.exists()
    finally:
        stop.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)


def evaluate_all(selected: dict[Arm, Progress], tiles: TrainVal, out: Path, slots: Slots) -> dict[Arm, dict[str, Any]]:
    """Whole-tile validation of each arm's selected checkpoint, side by side; see `evaluate_selected`.

    An arm whose validation fails has an `error` instead: it takes nothing from the others.
    """
    task = ray.remote(num_cpus=slots.cpus, num_gpus=slots.gpus)(evaluate_selected)
    stored = ray.put(tiles)
    running = {
        arm: task.remote(trial_folder(out, arm.name, progress.assignment.number), stored, slots.cpus, slots.device)
        for arm, progress in selected.items()
    }
    results: dict[Arm, dict[str, Any]] = {}
    for arm, reference in running.items():
        try:
            results[arm] = ray.get(reference)
        except ray.exceptions.RayError as error:
            results[arm] = {"error": str(error).strip().splitlines()[-1]}
    return results


def _probe(address: str | None) -> None:
    """Raises OSError or ValueError at once where nothing listens; Ray would try for minutes (seen)."""
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_SECONDS).close()


class NotPickled:
    """Tune pickles its parts for a restore that Fewtile never makes: nothing of them is to be kept."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Searcher(NotPickled, Searcher):  # type: ignore[misc]
    """Hands the coordinator's assignments to Tune."""

    def __init__(self, coordinator: Coordinator, num_slots: int, stop: Path, on_end: OnEnd):
        super().__init__(metric="best", mode="max")
        self._coordinator, self._num_slots, self._stop, self._on_end = coordinator, num_slots, stop, on_end
        self.keys: dict[str, tuple[Arm, int]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._stop.exists():
            return str(Searcher.FINISHED)
        if self._coordinator.num_running >= self._num_slots:
            return None
        assignment = self._coordinator.next()
        if assignment is None:
            return str(Searcher.FINISHED)
        self.keys[trial_id] = (assignment.arm, assignment.number)
        return {
            "arm": assignment.arm.name,
            "number": assignment.number,
            "config": assignment.config.model_dump_json(),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Only what the scheduler did not hear of: a worker that was lost or could not start."""
        if error and trial_id in self.keys:
            self._coordinator.fail(*self.keys[trial_id], "failed", "its worker was lost or could not start")
            self._on_end(self._coordinator.trials[self.keys[trial_id]])
            _keep_leader(self._coordinator, self.keys[trial_id][0], self._stop.parent)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""


class _Scheduler(NotPickled, FIFOScheduler):  # type: ignore[misc]
    """Hands Tune's results to the coordinator and its decisions back; trials report all that ends them here."""

    def __init__(self, coordinator: Coordinator, searcher: _Searcher, out: Path, on_end: OnEnd):
        super().__init__()
        self._coordinator, self._searcher, self._out, self._on_end = coordinator, searcher, out, on_end

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        arm, number = self._searcher.keys[trial.trial_id]
        if "error" in result:
            self._coordinator.fail(arm, number, result["error"], result["reason"], result["details"])
            ends = True
        else:
            ends = self._coordinator.report(
                arm,
                number,
                result["epoch"],
                result["best"],
                result["best_epoch"],
                result["ended"],
                result["seconds"],
            )
        if ends:
            self._on_end(self._coordinator.trials[arm, number])
            _keep_leader(self._coordinator, arm, self._out)
        return str(TrialScheduler.STOP if ends else TrialScheduler.CONTINUE)


def _keep_leader(coordinator: Coordinator, arm: Arm, out: Path) -> None:
    """Removes the checkpoints of the arm's ended trials but its best so far: each takes some 100 MB."""
    leader = coordinator.selection(arm)
    for progress in coordinator.of_arm(arm):
        if progress.outcome is not None and progress is not leader:
            shutil.rmtree(trial_folder(out, arm.name, progress.assignment.number), ignore_errors=True)


@contextlib.contextmanager
def _stop_on_signals(stop: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask every trial to end before its next batch; a second one ends the driver at once."""

    def ask(signum: int, _: Any) -> None:
        if stop.exists():
            raise KeyboardInterrupt
        stop.touch()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@ray.remote(num_cpus=0, num_gpus=0.01)  # type: ignore[untyped-decorator]
def _gpu_gib() -> float:
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory) / 2**30
