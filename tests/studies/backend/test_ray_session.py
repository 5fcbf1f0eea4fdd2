"""The Ray of a study: whose it is, what its workers import, and what it leaves behind and says."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from studies.backend import cluster
from studies.backend.cluster import ray_session
from trainables.common.errors import UserError

SCRIPT = """
import importlib.util, os, sys, tempfile
import ray
from studies.backend.cluster import ray_session
@ray.remote
def look():
    found = [importlib.util.find_spec(name).origin for name in ("torch", "wandb")]
    open(tempfile.mkdtemp("wandb-media") + "/x", "w").close()
    os.write(2, b"a word of native code\\n")
    return *found, os.getcwd() in sys.path, os.environ.get("MALLOC_TRIM_THRESHOLD_"), tempfile.gettempdir()
with ray_session(None):
    os.write(2, b"a word of Ray's core\\n")
    print("a word of ours", file=sys.stderr)
    *_, folder = found = ray.get(look.remote())
    print(ray.get_runtime_context().gcs_address, flush=True)
    print(found, os.path.isdir(folder), flush=True)
    input()
print(os.path.exists(folder), os.environ.get("MALLOC_TRIM_THRESHOLD_"))
"""
"""A study's own Ray, until it reads a line: its address, what a worker of it found, and whether that is gone."""


@dataclass
class AnotherStudy:
    """A process that has a private Ray, in a folder with files called as libraries are."""

    process: "subprocess.Popen[str]"
    folder: Path
    address: str
    found: str


@pytest.fixture(scope="module")
def another_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("another")
    for name in ("ray", "torch", "wandb"):
        (folder / f"{name}.py").write_text("raise ImportError('not the library')\n")
    script = folder / "elsewhere" / "look.py"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, str(script)], cwd=folder, text=True, **pipes) as process:
        assert process.stdout is not None
        try:
            address, found = process.stdout.readline().strip(), process.stdout.readline().strip()
            assert found, process.communicate()
            yield AnotherStudy(process, folder, address, found)
        finally:
            process.kill()


@pytest.mark.faults
def test_another_studys_own_ray_is_no_cluster(another_study, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    address = another_study.address
    assert address not in cluster._known_addresses()
    with pytest.raises(UserError, match=f"^--address {address} is another study's own Ray"), ray_session(address):
        pass
    assert not ray.is_initialized()
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=r"^--address auto is another study's own Ray"), ray_session("auto"):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:port"])
def test_address_without_a_cluster_is_a_user_error_at_once(address):
    with pytest.raises(UserError, match="answers no Ray driver"), ray_session(address):
        pass
    assert not ray.is_initialized()


def test_auto_is_what_ray_start_left_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray._private.utils, "read_ray_address", lambda folder: None)
    with pytest.raises(UserError, match=r"^--address auto answers no Ray driver"), ray_session("auto"):
        pass
    monkeypatch.setattr(ray._private.utils, "read_ray_address", lambda folder: "127.0.0.1:9" if folder else None)
    assert cluster._known_addresses() == ["127.0.0.1:9"]
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    assert cluster._known_addresses() == ["192.0.2.1:6379"]


def test_cluster_of_another_version_is_one_line(monkeypatch):
    its = {"ray_version": "2.40.0", "python_version": "3.9.1"}
    monkeypatch.setattr(cluster, "_probe", lambda address: None)
    monkeypatch.setattr(
        cluster.ray, "init", lambda **_: ray._private.utils.check_version_info(its, "node 127.0.0.1:6379")
    )
    own = f"Ray {ray.__version__} on Python {sys.version.split()[0]}"
    words = f"^--address h:1 runs Ray 2.40.0 on Python 3.9.1, but this is {own}: install the same on all machines$"
    with pytest.raises(UserError, match=words), ray_session("h:1"):
        pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("Failed to start\nGCS."), "Failed to start GCS."), (SystemExit(15), "the last of its core's lines")],
)
def test_ray_that_does_not_start_is_one_line(error, reason, monkeypatch, capfd):
    def init(**_: object) -> None:
        subprocess.run(["sh", "-c", "echo a line of its core >&2; echo the last of its core\\'s lines >&2"], check=True)
        raise error

    monkeypatch.setattr(cluster.ray, "init", init)
    folder = Path.cwd()
    with pytest.raises(UserError, match=f"^Ray does not start on this machine: {reason}$"), ray_session(None):
        pass
    assert Path.cwd() == folder
    assert capfd.readouterr().err == ""


@pytest.mark.faults
def test_workers_import_no_file_of_the_working_folder_and_leave_nothing_behind(another_study):
    assert str(another_study.folder) not in another_study.found
    assert another_study.found.endswith("True")
    assert repr(cluster.WORKER_ENVIRONMENT["MALLOC_TRIM_THRESHOLD_"]) in another_study.found
    output, errors = another_study.process.communicate("\n", timeout=120)
    assert another_study.process.returncode == 0, errors
    assert errors == "a word of ours\n"
    assert output == "False None\n"  # the driver's own environment is as it was
