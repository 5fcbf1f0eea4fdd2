"""Command lines that resume a study, and how long and how patiently it runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from studies.files.folder import has_study, write_study
from studies.inputs import LIBRARIES
from studies.options import HANG_MINUTES, Options
from studies.spec import StudySpec
from tests.studies.command_lines import read, request_of
from trainables.common.errors import UserError
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val


def freeze(out: Path, *flags: str) -> StudySpec:
    """A folder in which a study has begun, of tiles that are no longer what they were."""
    spec = read("--architectures", "unet", "--tiles", "4", *flags)
    out.mkdir()
    write_study(out, spec, {"study_id": "f00", "tiles_digest": "beef", "weights_digests": {}, "segments": []})
    return spec


def test_options_have_defaults_and_are_no_part_of_the_spec() -> None:
    request = request_of()
    assert request.options == Options(resume=False, max_hours=None, hang_minutes=HANG_MINUTES, reopen="")
    changed = request_of("--max-hours", "0.25", "--hang-minutes", "3", "--reopen", "the power went")
    assert changed.options == Options(max_hours=0.25, hang_minutes=3.0, reopen="the power went")
    assert changed.spec == request.spec


@pytest.mark.parametrize("flag", ["--max-hours", "--hang-minutes"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e400", "soon", "", "1,5"])
def test_time_that_is_none_is_refused(flag: str, value: str, refusal: Callable[..., str]) -> None:
    error = refusal("phase2_tuning", f"{flag}={value}")
    assert error == f"{flag} is {value!r}, but must be a number above 0"


def test_models_are_confirmed_and_tested_unless_told_otherwise() -> None:
    assert (read().seeds, read().test) == (3, True)
    assert (read("--seeds", "0").seeds, read("--no-test").test) == (0, False)
    smoke = read("--profile", "smoke")  # its numbers mean nothing: its test tiles stay sealed
    assert (smoke.seeds, smoke.test) == (1, False)
    assert read("--profile", "smoke", "--test").test


@pytest.mark.parametrize(("value", "rule"), [("-1", "greater than or equal to 0"), ("1.5", "a valid integer")])
def test_seeds_that_are_none_are_refused(value: str, rule: str, refusal: Callable[..., str]) -> None:
    error = refusal("phase2_tuning", f"--seeds={value}")
    assert error.startswith(f"--seeds is {value!r}, but must be {rule}")


@pytest.mark.parametrize("name", ["resume", "max_hours", "hang_minutes", "reopen"])
def test_options_are_no_settings_of_a_file(name: str, tmp_path: Path, refusal: Callable[..., str]) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"{name}: 1", encoding="utf-8")
    error = refusal("phase2_tuning", "--config", str(path))
    assert error.startswith(f"setting {name!r} is unknown: ")


def test_resume_takes_the_frozen_spec_without_any_other_flag(tmp_path: Path) -> None:
    spec = freeze(tmp_path / "study", "--profile", "smoke", "--seed", "7", "--draw-seed", "3", "--window-px", "96")
    request = request_of("--out", str(tmp_path / "study"), "--resume")
    assert (request.spec, request.out) == (spec, tmp_path / "study")
    assert request.options == Options(resume=True)


def test_resume_takes_flags_over_a_file_over_the_frozen_spec(tmp_path: Path) -> None:
    spec = freeze(tmp_path / "study", "--profile", "smoke", "--seed", "7")
    path = tmp_path / "more.yaml"
    path.write_text(f"out: {tmp_path / 'study'}\ntrials: 9\nseeds: 2", encoding="utf-8")
    grown = read("--resume", "--config", str(path), "--seeds", "3", "--test", "--address", "auto", "--tensorboard")
    update = {"trials": 9, "seeds": 3, "test": True, "address": "auto", "tensorboard": True}
    assert grown == spec.model_copy(update=update)
    assert grown.changes(spec) == []
    other = read("--out", str(tmp_path / "study"), "--resume", "--seed", "8", "--trials", "1", "--epochs", "99")
    assert other.changes(spec) == ["trials: 2 → 1", "seed: 7 → 8", "epochs: 2 → 99"]


def test_resume_where_no_study_has_begun_starts_one(tmp_path: Path) -> None:
    request = request_of("--out", str(tmp_path / "study"), "--resume", "--profile", "smoke", "--seed", "7")
    assert request.spec == read("--profile", "smoke", "--seed", "7")
    assert request.options.resume


def test_resume_without_a_folder_is_refused(refusal: Callable[..., str]) -> None:
    error = refusal("phase2_tuning", "--resume")
    assert error == "--resume needs the folder of the study: add --out DIR"


def test_resume_of_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, refusal: Callable[..., str]) -> None:
    out = tmp_path / ("x" * 300)
    assert "must be a shorter path" in refusal("phase2_tuning", "--resume", "--out", str(out))
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\): choose another folder"):
        has_study(out)
    (tmp_path / "study.yaml").write_text("trials: [", encoding="utf-8")
    error = refusal("phase2_tuning", "--resume", "--out", str(tmp_path))
    assert error == f"the frozen spec {tmp_path / 'study.yaml'} is no YAML: mend it"


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["--seed", "8"], "seed: 7 → 8"),
        (["--trials", "3", "--seeds", "1"], "trials: 5 → 3; seeds: 2 → 1"),
        (["--no-test", "--sampler", "random"], "sampler: tpe → random; test: True → False"),
        (["--vary", "lr"], "vary: None → lr"),
        (["--tiles", "2", "4", "--trials", "9"], "tiles: [4] → [2, 4]"),
    ],
)
def test_resume_that_changes_what_the_study_is_is_refused(
    flags: list[str], changes: str, tmp_path: Path, dataset_root: Path, refusal: Callable[..., str]
) -> None:
    out = tmp_path / "study"
    freeze(out, "--data", str(dataset_root), "--seed", "7", "--trials", "5", "--seeds", "2")
    frozen = (out / "study.yaml").read_bytes()
    assert refusal("phase2_tuning", "--out", str(out), "--resume", *flags) == (
        f"--resume cannot change what the study {out} is ({changes}): leave these flags out, or start in "
        "another folder; only --trials and --seeds may grow, and --test may be added"
    )
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [("study.yaml", frozen)]


def test_resume_may_run_elsewhere_and_longer_but_not_on_other_tiles(
    tmp_path: Path, dataset_root: Path, refusal: Callable[..., str]
) -> None:
    out = tmp_path / "study"
    freeze(out, "--data", "/not/here", "--seeds", "2")
    flags = ["--trials", "50", "--seeds", "3", "--wandb", "disabled", "--address", "auto", "--max-hours", "1"]
    error = refusal("phase2_tuning", "--out", str(out), "--resume", "--data", str(dataset_root), *flags)
    assert error == (
        f"the train or val tiles of {dataset_root} are not those that the study {out} began with: put these "
        "back, or start in another folder"
    )


def test_study_is_not_begun_again_in_its_folder(
    tmp_path: Path, dataset_root: Path, refusal: Callable[..., str]
) -> None:
    out = tmp_path / "study"
    freeze(out, "--data", str(dataset_root))
    assert refusal("phase2_tuning", "--data", str(dataset_root), "--out", str(out)) == (
        f"--out {out} holds a study: resume it with --resume, or choose another folder"
    )


def test_resume_of_a_study_whose_ledger_is_gone_is_refused_before_anything_starts(
    tmp_path: Path, dataset_root: Path, refusal: Callable[..., str]
) -> None:
    out = tmp_path / "study"
    spec = freeze(out, "--data", str(dataset_root))
    facts = {
        "study_id": "f00",
        "tiles_digest": decode_train_val(read_dataset(dataset_root)).digest(),
        "weights_digests": {},
        "versions": dict.fromkeys(("python", *LIBRARIES), "0"),
        "segments": [],
    }
    write_study(out, spec, facts)
    error = refusal("phase2_tuning", "--out", str(out), "--resume")
    assert error.startswith(f"{out / 'optuna.db'} is gone, but holds what was done: put it back")
    assert [path.name for path in out.iterdir()] == ["study.yaml"]
