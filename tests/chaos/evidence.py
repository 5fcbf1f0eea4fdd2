"""What the next person needs where a check fails: what the driver said, which Ray is alive, and what it logged."""

import os
from collections.abc import Iterator
from pathlib import Path

from driving import processes, tail
from subject import Subject

LOGS = ("raylet.out", "raylet.err", "gcs_server.out", "gcs_server.err")


def evidence(subject: Subject) -> Iterator[str]:
    """Lines about a study's newest driver and its Ray."""
    driver = subject.driver
    if driver is None:
        yield "no driver was started"
        return
    yield f"{driver.log.name}, of process {driver.pid}, which {'runs' if driver.is_running else 'has ended'}:"
    yield driver.tail()
    raylets = [process.pid for process in processes(subject.mark) if "/raylet/raylet " in process.command]
    yield f"raylets of {subject.name}: {raylets or 'none'}"
    ray_folder = Path(subject.environment["RAY_TMPDIR"]) / "ray"
    for starter in (driver.pid, os.getpid()):  # of a Ray of its own, and of a cluster
        for folder in ray_folder.glob(f"session_*_{starter}/logs"):
            for path in [folder / name for name in LOGS if (folder / name).exists()]:
                yield f"{path.relative_to(ray_folder)}:\n{tail(path, 10)}"
