"""What the next person needs where a check fails: what the driver said, which Ray nodes are alive, what Ray logged."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from driving import processes, tail
from ray._raylet import GcsClient
from subject import Subject

LOGS = ("raylet.out", "raylet.err", "gcs_server.out", "gcs_server.err")
ALIVE = 0
"""Of a node's states. Source: ray/src/ray/protobuf/gcs.proto, GcsNodeInfo.GcsNodeState."""


def evidence(subject: Subject) -> str:
    """Lines about a study's newest driver and its Ray."""
    return "\n".join(_lines(subject))


def _lines(subject: Subject) -> Iterator[str]:
    driver = subject.driver
    if driver is None:
        yield "no driver was started"
        return
    yield f"{driver.log.name}, of process {driver.pid}, which {'runs' if driver.is_running else 'has ended'}:"
    yield driver.tail()
    raylets = [p for p in processes(subject.mark) if "/raylet/raylet " in p.command]
    yield f"raylets of {subject.name}: {sorted({process.pid for process in raylets}) or 'none'}"
    for address in sorted({found[1] for p in raylets if (found := re.search(r"--gcs-address=(\S+)", p.command))}):
        yield f"nodes by the GCS at {address}: {_nodes(address)}"
    for folder in _sessions(subject, [process.command for process in raylets]):
        for name in LOGS:
            path = folder / name
            if path.exists() and path.stat().st_size:
                yield f"{path.relative_to(folder.parents[1])}:"
                yield tail(path, 10)


def _nodes(address: str) -> str:
    try:
        nodes = GcsClient(address=address).get_all_node_info(timeout=5).values()
    except Exception as error:  # whatever is wrong with it is what is to be known
        return f"no answer ({error})"
    alive = sum(node.state == ALIVE for node in nodes)
    return f"{alive} alive, {len(nodes) - alive} dead"


def _sessions(subject: Subject, commands: list[str]) -> list[Path]:
    """Log folders of the study's Ray: of the nodes that are alive; where none is, of those that were."""
    named = {Path(found[1]) for text in commands if (found := re.search(r"--log_dir=(\S+)", text))}
    ray_folder = Path(subject.environment["RAY_TMPDIR"]) / "ray"
    starters = {os.getpid()} | ({subject.driver.pid} if subject.driver is not None else set())
    return sorted(named) or [path for pid in starters for path in ray_folder.glob(f"session_*_{pid}/logs")]
