"""Studies on a cluster: a folder that not all nodes share is refused, and a node that dies takes nothing with it."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
from optuna.trial import TrialState

from studies.backend.cluster import probe_storage, ray_session, ray_slots
from studies.spec import StudySpec
from tests.chaos.forked import RECORDED, SOON, DriverServer
from tests.chaos.recorded import curve
from tests.studies.reports import trials_of
from tests.trainables.own_network import write_networks
from trainables.checkpoints import load_config
from trainables.common.errors import UserError
from trainables.data.tiles import TrainVal

EPOCHS, TRIALS, ARMS = 4, 2, ("my_nets.py:build-2", "my_nets.py:build-4")
DEADLINE_SECONDS = 120.0

UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
"""A namespace of its own for mounts; and for processes, so that all of a node's end with its first."""

MOUNTS = {
    "does not see it": "mount -t tmpfs none {parent}",
    "cannot use it (Read-only file system)": "mount --bind {parent} {parent} && mount -o remount,ro,bind {parent}",
    "writes into another folder of that name": "mount -t tmpfs none {spare} && mkdir {spare}/upper {spare}/work && "
    "mount -t overlay none -o lowerdir={parent},upperdir={spare}/upper,workdir={spare}/work {parent}",
}
"""What a node has in place of a folder that others see, by what is said of it."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes and namespaces as Linux has them")


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < until, f"waited {DEADLINE_SECONDS:.0f} s for {what}, in vain"
        time.sleep(0.02)


# A node that dies


def worker_below(out: Path, raylet_pid: int, drivers: DriverServer) -> int | None:
    """A process of that node which has a trial with a checkpoint."""
    own = {pid for pid, about in drivers.workers().items() if about["parent"] == raylet_pid}
    for path in out.glob("checkpoints/*/*/worker"):
        with contextlib.suppress(ValueError):
            if int(path.read_text()) in own and path.with_name("newest.pt").exists():
                return int(path.read_text())
    return None


@pytest.mark.faults
def test_study_goes_on_when_a_node_dies_under_its_trials(drivers, start, dataset_root, tmp_path):
    """Ray attaches a driver to the head where that is on its machine: it outlives the other node.

    The network is a person's own, which all nodes take from the study's copy.
    """
    out, network = tmp_path / "study", write_networks(tmp_path)
    flags = (
        f"--data {dataset_root} --out {out} --architectures {network}:build --tiles 2 4 --window-px 64 --profile smoke "
    )
    flags += f"--epochs {EPOCHS} --grace-epochs {EPOCHS} --trials {TRIALS} --wandb disabled"
    with drivers.ray(num_cpus=1, _system_config=SOON) as cluster:
        node = cluster.add_node(num_cpus=1)
        (raylet,) = node.all_processes["raylet"]
        driver = start(RECORDED, *flags.split(), address=cluster.address, EPOCH_SECONDS="0.4")
        driver.until(lambda: worker_below(out, raylet.process.pid, drivers))  # with a checkpoint
        worker = worker_below(out, raylet.process.pid, drivers)
        network.unlink()
        os.kill(worker, signal.SIGSTOP)  # it ends no trial any more, however slow this machine is
        cluster.remove_node(node, allow_graceful=False)
        os.kill(worker, signal.SIGKILL)  # with the power goes everything at once
        driver.ends(timeout=DEADLINE_SECONDS)
    output = driver.said()
    assert "2 trials at a time, each on 1 core" in output
    assert "Traceback" not in output
    lost = []
    for arm in ARMS:
        trials = trials_of(out, arm)
        ends = [(trial.state, trial.user_attrs["outcome"]) for trial in trials]
        assert ends == [(TrialState.COMPLETE, "finished")] * TRIALS
        for trial in trials:
            config = load_config(trial.user_attrs["config"], out / "optuna.db")
            judged = [curve(config, epoch) for epoch in range(1, EPOCHS + 1)]
            best = dict(enumerate(itertools.accumulate(judged, max), start=1))
            assert trial.intermediate_values == pytest.approx(best)
            assert trial.user_attrs["cost"]["seconds"] == EPOCHS
            lost += [retry["losses"]] if (retry := trial.user_attrs.get("retry")) else []
        selected = json.loads((out / "selection.json").read_text())[arm]
        assert selected["judged"] == max(trial.value for trial in trials)
        assert (out / selected["checkpoint"]).is_file()
    assert lost == [1]


# Temporary files


def test_temporary_files_of_workers_go_with_the_study(ray_address):
    @ray.remote(num_cpus=0)
    def leave() -> str:
        import tempfile

        import studies  # noqa: F401 - as whatever a study runs there does

        return tempfile.mkdtemp("wandb-media")

    with ray_session(ray_address):
        left = Path(ray.get(leave.remote()))
        assert left.is_dir()
        assert left.parent.name.startswith("fewtile-")
    assert not ray.is_initialized()
    assert not left.parent.exists()


@pytest.fixture(scope="module")
def connected(ray_address):
    with ray_session(ray_address):
        yield


def test_tiles_are_read_without_a_copy_in_workers(connected, tiles):
    @ray.remote(num_cpus=1)
    def look(received: TrainVal) -> tuple[bool, bool, str]:
        image = received.train.images[0]
        return image.flags.writeable, image.flags.owndata, received.digest()

    writeable, owns, digest = ray.get(look.remote(ray.put(tiles)))
    assert not writeable  # a view of the object store, which is shared and read-only
    assert not owns
    assert digest == tiles.digest()


# A folder that is not shared


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder that all nodes share, and for each way not to share one, another; and a spare one for that."""
    root = tmp_path_factory.mktemp("storage")
    found = {words: root / str(number) / "study" for number, words in enumerate(["shared", "spare", *MOUNTS])}
    for path in found.values():
        path.mkdir(parents=True)
    return found


@pytest.fixture(scope="module")
def stranger(ray_address, connected, folders):
    """A node that has something else in the place of some folders."""
    refused = subprocess.run([*UNSHARE, "mount -t tmpfs none /mnt"], capture_output=True, text=True, check=False)
    if refused.returncode:
        pytest.skip(f"namespaces with mounts of their own are not allowed here: {refused.stderr.strip()}")
    mounts = [mount.format(parent=folders[words].parent, spare=folders["spare"]) for words, mount in MOUNTS.items()]
    start = f"exec {Path(sys.executable).with_name('ray')} start --address={ray_address} --num-cpus=1 --block"
    command = [*UNSHARE, " && ".join([*mounts, start])]
    log = folders["spare"].with_suffix(".log")
    num_alive = sum(node["Alive"] for node in ray.nodes())
    with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as node:
        try:
            wait_for(lambda: node.poll() is not None or sum(n["Alive"] for n in ray.nodes()) > num_alive, "the node")
            assert node.poll() is None, log.read_text()
            yield
        finally:
            node.kill()
            wait_for(lambda: sum(n["Alive"] for n in ray.nodes()) == num_alive, "the end of the node")


@pytest.mark.faults
def test_folder_that_all_nodes_share_is_taken_and_left_empty(stranger, folders):
    probe_storage(folders["shared"])
    assert list(folders["shared"].iterdir()) == []
    assert ray_slots(StudySpec(tiles=(4,)), lambda: 2.0).count == sum(
        int(node["Resources"]["CPU"]) for node in ray.nodes() if node["Alive"]
    )


@pytest.mark.faults
@pytest.mark.parametrize("words", MOUNTS)
def test_folder_that_a_node_has_otherwise_is_refused_and_left_empty(stranger, folders, words):
    out = folders[words]
    address = ray.nodes()[0]["NodeManagerAddress"]  # they are all on this machine
    with pytest.raises(UserError) as refused:
        probe_storage(out)
    assert str(refused.value) == (
        f"--out {out} is not shared: the node {address} {words}; use a folder that all nodes mount at the same path"
    )
    assert list(out.iterdir()) == []
