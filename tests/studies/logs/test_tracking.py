"""What W&B does must not stop or slow a study: its process killed, hung, on a full disk, never started; no server.

The scenarios run in processes of their own, which this file is the script of: what is killed there leaves nothing here.
The server is a stand-in on loopback.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.logs.wandb_run import LoggedRun
from studies.logs import tracking, wandb_process
from tests import wandb_server
from tests.chaos.forked import DriverServer
from tests.studies.logs.logged import runs_below
from tests.wandb_server import KEY

PICTURE = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)  # does not compress


def start(out: Path, name: str = "trial", mode: Any = "offline") -> tracking.WandbRun:
    return tracking.WandbRun(out, mode, name=name, job_type="trial", config={"name": name})


def log_one(out: Path, name: str) -> tracking.WandbRun:
    """A run of one epoch that was finished."""
    run = start(out, name)
    run.log({"epoch": 1})
    run.finish()
    return run


def log_online(out: Path, name: str, *, is_finished: bool = True) -> tracking.WandbRun:
    """A run of three epochs and a picture that should be online."""
    run = start(out, name, mode="online")
    for epoch in (1, 2, 3):
        run.log({"epoch": epoch})
    run.log_pictures("overlays", [np.zeros((4, 4, 3), np.uint8)], ["t1"])
    if is_finished:
        run.finish()
    return run


def rows(run: LoggedRun) -> list[dict[str, Any]]:
    """What was logged, without what W&B adds."""
    return [{key: value for key, value in row.items() if key[0] != "_"} for row in run.rows]


def service() -> int:
    """The process id of this process's W&B service."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat=,comm="], capture_output=True, text=True, check=True)
    processes = [line.split(None, 3) for line in listed.stdout.splitlines()]
    (pid,) = [
        int(pid)
        for pid, parent, state, name in processes
        if int(parent) == os.getpid() and "wandb" in name and state[0] not in "ZT"
    ]
    return pid


def kill_service() -> None:
    pid = service()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until it is dead, and leaves it to W&B to ask


def until(is_so: Callable[[LoggedRun], bool], out: Path) -> None:
    """Waits until it is so on the disk for any run."""
    deadline = time.monotonic() + 30
    while not any(is_so(run) for run in runs_below(out)):
        assert time.monotonic() < deadline, "it never came to the disk"
        time.sleep(0.05)


def scenario_killed(out: Path) -> dict[str, Any]:
    run = start(out, "killed")
    run.log({"epoch": 1})
    until(lambda run: len(run.rows) == 1, out)
    kill_service()
    began = time.monotonic()
    for epoch in (2, 3):
        run.log({"epoch": epoch})
    run.log_pictures("overlays", [PICTURE], ["t1"])
    run.finish()
    seconds = time.monotonic() - began
    after = log_one(out, "after")
    until(lambda run: run.ended, out)
    kill_service()
    last = log_one(out, "last")
    tracking.complete_files()
    end = log_one(out, "end")
    kill_service()  # before its file is whole, unless it was faster
    tracking.complete_files()
    return {"seconds": seconds, "troubles": [run.trouble, after.trouble, last.trouble], "end": end.trouble}


def scenario_hung(out: Path) -> dict[str, Any]:
    wandb_process.CALL_TIMEOUT_SECONDS = 2.0
    run = start(out, "hung")
    run.log({"epoch": 1})
    until(lambda run: len(run.rows) == 1, out)
    hung = service()
    os.kill(hung, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for epoch in range(2, 2000):
            run.log({"epoch": epoch, "filler": "x" * 1000})  # until nothing more fits into the pipe to it
        run.finish()
        seconds = time.monotonic() - began
        wandb_process.CALL_TIMEOUT_SECONDS = 30.0
        after = log_one(out, "after")
        tracking.complete_files()
    finally:
        os.kill(hung, signal.SIGKILL)
    return {"seconds": seconds, "troubles": [run.trouble, after.trouble]}


def scenario_full(out: Path) -> dict[str, Any]:
    run = start(out, "full")
    for epoch in range(1, 400):
        run.log({"epoch": epoch, "filler": "x" * 1000})
    picture = start(out, "picture")
    deadline = time.monotonic() + 30
    while not picture.trouble and time.monotonic() < deadline:
        picture.log_pictures("overlays", [PICTURE], ["t1"])
    told = picture.trouble
    picture.log({"epoch": 1})
    picture.finish()
    run.finish()
    tracking.complete_files()
    return {"troubles": [run.trouble, told]}


def came_to(*runs: tracking.WandbRun) -> dict[str, Any]:
    tracking.complete_files()
    return {"troubles": [run.trouble for run in runs], "are_offline": [run.is_offline_fallback for run in runs]}


def scenario_unreachable(out: Path) -> dict[str, Any]:
    wandb_process.INIT_TIMEOUT_SECONDS = 2.0
    began = time.monotonic()
    first = log_online(out, "first")
    then = time.monotonic()
    second = log_online(out, "second")
    return {"seconds": [then - began, time.monotonic() - then]} | came_to(first, second)


def scenario_served(out: Path) -> dict[str, Any]:
    wandb_process.FINISH_TIMEOUT_SECONDS = 3.0
    with wandb_server.serving() as server:
        os.environ["WANDB_BASE_URL"] = server.url
        served = log_online(out, "served")
        kill_service()
        left = log_online(out, "left", is_finished=False)
    began = time.monotonic()
    left.finish()
    seconds = time.monotonic() - began
    return {"seconds": seconds} | came_to(served, left, log_online(out, "after"))


def run_scenario(drivers: DriverServer, name: str, out: Path, **environment: str) -> tuple[dict[str, Any], str]:
    """Runs a scenario in a process of its own; what it returned, and its stderr."""
    home = out.parent / "home"
    home.mkdir(exist_ok=True)
    folders = dict.fromkeys(("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "HOME"), str(home))
    logs = {"output": home / "output", "errors": home / "errors"}
    with pytest.MonkeyPatch.context() as patch:
        for variable in [variable for variable in os.environ if variable.startswith("WANDB_")]:
            patch.delenv(variable)
        variables = folders | {"WANDB_ERROR_REPORTING": "false"} | environment
        process = drivers.start(Path(__file__), name, str(out), cwd=home, **logs, environment=variables)
    process.ends(timeout=240)
    return json.loads(process.output.read_text().splitlines()[-1]), process.errors.read_text()


@pytest.mark.faults
def test_killed_service_costs_nothing(drivers, tmp_path):
    """A new run takes the place of the one whose process was killed, with all of its rows."""
    told, _ = run_scenario(drivers, "scenario_killed", tmp_path)
    killed, again, after, last, *end = runs_below(tmp_path)
    assert told["seconds"] < 30
    assert told["troubles"] == ["", "", ""]
    assert (rows(killed), killed.ended) == ([{"epoch": 1}], False)
    assert again.ended
    assert rows(again)[:3] == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]
    assert [run.config["name"] for run in (killed, again, after, last)] == ["killed", "killed", "after", "last"]
    for run in (after, last):
        assert (rows(run), run.ended) == ([{"epoch": 1}], True)
    is_whole = any(run.ended for run in end)
    assert told["end"].startswith("" if is_whole else "The log of end has no end: ")
    assert bool(told["end"]) != is_whole


@pytest.mark.faults
def test_hung_service_is_waited_for_once_and_replaced(drivers, tmp_path):
    told, _ = run_scenario(drivers, "scenario_hung", tmp_path)
    hung, again, after = runs_below(tmp_path)
    assert told["seconds"] < 60
    assert told["troubles"] == ["", ""]
    assert (rows(hung)[0], hung.ended) == ({"epoch": 1}, False)
    assert [row["epoch"] for row in rows(again)] == list(range(1, 2000))
    assert again.ended
    assert (rows(after), after.ended) == ([{"epoch": 1}], True)


@pytest.mark.faults
def test_full_disk_raises_nothing_prints_nothing_and_is_told(drivers, mount_disk):
    told, stderr = run_scenario(drivers, "scenario_full", mount_disk("300k"))
    assert stderr == ""
    run, picture = told["troubles"]
    assert run.startswith("The log of full has no end: ")
    assert picture.startswith("W&B could not write a picture of picture: OSError: [Errno 28] No space left on device")


@pytest.mark.faults
@pytest.mark.parametrize("listens", [False, True], ids=["refuses", "never answers"])
def test_run_is_offline_where_the_server_does_not_answer_and_waits_once_per_process(drivers, tmp_path, listens):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        told, _ = run_scenario(drivers, "scenario_unreachable", tmp_path, WANDB_BASE_URL=url, WANDB_API_KEY=KEY)
    first, second = told["seconds"]
    assert first < 60
    assert second < first / 2
    assert (told["are_offline"], told["troubles"]) == ([True, True], ["", ""])
    runs = runs_below(tmp_path)
    assert [run.config["name"] for run in runs] == ["first", "second"]
    for run in runs:
        assert run.path.parent.name.startswith("offline-run-")
        assert run.config["wandb_mode"] == "offline, since the server could not be reached"
        assert [row["epoch"] for row in run.rows if "epoch" in row] == [1, 2, 3]
        assert "overlays" in run.rows[-1]
        assert run.ended


@pytest.mark.faults
def test_run_is_whole_on_the_disk_where_the_server_goes_away_before_its_end(drivers, tmp_path):
    told, _ = run_scenario(drivers, "scenario_served", tmp_path, WANDB_API_KEY=KEY)
    assert told["seconds"] < 30
    assert told["are_offline"] == [False, False, True]
    served, left, after = told["troubles"]
    assert (served, after) == ("", "")
    runs = {run.config["name"]: run for run in runs_below(tmp_path)}
    assert left == f"W&B could not upload all of left in time: run `wandb sync {runs['left'].path.parent}` later."
    for run in runs.values():
        assert [row["epoch"] for row in run.rows if "epoch" in row] == [1, 2, 3]
        assert run.ended
    assert "wandb_mode" not in runs["left"].config


@pytest.mark.faults
def test_run_without_a_login_is_offline(drivers, tmp_path):
    told, _ = run_scenario(drivers, "scenario_unreachable", tmp_path, WANDB_BASE_URL="http://127.0.0.1:9")
    assert told["are_offline"] == [True, True]
    assert [run.ended for run in runs_below(tmp_path)] == [True, True]


def test_run_that_cannot_start_is_told_and_takes_everything(tmp_path):
    (tmp_path / "wandb").write_text("a file where the folder should be")
    run = start(tmp_path)
    assert run.trouble.startswith("W&B could not start trial, so nothing of it is logged: ")
    run.log({"epoch": 1})
    run.log_pictures("overlays", [PICTURE], ["t1"])
    run.finish()
    tracking.complete_files()


def test_disabled_run_writes_nothing(tmp_path):
    run = start(tmp_path, mode="disabled")
    run.log({"epoch": 1})
    run.finish()
    tracking.complete_files()
    assert (run.trouble, run.is_offline_fallback) == ("", False)
    assert list(tmp_path.iterdir()) == []


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))) + "\n")
