"""The Ray that a study runs on: this machine's own or a cluster, what fits on it, and whether its nodes share files."""

import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from studies.resources import Node, Slots, plan
from studies.spec import StudySpec
from trainables.errors import UserError

CONNECT_TIMEOUT_SECONDS = 5.0

PROBE_SECONDS = 60.0
"""For a node to look at the study's folder; shared file systems may take a while to show a new file."""

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
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it calls a trial that goes on elsewhere an error
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


def plan_slots(spec: StudySpec, tile_px: int, scored_px: int = 0) -> Slots:
    """The slots of the Ray that is connected; sides as `resources.plan` takes them."""
    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            resources, here = node["Resources"], NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            num_gpus = int(resources.get("GPU", 0))
            gpu_gib = _ask_gpu(here, node["NodeManagerAddress"]) if num_gpus else 0.0
            nodes.append(Node(cpus=int(resources.get("CPU", 0)), gpus=num_gpus, gpu_gib=gpu_gib))
    return plan(spec, nodes, tile_px, scored_px)


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
                asked[node["NodeManagerAddress"], node["NodeID"]] = _answer.options(scheduling_strategy=here).remote(
                    mark, node["NodeID"]
                )
        problems = []  # all of them are waited for, so that none leaves its answer later
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


def _probe(address: str | None) -> None:
    """Raises OSError or ValueError at once where nothing listens; Ray would try for minutes (seen)."""
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_SECONDS).close()


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _answer(mark: Path, node_id: str) -> str:
    """What this node cannot do with the driver's file; leaves an answer beside it."""
    try:
        mark.read_text(encoding="utf-8")
        mark.with_name(f"{mark.name}-{node_id}").write_text(node_id, encoding="utf-8")
    except FileNotFoundError:
        return "does not see it"
    except OSError as error:
        return f"cannot use it ({error.strerror})"
    return ""


@ray.remote(num_cpus=0, num_gpus=0.01)  # type: ignore[untyped-decorator]
def _gpu_gib() -> float:
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory) / 2**30
