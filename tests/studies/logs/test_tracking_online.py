"""Runs that should be online: with a server, with one that goes away, with one that never answers, and with none.

The scenarios run in processes of their own, which this file is the script of. The server is a stand-in on loopback.
"""

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.logs import tracking, wandb_process
from tests import wandb_server
from tests.chaos.forked import DriverServer
from tests.studies.logs import test_tracking as helpers
from tests.studies.logs.logged import runs_below
from tests.wandb_server import KEY

pytestmark = pytest.mark.faults
FALLBACK = {"wandb_mode": "offline, since the server could not be reached"}


def log_three_epochs(out: Path, name: str) -> tracking.WandbRun:
    run: tracking.WandbRun = helpers.start(out, name, mode="online")
    for epoch in (1, 2, 3):
        run.log({"epoch": epoch})
    run.log_pictures("overlays", [np.zeros((4, 4, 3), np.uint8)], ["t1"])
    return run


def scenario_unreachable(out: Path) -> dict[str, Any]:
    wandb_process.INIT_TIMEOUT_SECONDS = 2.0
    seconds, runs = [], []
    for name in ("first", "second"):
        began = time.monotonic()
        runs.append(log_three_epochs(out, name))
        runs[-1].finish()
        seconds.append(time.monotonic() - began)
    tracking.complete_files()
    return {
        "seconds": seconds,
        "troubles": [run.trouble for run in runs],
        "are_fallbacks": [run.is_offline_fallback for run in runs],
    }


def scenario_served(out: Path) -> dict[str, Any]:
    wandb_process.FINISH_TIMEOUT_SECONDS = 3.0
    with wandb_server.serving() as server:
        os.environ["WANDB_BASE_URL"] = server.url
        served = log_three_epochs(out, "served")
        served.finish()
        helpers.kill_service()
        left = log_three_epochs(out, "left")
    began = time.monotonic()
    left.finish()
    seconds = time.monotonic() - began
    after = log_three_epochs(out, "after")
    after.finish()
    tracking.complete_files()
    runs = (served, left, after)
    return {
        "seconds": seconds,
        "troubles": [run.trouble for run in runs],
        "are_fallbacks": [run.is_offline_fallback for run in runs],
    }


@pytest.mark.parametrize("listens", [False, True], ids=["refuses", "never answers"])
def test_run_is_offline_where_the_server_does_not_answer_and_waits_once_per_process(
    drivers: DriverServer, tmp_path: Path, listens: bool
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        told, _ = helpers.run_scenario(
            drivers, "scenario_unreachable", tmp_path, __file__, WANDB_BASE_URL=url, WANDB_API_KEY=KEY
        )
    first, second = told["seconds"]
    assert first < 60
    assert second < first / 2
    assert told["are_fallbacks"] == [True, True]
    assert told["troubles"] == ["", ""]
    runs = runs_below(tmp_path)
    assert [run.config["name"] for run in runs] == ["first", "second"]
    for run in runs:
        assert run.path.parent.name.startswith("offline-run-")
        assert run.config.items() >= FALLBACK.items()
        assert [row["epoch"] for row in run.rows if "epoch" in row] == [1, 2, 3]
        assert "overlays" in run.rows[-1]
        assert run.ended


def test_run_is_whole_on_the_disk_where_the_server_goes_away_before_its_end(
    drivers: DriverServer, tmp_path: Path
) -> None:
    told, _ = helpers.run_scenario(drivers, "scenario_served", tmp_path, __file__, WANDB_API_KEY=KEY)
    assert told["seconds"] < 30
    assert told["are_fallbacks"] == [False, False, True]
    served, left, after = told["troubles"]
    assert (served, after) == ("", "")
    runs = {run.config["name"]: run for run in runs_below(tmp_path)}
    assert left == f"W&B could not upload all of left in time: run `wandb sync {runs['left'].path.parent}` later."
    for run in runs.values():
        assert [row["epoch"] for row in run.rows if "epoch" in row] == [1, 2, 3]
        assert run.ended
    assert "wandb_mode" not in runs["left"].config


def test_run_without_a_login_is_offline(drivers: DriverServer, tmp_path: Path) -> None:
    told, _ = helpers.run_scenario(
        drivers, "scenario_unreachable", tmp_path, __file__, WANDB_BASE_URL="http://127.0.0.1:9"
    )
    assert told["are_fallbacks"] == [True, True]
    assert [run.ended for run in runs_below(tmp_path)] == [True, True]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))) + "\n")
