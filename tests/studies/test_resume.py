"""Studies that are resumed: where their settings come from, and what is refused before Ray starts."""

import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from studies import study
from studies.files import lock
from studies.files.folder import LEDGER, STUDY, has_study
from studies.options import Options
from tests.studies.begun_study import keep_ray_away
from tests.studies.command_lines import read, request_of
from trainables.common.errors import UserError

FLAGS = ["--profile", "smoke", "--architectures", "unet", "--seed", "7", "--draw-seed", "3", "--window-px", "96"]
FLAGS += ["--trials", "5", "--seeds", "2", "--test", "--wandb", "disabled"]


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    keep_ray_away(monkeypatch)


@pytest.fixture(scope="module")
def root(tmp_path_factory, write_rgb):
    """The tiles that the study begins with."""
    return write_rgb(
        tmp_path_factory.mktemp("begun") / "tiles", counts={"train": 4, "val": 1, "test": 1}, size_px=(128, 128)
    )


@pytest.fixture(scope="module")
def begun(root):
    """A study that its time ended at once."""
    request = request_of(*FLAGS, "--data", str(root), "--out", str(root.parent / "study"), "--max-hours", "1e-9")
    with pytest.MonkeyPatch.context() as patch:
        keep_ray_away(patch)
        result = study.run_study(request.spec, out=request.out, console=Console(quiet=True), options=request.options)
    assert result.ending == "out of time"
    assert {path.name for path in request.out.iterdir()} == {STUDY, LEDGER}
    return request.out


@pytest.fixture
def out(begun, tmp_path):
    return Path(shutil.copytree(begun, tmp_path / "study"))


@pytest.fixture
def spec(root):
    return read(*FLAGS, "--data", str(root), "--tiles", "4").model_copy(update={"weights": ("none",), "bf16": True})


@pytest.fixture
def refused(refusal, out, monkeypatch):
    """What is said to who resumes the study with some flags, before Ray starts."""
    monkeypatch.setattr(study, "ray_session", lambda address: pytest.fail("Ray starts"))
    return lambda *flags: refusal("phase2_tuning", "--out", str(out), "--resume", *flags)


# Settings


def test_frozen_spec_is_taken_without_any_other_flag(spec, out):
    request = request_of("--out", str(out), "--resume")
    assert (request.spec, request.out, request.options) == (spec, out, Options(resume=True))


def test_flags_win_over_a_file_and_the_file_over_the_frozen_spec(spec, out, tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text(f"out: {out}\ntrials: 9\nseeds: 2", encoding="utf-8")
    grown = read("--resume", "--config", str(path), "--seeds", "3", "--address", "auto", "--tensorboard")
    assert grown == spec.model_copy(update={"trials": 9, "seeds": 3, "address": "auto", "tensorboard": True})
    assert grown.changes(spec) == []


def test_study_is_started_where_none_has_begun(tmp_path):
    request = request_of("--out", str(tmp_path / "study"), "--resume", *FLAGS)
    assert (request.spec, request.options.resume) == (read(*FLAGS), True)


def test_study_is_repeated_in_the_number_types_that_it_had(out, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "is_faster_in_bf16", lambda *_: pytest.fail("the file says it"))
    request = request_of("--config", str(out / STUDY), "--out", str(tmp_path / "again"), "--max-hours", "1e-9")
    study.run_study(request.spec, out=tmp_path / "again", console=Console(quiet=True), options=request.options)
    assert read("--out", str(tmp_path / "again"), "--resume").bf16 is True


def test_study_goes_on_elsewhere_and_longer(out, spec, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "is_faster_in_bf16", lambda *_: pytest.fail("a study decides this once"))
    moved = Path(shutil.move(out, tmp_path / "moved"))
    flags = ["--trials", "50", "--seeds", "3", "--tensorboard", "--max-hours", "1e-9"]
    request = request_of("--out", str(moved), "--resume", *flags)
    result = study.run_study(request.spec, out=moved, console=Console(quiet=True), options=request.options)
    assert result.ending == "out of time"
    assert read("--out", str(moved), "--resume") == spec.model_copy(
        update={"trials": 50, "seeds": 3, "tensorboard": True}
    )


# What is refused


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["--seed", "8"], "seed: 7 → 8"),
        (["--trials", "3", "--seeds", "1"], "trials: 5 → 3; seeds: 2 → 1"),
        (["--no-test", "--sampler", "random"], "sampler: tpe → random; test: True → False"),
        (["--vary", "lr"], "vary: None → lr"),
        (["--tiles", "2", "4", "--trials", "9"], "tiles: [4] → [2, 4]"),
        (["--epochs", "9"], "epochs: 2 → 9"),
        (["--profile", "quick"], "profile: smoke → quick"),
        (["--architectures", "unet_resnet34"], "architectures: ['unet'] → ['unet_resnet34']; weights: "),
    ],
)
def test_change_of_what_the_study_is_is_refused(flags, changes, out, refused):
    frozen = (out / STUDY).read_bytes()
    words = refused(*flags)
    assert words.startswith(f"--resume cannot change what the study {out} is ({changes}")
    assert words.endswith("; only --trials and --seeds may grow, and --test and --with-recipe may be added")
    assert (out / STUDY).read_bytes() == frozen


def test_other_tiles_are_refused(out, dataset_root, refused):
    assert refused("--data", str(dataset_root)) == (
        f"the train or val tiles of {dataset_root} are not those that the study {out} began with: put these "
        "back, or start in another folder"
    )


def test_second_driver_is_refused(out, refused):
    with lock.only_driver(out):
        assert f"is in use by process {os.getpid()} on " in refused()


def test_edited_register_is_refused_before_anything_runs(root, refused):
    register = root / "seal.jsonl"
    register.write_text('{"event": "opened"}\n', encoding="utf-8")
    try:
        assert str(register) in refused()
    finally:
        register.unlink()


def test_folder_that_cannot_be_read_is_refused(tmp_path, refusal):
    assert refusal("phase2_tuning", "--resume") == "--resume needs the folder of the study: add --out DIR"
    out = tmp_path / ("x" * 300)
    assert "must be a shorter path" in refusal("phase2_tuning", "--resume", "--out", str(out))
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\): choose another folder"):
        has_study(out)
    (tmp_path / STUDY).write_text("trials: [", encoding="utf-8")
    error = refusal("phase2_tuning", "--resume", "--out", str(tmp_path))
    assert error == f"the frozen spec {tmp_path / STUDY} is no YAML: mend it"
