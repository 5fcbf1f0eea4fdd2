"""What several tests of studies use.

A small folder of demo tiles, whose test tiles have headers and no pixels, so that decoding them fails; a finished phase
2 as its files tell; what a phase says to what it refuses; and processes for drivers, and a Ray that these can share.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alembic.util
import pytest
import sqlalchemy
from PIL import Image
from ray.cluster_utils import Cluster
from rich.console import Console

from studies.backend.slots import Slots
from studies.backend.watch import Permit
from studies.command_line import make_spec
from studies.files.folder import write_study
from studies.inputs import StudyInputs
from studies.logs import tracking
from studies.options import Options
from studies.phases import run_phase
from studies.profiles import PhaseName
from studies.progress import StudyProgress
from studies.search.forecast import Forecast, Sizes
from studies.search.ledger import Ledger
from studies.session import Session
from studies.spec import StudySpec
from tests.chaos.forked import SOON, DriverServer, ForkedDriver
from tests.studies.begun_study import printed
from tests.studies.command_lines import refusal_of
from trainables.config import Recipe, TrialConfig
from trainables.data.dataset import Dataset, read_dataset
from trainables.data.decode import decode_open, decode_train_val
from trainables.data.tiles import TrainVal
from trainables.datasets.demo import write_demo_tiles


@pytest.fixture(scope="session", autouse=True)
def quick_ledgers() -> Iterator[None]:
    """Optuna's migrations are read once, not with every ledger, and new tables are not flushed to the disk."""

    def flush_nothing(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")  # the ledger sets its own later

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", flush_nothing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alembic.util, "load_python_file", functools.cache(alembic.util.load_python_file))
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", flush_nothing)


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "tiles"
    write_demo_tiles(root, size_px=128, num_train=4, num_val=2, num_test=1)
    for path in (root / "test").rglob("*.jpg"):
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"\xff\xda") + 40])  # cut after the start of the scan
        with Image.open(path) as image, pytest.raises(OSError, match="truncated"):
            image.load()
    return root


@pytest.fixture(scope="session")
def tiles(dataset_root: Path) -> TrainVal:
    return decode_train_val(read_dataset(dataset_root))


@pytest.fixture
def make_session(dataset_root: Path) -> Callable[..., Session]:
    """A driver at work on a study in a folder, with nothing on Ray and no W&B; `changes` are of the session."""

    def make(out: Path, spec: StudySpec | None = None, dataset: Dataset | None = None, **changes: Any) -> Session:
        spec = spec or StudySpec(architectures=("unet",), tiles=(4,), recipe=Recipe(epochs=1, small=True))
        dataset = dataset or read_dataset(dataset_root)
        decoded = decode_open(dataset)
        inputs = StudyInputs(
            spec=spec,
            dataset=dataset,
            tiles=decoded.tiles,
            digests={},
            facts={"tiles_digest": decoded.digest},
            rule=decoded.rule,
            thumbnails=decoded.thumbnails,
        )
        console, progress = Console(quiet=True), StudyProgress(Console(quiet=True))
        settings: dict[str, Any] = {
            "inputs": inputs,
            "slots": Slots(count=2, cpus=1, gpus=0.0, alone=(2, 0.0)),
            "log": tracking.WandbRun(out, "disabled", name="study", job_type="study", config={}),
            "permit": Permit(out),
            "options": Options(),
        }
        if "ledger" not in changes:  # a file takes a while
            settings["ledger"] = Ledger(out / "optuna.db", {arm.name: arm.name for arm in spec.arms()}, study_id="one")
        session = Session(out=out, study_id="one", progress=progress, console=console, **settings | changes)
        sizes = Sizes.of(spec, decoded.tiles, {files.split: [] for files in inputs.dataset.test_sets})
        progress.start(Forecast(spec, sizes, session.slots.count))
        return session

    return make


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a phase's script says to flags that it refuses."""

    def refused(phase: PhaseName, *flags: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{phase}.py", *flags])
        return refusal_of(lambda: run_phase(phase, ""), capsys)

    return refused


@pytest.fixture
def write_tuned() -> Callable[..., dict[str, Any]]:
    """Writes the files of a finished phase 2 that another study can take its choices from."""

    def write(out: Path, lr: dict[str, float], **settings: Any) -> dict[str, Any]:
        """`lr` has the chosen learning rate of each arm, such as `unet-24`; returns selection.json's content."""
        names = list(dict.fromkeys(arm.rpartition("-")[0] for arm in lr))
        spec = make_spec({"profile": "smoke", "architectures": names, "data": "tiles"} | settings)
        out.mkdir()
        write_study(out, spec, {"study_id": "f00", "tiles_digest": "d16e57", "segments": []})
        selection = {}
        for number, (arm, rate) in enumerate(lr.items()):
            name, _, tiles = arm.rpartition("-")
            config = TrialConfig(architecture=name, tiles=int(tiles), lr=rate, augmentation="HEAVY", recipe=spec.recipe)
            selection[arm] = {
                "number": number,
                "signature": config.signature(),
                "val_iou": 0.5,
                "config": config.model_dump(mode="json"),
            }
        (out / "selection.json").write_text(json.dumps(selection), encoding="utf-8")
        return selection

    return write


@pytest.fixture
def data(dataset_root: Path) -> list[str]:
    """The flag that names the small folder."""
    return ["--data", str(dataset_root)]


@pytest.fixture(scope="session")
def drivers() -> Iterator[DriverServer]:
    with DriverServer() as server:
        yield server


@pytest.fixture
def start(drivers: DriverServer, tmp_path: Path) -> Iterator[Callable[..., ForkedDriver]]:
    """Starts a script in the test's folder; what still runs at the end is ended."""
    started: list[ForkedDriver] = []

    def start_one(script: Path, *flags: str, address: str = "", **environment: str) -> ForkedDriver:
        """With a Ray of its own, unless it is given the address of one."""
        where = ["--address", address] if address else []
        output, errors = (tmp_path / f"{kind}-{len(started)}.log" for kind in ("output", "errors"))
        driver = drivers.start(
            script,
            *[*flags, *where],
            cwd=tmp_path,
            output=output,
            errors=errors,
            environment={"COLUMNS": "200"} | environment,
        )
        started.append(driver)
        return driver

    yield start_one
    for driver in started:
        driver.kill()


@pytest.fixture(scope="session")
def ray_cluster(drivers: DriverServer) -> Iterator[Cluster]:
    """A Ray for whatever needs none of its own: one starts in seconds. What a test adds to it, it removes."""
    with drivers.ray(num_cpus=os.cpu_count(), _system_config=SOON) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def ray_address(ray_cluster: Cluster) -> str:
    return str(ray_cluster.address)


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of a size such as 80m."""
    mounted = []

    def mount(size: str) -> Path:
        disk = tmp_path / "disk"
        disk.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)], check=False)
        if done.returncode:
            pytest.skip("no small disk can be mounted here")
        mounted.append(disk)
        return disk

    yield mount
    for disk in mounted:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    return lambda out: printed(out, capsys, monkeypatch)
