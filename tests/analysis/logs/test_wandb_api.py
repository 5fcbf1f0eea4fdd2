"""Runs read through W&B's server, which is a stand-in on loopback."""

import dataclasses
import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from analysis.logs import wandb_api
from analysis.logs.wandb_api import read_project_runs
from analysis.logs.wandb_files import LogsError
from tests import wandb_server

PICTURE = b"\x89PNG and so on"


@pytest.fixture(scope="module")
def only_server() -> Iterator[Any]:
    with wandb_server.talking() as kept, pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb_api, "TIMEOUT_SECONDS", 2)
        patch.setattr(wandb_api, "NUM_RETRIES", 1)
        yield kept


@pytest.fixture
def server(only_server: Any) -> Any:
    """The server, with nothing on it: to start W&B's own process once, and not for each test, saves half a minute."""
    only_server.clear()
    return only_server


def store(server: Any, name: str, rows: list[dict[str, Any]], **about: Any) -> Any:
    """Puts a run on the server, with `job_type`, `config` and `state`."""
    run = wandb_server.StoredRun("someone", "fewtile", name, fields={"jobType": about.get("job_type", "trial")})
    run.config = {key: {"value": value} for key, value in about.get("config", {"study": "demo"}).items()}
    run.rows = [json.dumps({"_step": step} | row) for step, row in enumerate(rows)]
    run.state = about.get("state", "finished")
    server.runs[name] = run
    return run


def test_read_project_runs_gives_rows_config_and_state_of_each(server: Any, tmp_path: Path) -> None:
    times = {"_timestamp": 1795290864.75, "_runtime": 0.5}
    store(server, "late", [{"epoch": 1, "_timestamp": 1795290900.0, "_runtime": 1.0}], state="crashed")
    config = {"study": "demo", "hyperparameters": {"lr": 0.001}, "_wandb": {"t": 1}}
    store(server, "early", [{"epoch": 1} | times, {"epoch": 2}], job_type="study", config=config, state="failed")
    store(server, "empty", [], job_type=None, state="running")
    early, late, empty = sorted(read_project_runs("someone/fewtile", tmp_path), key=lambda run: len(run.rows))[::-1]
    assert (early.job_type, late.job_type, empty.job_type) == ("study", "trial", "")
    assert early.config == {"study": "demo", "hyperparameters": {"lr": 0.001}}
    assert early.rows == [{"_step": 0, "epoch": 1} | times, {"_step": 1, "epoch": 2}]
    assert empty.rows == []
    assert (early.ended, late.ended, empty.ended) == (True, False, False)
    assert early.path == tmp_path / "early" / "run-early.wandb"
    assert early.start == (1795290864, 250_000_000)
    assert late.start == (1795290899, 0)
    assert empty.start == (1795168800, 0)  # when the server made it: 2026-11-20 10:00 UTC
    names = [run.path.parent.name for run in read_project_runs("someone/fewtile", tmp_path)]
    assert names == ["empty", "early", "late"]


def test_rows_are_as_they_were_logged_those_of_another_program_not_asked_for_and_unknown_projects_told(
    server: Any, tmp_path: Path
) -> None:
    store(server, "theirs", [{"loss": 1}], config={"lr": 1})
    (run,) = read_project_runs("someone/fewtile", tmp_path)
    assert (run.config, run.rows) == ({"lr": 1}, [])
    assert server.count("HistoryPage") == server.count("RunHistoryKeys") == 0
    server.clear()
    store(server, "a", [{"loss": "NaN", "up": "Infinity", "down": "-Infinity", "why": "Nan", "none": None, "zero": 0}])
    twice = read_project_runs("someone/fewtile", tmp_path, lambda run: dataclasses.replace(run, rows=run.rows * 2))
    (run,) = read_project_runs("someone/fewtile", tmp_path)
    assert len(twice[0].rows) == 2  # runs are changed one by one
    assert math.isnan(run.rows[0].pop("loss"))
    assert run.rows == [{"_step": 0, "up": math.inf, "down": -math.inf, "why": "Nan", "zero": 0}]
    with pytest.raises(LogsError) as raised:
        read_project_runs("someone/other", tmp_path)
    assert str(raised.value) == (
        "W&B does not give someone/other (Could not find project other): check the name, the network and the "
        "login's rights"
    )


def test_pictures_of_a_study_are_downloaded_once_and_lost_ones_left_out(server: Any, tmp_path: Path) -> None:
    names = [f"media/images/selected/unet-24_{number}.png" for number in range(60)]  # more than a page of files
    several = {"_type": "images/separated", "filenames": names, "captions": names}
    single = {"_type": "image-file", "path": "media/images/one.png"}
    row = {"selected/unet-24": several, "selected/other": single, "table": {"_type": "table-file", "path": "t.json"}}
    run = store(server, "study", [row], job_type="study")
    trial = store(server, "trial", [{"overlays": single}])
    run.files |= dict.fromkeys([*names[1:], "media/images/one.png", "t.json"], PICTURE)
    trial.files |= {"media/images/one.png": PICTURE}
    (study,) = [run for run in read_project_runs("someone/fewtile", tmp_path) if run.job_type == "study"]
    files = study.path.parent / "files"
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {f"study/files/{name}" for name in [*names[1:], "media/images/one.png"]}
    assert (files / names[1]).read_bytes() == PICTURE
    (files / names[1]).write_bytes(b"x" * len(PICTURE))
    (files / names[2]).write_bytes(b"torn")
    read_project_runs("someone/fewtile", tmp_path)
    assert (files / names[1]).read_bytes() == b"x" * len(PICTURE)  # not downloaded again
    assert (files / names[2]).read_bytes() == PICTURE


def test_many_runs_take_few_requests(server: Any, tmp_path: Path) -> None:
    for number in range(250):
        store(server, f"run{number}", [{"epoch": epoch} for epoch in range(1, 4)])
    runs = read_project_runs("someone/fewtile", tmp_path)
    assert {run.path.parent.name for run in runs} == {f"run{number}" for number in range(250)}
    assert all([row["epoch"] for row in run.rows] == [1, 2, 3] for run in runs)
    assert server.count("Runs") == 2
    assert len(server.asked) <= 3 * 250 + 2 + 3  # three for each history; a login is looked at as well


@pytest.mark.parametrize("project", ["fewtile", "a/b/c", "/b", "a/", "", "a /b"])
def test_project_that_is_not_entity_and_project_is_refused(project: str, tmp_path: Path) -> None:
    with pytest.raises(LogsError) as raised:
        read_project_runs(project, tmp_path)
    assert str(raised.value) == (
        f"the W&B project is {project!r}, but must be entity/project: give it like someone/fewtile"
    )


@pytest.fixture
def elsewhere(only_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """For environment variables that lead W&B to another server."""
    wandb.teardown()
    yield monkeypatch
    wandb.teardown()


def test_missing_login_is_told(elsewhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with wandb_server.serving() as other:
        elsewhere.setenv("WANDB_BASE_URL", other.url)
        elsewhere.delenv("WANDB_API_KEY")
        elsewhere.setenv("NETRC", str(tmp_path / "netrc"))
        with pytest.raises(LogsError) as raised:
            read_project_runs("someone/fewtile", tmp_path)
    assert str(raised.value) == "127.0.0.1 has no login here, but someone/fewtile needs one: run `wandb login`"


TROUBLE: dict[str, tuple[str, tuple[int, str], Callable[[str], bool]]] = {
    "refused login": ("Viewer", (401, "not logged in"), lambda told: "login" in told and "not logged in" in told),
    "no permission": ("Runs", (403, "permission denied"), lambda told: "(permission denied): check" in told),
    "silent list": ("Runs", (0, ""), lambda told: "check the name, the network" in told),
    "silent history": ("HistoryPage", (0, ""), lambda told: "check the name, the network" in told),
    "broken history": ("HistoryPage", (500, "boom"), lambda told: "check the name, the network" in told),
}


@pytest.mark.faults
@pytest.mark.parametrize("case", TROUBLE)
def test_trouble_of_the_server_is_told_in_one_line_and_soon(server: Any, tmp_path: Path, case: str) -> None:
    operation, answer, is_told = TROUBLE[case]
    for number in range(50):
        store(server, f"run{number}", [{"epoch": 1}])
    server.trouble[operation] = answer
    began = time.monotonic()
    with pytest.raises(LogsError) as raised:
        read_project_runs("someone/fewtile", tmp_path)
    assert time.monotonic() - began < 12  # one answer is waited for, not fifty
    assert is_told(str(raised.value)), str(raised.value)
    assert "\n" not in str(raised.value)


def test_unreachable_server_is_told_at_once(elsewhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        elsewhere.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(LogsError, match=r"^127\.0\.0\.1 cannot be reached: check the network, or WANDB_BASE_URL$"):
            read_project_runs("someone/fewtile", tmp_path)
    assert time.monotonic() - began < 3
