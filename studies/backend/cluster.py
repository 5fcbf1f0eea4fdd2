"""The Ray that a study runs on: this machine's own or a cluster, what fits on it, and whether its nodes share files."""

import contextlib
import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
import ray._private.utils
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from studies import TEMPORARY_FILES
from studies.backend.environment import check_machine
from studies.backend.lost_workers import check_tune
from studies.backend.slots import Node, Slots, fit_slots
from studies.spec import StudySpec
from trainables.common.errors import UserError
from trainables.common.network import check_port
from trainables.common.streams import native_stderr_in

PROBE_SECONDS = 60.0
"""For a node to look at the study's folder; shared file systems may take a while to show a new file."""

CLEAR_SECONDS = 20.0
"""For nodes to remove temporary files at the end of a study."""

WORKER_ENVIRONMENT = {
    # glibc gives large blocks back to the system and faults them in again for every draw otherwise
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}

_PRIVATE = "fewtile_private"
"""A resource that a study's own Ray has, so that other drivers know it as such."""


@contextlib.contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """A Ray of this machine's own, or a connection to a cluster, quiet, and shut down at the end.

    On every node its workers keep their temporary files in one folder, which is removed at the end: W&B leaves two
    behind in each worker that is killed.

    Raises:
        UserError: No cluster answers at `address`, or this machine cannot run a Ray of its own.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it calls a trial that is retried an error
    check_tune()
    folder = check_machine() if address is None else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="fewtile-", dir=folder, ignore_cleanup_errors=True) as scratch:
        log = Path(scratch) / "ray.log"  # of Ray's core, which says on stderr what a person cannot use
        with native_stderr_in(log):
            try:
                if address is None:
                    _start_private(folder, scratch, log)
                else:
                    _join(address, scratch)
                try:
                    yield
                finally:
                    if address is not None:
                        _clear_nodes(scratch)
            finally:
                ray.shutdown()


def _start_private(folder: Path, scratch: str, log: Path) -> None:
    """Starts a Ray that no other driver takes for a cluster.

    Its workers inherit the environment. With one of their own, those that Ray starts beforehand could not be used.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    try:
        with _environment(WORKER_ENVIRONMENT | {"TMPDIR": scratch}):
            _init("local", include_dashboard=False, resources={_PRIVATE: 1}, _temp_dir=str(folder / "ray"))
    except (Exception, SystemExit) as error:  # it ends the process where its parts do not find each other
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        reason = " ".join(str(error).split()) if isinstance(error, Exception) else (lines or ["without a word"])[-1]
        raise UserError(f"Ray does not start on this machine: {reason[:500]}") from error


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Sets environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _join(address: str, scratch: str) -> None:
    """Connects to a cluster, by `auto` to the one that was started on this machine."""
    wrong = "answers no Ray driver"
    for known in _known_addresses() if address == "auto" else [address]:
        try:
            _probe(known)
            _init(known, runtime_env={"env_vars": WORKER_ENVIRONMENT | {TEMPORARY_FILES: scratch}})
        except (ConnectionError, OSError, ValueError):
            continue
        except RuntimeError as error:
            if versions := re.findall(r"Ray: (\S+)\s+Python: (\S+)", str(error)):
                (its_ray, its_python), (own_ray, own_python) = versions[0], versions[-1]
                raise UserError(
                    f"--address {address} runs Ray {its_ray} on Python {its_python}, but this is Ray {own_ray} on "
                    f"Python {own_python}: install the same on all machines"
                ) from error
            raise
        if not any(_PRIVATE in node["Resources"] for node in ray.nodes()):
            return
        ray.shutdown()
        wrong = "is another study's own Ray, which ends with it"
    raise UserError(
        f"--address {address} {wrong}: give auto or HOST:PORT of a cluster that was started with `ray start --head`, "
        "or leave --address out"
    )


def _known_addresses() -> list[str]:
    """Those that `auto` may mean: what `ray start` left on this machine.

    Ray itself would also take whatever runs here, such as the private Ray of a notebook, and ends with it.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        return [address]
    started = [ray._private.utils.read_ray_address(folder) for folder in (None, "/tmp/ray")]
    return list(dict.fromkeys(address for address in started if address))


def _init(address: str, **others: Any) -> None:
    """Connects, with the project's folder as that of the workers.

    They would have the driver's in their `sys.path`, where a file `torch.py` or `ray.py` is taken for the library.
    """
    working_folder = Path.cwd()
    os.chdir(Path(__file__).parents[2])
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            **others,
        )
    finally:
        os.chdir(working_folder)


def _clear_nodes(scratch: str) -> None:
    """Removes the workers' temporary files on every node that can be reached; what fails is given up."""
    with contextlib.suppress(Exception):
        alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        on_nodes = [NodeAffinitySchedulingStrategy(node_id, soft=False) for node_id in alive]
        tasks = [_remove_folder.options(scheduling_strategy=here).remote(scratch) for here in on_nodes]
        ray.wait(tasks, num_returns=len(tasks), timeout=CLEAR_SECONDS)


def ray_slots(spec: StudySpec, needed_gib: Callable[[], float]) -> Slots:
    """The slots of the Ray that is connected; arguments as `fit_slots` has them."""
    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            resources, here = node["Resources"], NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            num_gpus = int(resources.get("GPU", 0))
            gpu_gib = _ask_gpu(here, node["NodeManagerAddress"]) if num_gpus else 0.0
            nodes.append(Node(cpus=int(resources.get("CPU", 0)), gpus=num_gpus, gpu_gib=gpu_gib))
    return fit_slots(spec, nodes, needed_gib)


def _ask_gpu(here: NodeAffinitySchedulingStrategy, address: str) -> float:
    try:
        return float(ray.get(_gpu_gib.options(scheduling_strategy=here).remote(), timeout=PROBE_SECONDS))
    except ray.exceptions.GetTimeoutError as error:
        raise UserError(f"the GPUs of {address} are taken by others: wait for them, or stop these") from error


def probe_storage(out: Path) -> None:
    """Checks that every node sees the study's folder and what others write there.

    Raises:
        UserError: A node does not.
    """
    mark = out / f".probe-{uuid.uuid4().hex}"
    mark.write_text("driver", encoding="utf-8")
    try:
        asked = {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU", 0) + node["Resources"].get("GPU", 0) > 0:
                here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                probe = _probe_node.options(scheduling_strategy=here)
                asked[node["NodeManagerAddress"], node["NodeID"]] = probe.remote(mark, node["NodeID"])
        problems = []  # all of them are awaited, so that none leaves a file later
        for (address, node_id), reference in asked.items():
            try:
                problem = ray.get(reference, timeout=PROBE_SECONDS)
            except ray.exceptions.RayError as error:
                problem = f"cannot look ({str(error).strip().splitlines()[-1]})"
            if not problem and not mark.with_name(f"{mark.name}-{node_id}").exists():
                problem = "writes into another folder of that name"
            if problem:
                problems.append(f"the node {address} {problem}")
        if problems:
            raise UserError(
                f"--out {out} is not shared: {'; '.join(problems)}; use a folder that all nodes mount at the same path"
            )
    finally:
        for path in out.glob(f"{mark.name}*"):
            path.unlink(missing_ok=True)


def _probe(address: str) -> None:
    """Raises OSError or ValueError at once where nothing listens; Ray would try for minutes (seen)."""
    host, _, port = address.rpartition(":")
    check_port(host, int(port))


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _probe_node(mark: Path, node_id: str) -> str:
    """Reads the driver's file on this node and writes one beside it; what failed, or nothing."""
    try:
        mark.read_text(encoding="utf-8")
        mark.with_name(f"{mark.name}-{node_id}").write_text(node_id, encoding="utf-8")
    except FileNotFoundError:
        return "does not see it"
    except OSError as error:
        return f"cannot use it ({error.strerror})"
    return ""


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _remove_folder(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)


@ray.remote(num_cpus=0, num_gpus=0.01)  # type: ignore[untyped-decorator]
def _gpu_gib() -> float:
    from trainables.device import gpu_gib  # here: it imports torch, which nodes without GPUs do not need

    return gpu_gib()
