"""Runs that should be online: with a server, with one that goes away, with one that never answers, and with none.

The scenarios run in processes of their own, which this file is the script of. The server is a stand-in on loopback.
"""

import contextlib
import importlib.util
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.logs import tracking, wandb_process

KEY = "0" * 40

pytestmark = pytest.mark.faults
FALLBACK = {"wandb_mode": "offline, since the server could not be reached"}

# The other file's helpers: neither lies in a package
_spec = importlib.util.spec_from_file_location("tracking_helpers", Path(__file__).with_name("test_tracking.py"))
assert _spec is not None
assert _spec.loader is not None
helpers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(helpers)


class StandIn(BaseHTTPRequestHandler):
    """Answers what W&B asks for a run's start, rows, files and end."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("file_stream"):
            self.answer({})
            return
        asked = json.loads(content)
        given = asked["variables"]
        answers: dict[str, Any] = {
            "UpsertBucket": {"upsertBucket": {"inserted": True, "bucket": self.bucket(given.get("name"))}},
            "CreateRunFiles": {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": self.places(given)}},
        }
        self.answer({"data": answers.get(asked.get("operationName"), {})})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({})

    def bucket(self, name: str | None) -> dict[str, Any]:
        project = {"id": "1", "name": "fewtile", "entity": {"id": "1", "name": "someone"}}
        return {"id": "1", "name": name, "displayName": name, "config": "{}", "project": project, "historyLineCount": 0}

    def places(self, given: dict[str, Any]) -> list[dict[str, str]]:
        host, port = self.server.server_address[:2]
        return [{"name": name, "uploadUrl": f"http://{host!s}:{port}/{name}"} for name in given.get("files", [])]

    def answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """Has a server for the runs that start in this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["WANDB_BASE_URL"] = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


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
    with serving():
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
    tmp_path: Path, listens: bool
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        told, _ = helpers.run_scenario(
            "scenario_unreachable", tmp_path, __file__, WANDB_BASE_URL=url, WANDB_API_KEY=KEY
        )
    first, second = told["seconds"]
    assert first < 60
    assert second < first / 2
    assert told["are_fallbacks"] == [True, True]
    assert told["troubles"] == ["", ""]
    runs = helpers.logged(tmp_path)
    assert [run.config["name"] for run in runs] == ["first", "second"]
    for run in runs:
        assert run.path.parent.name.startswith("offline-run-")
        assert run.config.items() >= FALLBACK.items()
        assert [row["epoch"] for row in run.rows if "epoch" in row] == [1, 2, 3]
        assert "overlays" in run.rows[-1]
        assert run.ended


def test_run_is_whole_on_the_disk_where_the_server_goes_away_before_its_end(tmp_path: Path) -> None:
    told, _ = helpers.run_scenario("scenario_served", tmp_path, __file__, WANDB_API_KEY=KEY)
    assert told["seconds"] < 30
    assert told["are_fallbacks"] == [False, False, True]
    served, left, after = told["troubles"]
    assert (served, after) == ("", "")
    runs = {run.config["name"]: run for run in helpers.logged(tmp_path)}
    assert left == f"W&B could not upload all of left in time: run `wandb sync {runs['left'].path.parent}` later."
    for run in runs.values():
        assert [row["epoch"] for row in run.rows if "epoch" in row] == [1, 2, 3]
        assert run.ended
    assert "wandb_mode" not in runs["left"].config


def test_run_without_a_login_is_offline(tmp_path: Path) -> None:
    told, _ = helpers.run_scenario("scenario_unreachable", tmp_path, __file__, WANDB_BASE_URL="http://127.0.0.1:9")
    assert told["are_fallbacks"] == [True, True]
    assert [run.ended for run in helpers.logged(tmp_path)] == [True, True]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))) + "\n")
