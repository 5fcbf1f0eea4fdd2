"""Whole studies that something ends, on a real Ray, SQLite and W&B: how they go on, and what they refuse.

Where training itself is not what is tested, trials are the recorded learning curves of tests/chaos/recorded.py.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from rich.console import Console

from analysis.logs.wandb_files import read_logs
from studies import command_line as cli
from studies import lock
from studies.folder import LEDGER, STUDY
from studies.study import run_study
from trainables.common.command import EXIT_OUT_OF_TIME, EXIT_USER_ERROR
from trainables.common.errors import UserError
from trainables.datasets.demo import write_demo_tiles

ROOT = Path(__file__).parents[2]
PHASE = ROOT / "studies" / "phase2_tuning.py"
RECORDED = ROOT / "tests" / "chaos" / "recorded.py"
ONE_WORKER = ["--cpus-per-trial", str(os.cpu_count())]
FLAGS = ["--profile", "smoke", "--architectures", "unet", "--seeds", "0"]
DEADLINE_SECONDS = 400
"""Ends a test that hangs. A study of many faults starts seven workers, of 10 s each on two quiet cores."""


@pytest.fixture
def start(dataset_root: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a script with the small data set; what still runs at the end is ended."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(script: Path, *flags: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), *FLAGS, "--data", str(dataset_root), *flags]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "200"} | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == code, output + errors
    return output + errors


def await_event(process: subprocess.Popen[str], happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def ledger_of(out: Path) -> dict[str, list[Any]]:
    storage = f"sqlite:///{out / LEDGER}"
    return {
        name: [
            (t.number, t.params, t.intermediate_values, t.state, t.user_attrs.get("stop"), t.user_attrs.get("outcome"))
            for t in optuna.load_study(study_name=name, storage=storage).get_trials()
        ]
        for name in optuna.get_all_study_names(storage)
    }


def table_of(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "report" / "tables" / "iou_by_architecture.csv").drop(columns="minutes")


def report_of(out: Path) -> str:
    return (out / "report" / "report.md").read_text(encoding="utf-8")


@pytest.mark.faults
def test_study_killed_in_training_goes_on_and_comes_to_the_same(start: Any, tmp_path: Path) -> None:
    """Real training; the driver dies as soon as its second trial has a checkpoint."""
    flags = [*ONE_WORKER, "--trials", "3", "--epochs", "4"]
    whole = start(PHASE, *flags, "--out", "whole")
    ended(whole)
    out = tmp_path / "torn"
    process = start(PHASE, *flags, "--out", "torn")
    await_event(process, (out / "checkpoints" / "unet-4" / "0001" / "newest.pt").exists)
    kill(process)
    before = ledger_of(out)["unet-4"]
    assert 1 <= len(before) < 3 or before[-1][3] == optuna.trial.TrialState.RUNNING
    output = ended(start(PHASE, *flags, "--out", "torn", "--resume"))
    assert "going on: 1 trials ended, 1 were interrupted" in output
    assert ledger_of(out) == ledger_of(tmp_path / "whole")
    assert (out / "selection.json").read_text() == (tmp_path / "whole" / "selection.json").read_text()
    pd.testing.assert_frame_equal(table_of(out), table_of(tmp_path / "whole"))
    history = read_logs(out).history
    assert history.groupby("number")["epoch"].apply(list).to_dict() == {
        trial[0]: sorted(trial[2]) for trial in ledger_of(out)["unet-4"]
    }


# What is refused, before Ray starts


@pytest.fixture(scope="module")
def interrupted(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that its time ended at once."""
    out = tmp_path_factory.mktemp("interrupted") / "study"
    command = [sys.executable, str(RECORDED), *FLAGS, "--data", str(dataset_root), "--out", str(out)]
    process = subprocess.run(
        [*command, "--max-hours", "0.00001"], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert process.returncode == EXIT_OUT_OF_TIME, process.stdout + process.stderr
    assert not (out / lock.NAME).exists()
    return out


@pytest.fixture
def copy(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "study", symlinks=True))


def resume(out: Path, *flags: str, data: Path | None = None) -> None:
    """Up to where Ray would start, in this process."""
    where = [] if data is None else ["--data", str(data)]
    argv = ["--out", str(out), "--resume", *where, *flags]
    request = cli.read_command_line(argv, phase="phase2_tuning", description="")
    run_study(request.spec, out=out, console=Console(quiet=True), options=request.options)


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--epochs", "9"], "epochs: 2 → 9"),
        (["--trials", "1"], "trials: 2 → 1"),
        (["--seed", "7", "--trials", "5"], "seed: 42 → 7"),
        (["--profile", "quick"], "profile: smoke → quick"),
        (["--architectures", "unet_resnet34"], "architectures: ['unet'] → ['unet_resnet34']; weights: "),
    ],
)
def test_changed_spec_is_refused_with_the_difference(copy: Path, flags: list[str], difference: str) -> None:
    before = (copy / STUDY).read_bytes()
    with pytest.raises(UserError) as refused:
        resume(copy, *flags)
    assert f"--resume cannot change what the study {copy} is ({difference}" in str(refused.value)
    assert "only --trials and --seeds may grow, and --test may be added" in str(refused.value)
    assert (copy / STUDY).read_bytes() == before


def test_study_is_not_begun_anew_in_its_folder(copy: Path) -> None:
    argv = ["--config", str(copy / STUDY)]
    spec = cli.read_command_line(argv, phase="phase2_tuning", description="").spec
    with pytest.raises(UserError, match=r"holds a study: go on with it by --resume, or choose another folder"):
        run_study(spec, out=copy, console=Console(quiet=True))


def test_other_tiles_are_refused(copy: Path, write_rgb: Any, tmp_path: Path) -> None:
    root = write_rgb(tmp_path / "other", counts={"train": 4, "val": 2, "test": 1}, size_px=(128, 128))
    with pytest.raises(UserError, match=r"are not those that the study .* began with: put these back"):
        resume(copy, data=root)


@pytest.mark.parametrize("damage", ["torn", "gone", "foreign"])
def test_damaged_ledger_is_refused_and_left_alone(copy: Path, damage: str, tmp_path: Path) -> None:
    path = copy / LEDGER
    if damage == "torn":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "gone":
        path.unlink()
    else:
        storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'foreign.db'}")
        optuna.create_study(study_name="unet-4", storage=storage)
        storage.engine.dispose()
        shutil.copy(tmp_path / "foreign.db", path)
    before = path.read_bytes() if path.exists() else None
    words = {"torn": "is damaged or no ledger", "gone": "is gone", "foreign": "is not the ledger of study.yaml"}
    with pytest.raises(UserError, match=words[damage]):
        resume(copy)
    assert (path.read_bytes() if path.exists() else None) == before


def test_second_driver_is_refused(copy: Path) -> None:
    with lock.only_driver(copy), pytest.raises(UserError, match=rf"is in use by process {os.getpid()} on .* since 2"):
        resume(copy)


def test_edited_register_is_refused_before_anything_runs(copy: Path, dataset_root: Path) -> None:
    register = dataset_root / "seal.jsonl"
    register.write_text('{"event": "opened"}\n', encoding="utf-8")
    try:
        with pytest.raises(UserError, match=r"seal\.jsonl"):
            resume(copy, "--seeds", "1", "--test")
    finally:
        register.unlink()


# Faults in one study


@pytest.mark.faults
def test_faults_of_every_kind_in_one_study(start: Any, tmp_path: Path) -> None:
    """Trials that diverge, hang, or run out of memory, beside others that do not; two workers."""
    faults = {"DIVERGES": "[1]", "OUT_OF_MEMORY": "[2]", "CROWDED": "[3]", "HANGS": "[4]"}
    flags = ["--trials", "6", "--epochs", "5", "--grace-epochs", "5", "--hang-minutes", "0.25"]
    process = start(RECORDED, *flags, "--cpus-per-trial", "1", "--out", "study", EPOCH_SECONDS="0.1", **faults)
    output = ended(process)
    assert "Traceback" not in output
    out = tmp_path / "study"
    study = optuna.load_study(study_name="unet-4", storage=f"sqlite:///{out / LEDGER}")
    trials = study.get_trials()
    outcomes = {t.number: t.user_attrs["outcome"] for t in trials}
    assert outcomes == dict.fromkeys(range(6), "finished") | {1: "diverged"}
    assert trials[1].user_attrs["reason"] == "the training loss is nan in epoch 3"
    assert sorted(trials[1].intermediate_values) == [1, 2]
    retries = {t.number: t.user_attrs["retry"] for t in trials if "retry" in t.user_attrs}
    assert set(retries) == {2, 3, 4}
    assert (retries[2]["is_alone"], retries[2]["micro_batch_size"]) == (True, 2)
    assert (retries[3]["is_alone"], retries[3]["micro_batch_size"]) == ((os.cpu_count() or 1) > 1, 0)
    assert retries[4]["reason"] == "hung: began no batch for 0.25 min"
    assert all(sorted(t.intermediate_values) == [1, 2, 3, 4, 5] for t in trials if t.number != 1)
    assert "unet-4 #2 (2 draws at once)" in report_of(out)


@pytest.mark.faults
def test_worker_that_is_killed_for_the_machine_s_memory_is_told_apart(start: Any, tmp_path: Path) -> None:
    """Ray's memory monitor with a limit that every worker is above of."""
    process = start(RECORDED, "--trials", "1", "--out", "study", RAY_memory_usage_threshold="0.01")
    assert "Traceback" not in ended(process, 1)
    (trial,) = optuna.load_study(study_name="unet-4", storage=f"sqlite:///{tmp_path / 'study' / LEDGER}").get_trials()
    words = "out of memory on the machine: its worker was killed"
    assert (trial.user_attrs["outcome"], trial.user_attrs["reason"]) == ("out of memory", words)
    assert trial.user_attrs["retry"]["micro_batch_size"] == 2


@pytest.mark.faults
def test_user_error_in_a_trial_ends_the_study_at_once_and_it_can_go_on(start: Any, tmp_path: Path) -> None:
    out = tmp_path / "study"
    process = start(RECORDED, "--trials", "4", "--out", "study", WRONG="1")
    words = ended(process, EXIT_USER_ERROR)
    assert words.splitlines()[-1] == "error: weights.pth is gone: put it back; what was done is kept, --resume goes on"
    assert words.count("weights.pth") == 1
    assert {t[5] for t in ledger_of(out)["unet-4"]} == {None}
    ended(start(RECORDED, "--out", "study", "--resume"))
    assert {t[5] for t in ledger_of(out)["unet-4"]} <= {"finished", "stopped"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(ballast: Path) -> None:
    """Takes all the room that is left, to the last block."""
    with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(b"0" * 4096):
            pass


@pytest.mark.faults
def test_full_disk_ends_the_study_in_one_line_and_it_goes_on_with_room(
    start: Any, small_disk: Path, tmp_path: Path
) -> None:
    out = small_disk / "study"
    flags = ["--trials", "4", "--epochs", "6", "--out", str(out)]
    process = start(RECORDED, *flags, EPOCH_SECONDS="0.4")
    await_event(process, lambda: list(out.glob("checkpoints/*/*/newest.pt")))
    fill(small_disk / "ballast")
    words = ended(process, EXIT_USER_ERROR)
    assert "Traceback" not in words
    assert words.splitlines()[-1].startswith("error: ")
    assert "cannot be written" in words.splitlines()[-1]
    before = ledger_of(Path(shutil.copytree(out, tmp_path / "copy", symlinks=True)))["unet-4"]
    (small_disk / "ballast").unlink()
    ended(start(RECORDED, *flags, "--resume"))
    after = ledger_of(out)["unet-4"]
    assert len(after) == 4
    assert [row[:2] for row in after[: len(before)]] == [row[:2] for row in before]
    for (_, _, values, *_), (_, _, more, *_) in zip(before, after, strict=False):
        assert values.items() <= more.items()


# The seal


@pytest.mark.faults
def test_crash_between_the_register_s_line_and_the_result(start: Any, tmp_path: Path) -> None:
    """The tiles count as opened: the next run refuses, and with a reason it goes on and every table says so."""
    out, root = tmp_path / "one", tmp_path / "tiles"
    write_demo_tiles(root, size_px=128, num_train=4, num_val=2, num_test=2)
    flags = [*ONE_WORKER, "--data", str(root), "--trials", "1", "--seeds", "2", "--test"]
    process = start(RECORDED, *flags, "--out", "one")
    await_event(process, lambda: (out / "seal.jsonl").exists() and "opened" in (out / "seal.jsonl").read_text())
    kill(process)
    assert not (out / "models.json").exists()

    words = ended(start(RECORDED, *flags, "--out", "one", "--resume"), EXIT_USER_ERROR)
    assert "error: unet-4 opened the test tiles " in words
    assert 'left no result, so its test scores may have been seen: go on with --reopen "why"' in words
    assert len((out / "seal.jsonl").read_text().splitlines()) == 1

    ended(start(RECORDED, *flags, "--out", "one", "--resume", "--reopen", "power cut"))
    lines = [json.loads(line) for line in (root / "seal.jsonl").read_text().splitlines()]
    assert [(line["event"], line.get("why")) for line in lines] == [
        ("opened", None),
        ("reopened", "power cut"),
        ("result", None),
    ]
    assert "The test tiles were REOPENED for unet-4: power cut." in report_of(out)
    assert "test_iou" in table_of(out)

    # Another study that comes to the same attempt uses the result on record and opens nothing
    ended(start(RECORDED, *flags, "--out", "two"))
    assert len((root / "seal.jsonl").read_text().splitlines()) == 3
    assert "Test scores recorded at an earlier opening were used again for unet-4." in report_of(tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "models.json").read_text())["unet-4"] for name in ("one", "two"))
    assert [model["test_iou"] for model in two["models"]] == [model["test_iou"] for model in one["models"]]
    assert one["test_iou"] is not None
