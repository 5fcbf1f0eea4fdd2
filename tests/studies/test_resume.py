"""What is refused where a study is to go on, before Ray starts."""

import os
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from studies import command_line as cli
from studies.files import lock
from studies.files.folder import LEDGER, STUDY
from studies.study import run_study
from trainables.common.errors import UserError

FLAGS = ["--profile", "smoke", "--architectures", "unet", "--seeds", "0"]


@pytest.fixture(scope="module")
def interrupted(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that its time ended at once."""
    out = tmp_path_factory.mktemp("interrupted") / "study"
    flags = [*FLAGS, "--data", str(dataset_root), "--out", str(out), "--wandb", "disabled", "--max-hours", "0.00001"]
    request = cli.read_command_line(flags, phase="phase2_tuning", description="")
    result = run_study(request.spec, out=out, console=Console(quiet=True), options=request.options)
    assert result.ending == "out of time"
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
    with pytest.raises(UserError, match=r"holds a study: resume it with --resume, or choose another folder"):
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
