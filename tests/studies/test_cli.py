"""Command lines: where settings come from, and one line for every mistake."""

import socket
import sys
from pathlib import Path

import pytest
import torch
import wandb
import yaml

from studies import command_line as cli
from studies.folder import PROVENANCE, has_study, write_study
from studies.inputs import LIBRARIES
from studies.options import HANG_MINUTES, Options
from studies.phases import run_phase
from studies.profiles import PROFILES
from studies.spec import StudySpec
from trainables.common.command import EXIT_USER_ERROR, run
from trainables.common.errors import UserError
from trainables.config import Recipe
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val


def request_of(*flags: str) -> cli.Request:
    return cli.read_command_line(flags, phase="phase2_tuning", description="")


def read(*flags: str) -> StudySpec:
    return request_of(*flags).spec


@pytest.mark.parametrize("name", PROFILES)
def test_profile_sets_its_defaults(name: str) -> None:
    spec = read("--profile", name)
    assert spec.profile == name
    profile = PROFILES[name]  # type: ignore[index]
    for key, value in profile.defaults("phase2_tuning").items():
        assert getattr(spec, key) == value
    for key, value in profile.recipe.items():
        assert getattr(spec.recipe, key) == value


@pytest.mark.parametrize(
    ("profile", "architectures"),
    [
        ("smoke", ("unet", "unet_resnet34", "deeplabv3plus_resnet34", "sam_conv", "sam_unet")),
        ("quick", ("unet", "unet_resnet34", "deeplabv3plus_resnet34")),
        ("full", ("unet_resnet34", "deeplabv3plus_resnet34", "sam_unet")),
    ],
)
def test_profile_names_its_architectures(profile: str, architectures: tuple[str, ...]) -> None:
    assert read("--profile", profile).architectures == architectures
    assert read("--profile", profile, "--architectures", "sam_conv").architectures == ("sam_conv",)


def test_full_profile_is_the_reference_recipe() -> None:
    recipe = read("--profile", "full").recipe
    assert recipe == Recipe(subset_seed=42, draw_seed=42)
    assert (recipe.epochs, recipe.draws_per_epoch, recipe.weight_decay) == (60, 400, 1e-4)
    assert recipe.batch_size is None  # each architecture's own
    assert (recipe.stop_patience, recipe.plateau_patience, recipe.plateau_factor) == (10, 3, 0.5)
    assert (recipe.window_px, recipe.val_center_px) == (None, None)


def test_flag_wins_over_file_and_file_over_profile(tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text("profile: smoke\ntrials: 7\nepochs: 3\ntiles: [5, 12]\nema_decay: none\n", encoding="utf-8")
    spec = read("--config", str(config), "--epochs", "9")
    assert (spec.profile, spec.trials, spec.recipe.epochs, spec.tiles) == ("smoke", 7, 9, (5, 12))
    assert spec.recipe.draws_per_epoch == PROFILES["smoke"].recipe["draws_per_epoch"]
    assert spec.recipe.ema_decay is None


def test_paths_may_start_at_home_in_flags_and_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "study.yaml").write_text("data: ~/tiles\nout: ~/runs/a\nweights: resnet34=~/w.pth\n", encoding="utf-8")
    asked = request_of("--config=~/study.yaml", "--weights=~/all.pth")
    assert asked.out == tmp_path / "runs" / "a"
    assert asked.spec.data == str(tmp_path / "tiles")
    assert asked.spec.weights == (str(tmp_path / "all.pth"),)
    assert read("--config=~/study.yaml").weights == (f"resnet34={tmp_path / 'w.pth'}",)
    assert request_of("--out=~/b").out == tmp_path / "b"


@pytest.mark.parametrize("value", ["[a]", "5", "''", "~nobody-here/x"])
def test_out_of_a_file_must_be_a_path(value: str, tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text(f"out: {value}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"^out is .* in the file of --config, but must be a path"):
        request_of("--config", str(config))


def test_every_field_has_a_flag_of_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        read("--help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    for name in [*StudySpec.model_fields, *Recipe.model_fields]:
        if name not in ("recipe", "phase", "chosen", "subsets", "best"):  # what other phases have, or what follows
            assert f"--{name.replace('_', '-')} " in text


def test_frozen_spec_can_be_run_again(tmp_path: Path) -> None:
    spec = read("--profile", "smoke", "--tiles", "5", "12", "--seed", "7", "--window-px", "96")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(spec.flat() | {PROVENANCE: {"versions": {}}}), encoding="utf-8")
    assert read("--config", str(path)) == spec


def test_seed_seeds_subsets_and_draws_unless_they_have_their_own() -> None:
    spec = read("--seed", "7")
    assert (spec.recipe.subset_seed, spec.recipe.draw_seed) == (7, 7)
    assert read("--seed", "7", "--subset-seed", "1").recipe.subset_seed == 1


BAD_FLAGS = {
    "unknown flag": (["--trails", "3"], "--trails"),
    "missing value": (["--trials"], "--trials"),
    "no number": (["--trials", "many"], "--trials is 'many'"),
    "too small": (["--trials", "0"], "--trials is '0'"),
    "no tiles": (["--tiles", "0"], "--tiles is '0', but must be greater than or equal to 1"),
    "no path": (["--out", ""], "argument --out: it is '', but must be a path"),
    "nobody's folder": (["--data", "~nobody-here/tiles"], "--data is '~nobody-here/tiles', but must be a path, and"),
    "architecture": (["--architectures", "unet", "resnext"], "'resnext'"),
    "profile": (["--profile", "huge"], "--profile is 'huge', but must be one of smoke, quick, full"),
    "wandb": (["--wandb", "maybe"], "--wandb is 'maybe'"),
    "architecture twice": (["--architectures", "unet", "unet"], "--architectures names one of unet, unet twice"),
    "weights": (["--weights", "nowhere.pth"], "--weights nowhere.pth is no file"),
    "missing folder": (["--data", "nowhere"], "nowhere is no folder"),
    "missing config": (["--config", "nowhere.yaml"], "--config nowhere.yaml cannot be read"),
}


def fails_in_one_line(flags: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["phase2_tuning.py", *flags])
    with pytest.raises(SystemExit) as end:
        run(lambda: run_phase("phase2_tuning", ""))
    assert end.value.code == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_bad_input_is_one_line_and_writes_nothing(
    case: str,
    tmp_path: Path,
    dataset_root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags, words = BAD_FLAGS[case]
    monkeypatch.chdir(tmp_path)
    data = [] if "--data" in flags else ["--data", str(dataset_root)]
    before = sorted(tmp_path.rglob("*"))
    assert words in fails_in_one_line([*data, *flags], capsys, monkeypatch)
    assert sorted(tmp_path.rglob("*")) == before


def test_more_tiles_than_there_are_is_refused(
    tmp_path: Path, dataset_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--data", str(dataset_root), "--tiles", "2", "500"]
    assert "--tiles 500 asks for 500 train tiles, but there are" in fails_in_one_line(flags, capsys, monkeypatch)
    assert not (tmp_path / "runs").exists()


def test_folder_that_holds_something_is_refused_and_left_alone(
    tmp_path: Path, dataset_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    out.mkdir()
    (out / "optuna.db").write_bytes(b"precious")
    error = fails_in_one_line(["--data", str(dataset_root), "--out", str(out)], capsys, monkeypatch)
    assert "exists and is not empty" in error
    assert [(p.name, p.read_bytes()) for p in out.iterdir()] == [("optuna.db", b"precious")]


def test_weights_of_another_encoder_are_refused_before_anything_starts(
    tmp_path: Path, dataset_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    monkeypatch.chdir(tmp_path)
    flags = ["--data", str(dataset_root), "--weights", "other.pth"]
    assert "does not fit a resnet34 encoder" in fails_in_one_line(flags, capsys, monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == ["other.pth"]


@pytest.mark.parametrize(("answers", "words"), [(True, "needs a login"), (False, "cannot reach 127.0.0.1")])
def test_wandb_online_that_cannot_work_is_refused_before_anything_starts(
    answers: bool,
    words: str,
    tmp_path: Path,
    dataset_root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    flags = ["--data", str(dataset_root), "--wandb", "online"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if answers else 1
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        wandb.teardown()
        try:
            assert words in fails_in_one_line(flags, capsys, monkeypatch)
        finally:
            wandb.teardown()
    assert not (tmp_path / "runs").exists()


def test_out_that_cannot_be_made_is_refused(
    tmp_path: Path, dataset_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    flags = ["--data", str(dataset_root), "--out", str(tmp_path / "file" / "study")]
    assert "cannot be" in fails_in_one_line(flags, capsys, monkeypatch)


def test_config_file_may_name_the_folder_and_single_values(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("out: runs/x\ntiles: 24\narchitectures: unet\n", encoding="utf-8")
    request = request_of("--config", str(path))
    spec, out = request.spec, request.out
    assert (spec.tiles, spec.architectures, out) == ((24,), ("unet",), Path("runs/x"))


def test_new_seed_for_a_frozen_spec_renews_subsets_and_draws(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(read("--seed", "7").flat()), encoding="utf-8")
    recipe = read("--config", str(path), "--seed", "8").recipe
    assert (recipe.subset_seed, recipe.draw_seed) == (8, 8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1: 2\n", "setting 1 is unknown"),
        ("profile: [quick]\n", "--profile is ['quick']"),
        ("seed: abc\n", "--seed is 'abc'"),
        ("trails: 3\n", "setting 'trails' is unknown: did you mean trials?"),
        ("- trials\n", "holds list"),
        ("trials: [\n", "is no YAML"),
        ("trials: -1\n", "--trials is -1"),
        ("draws_per_epoch: 1\n", "--draws-per-epoch is 1"),
    ],
)
def test_bad_config_file_is_one_line(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    assert words in fails_in_one_line(["--config", str(path)], capsys, monkeypatch)


# Going on, and how long and how patiently


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
def test_time_that_is_none_is_refused(
    flag: str, value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = fails_in_one_line([f"{flag}={value}"], capsys, monkeypatch)
    assert error == f"error: {flag} is {value!r}, but must be a number above 0\n"


def test_models_are_confirmed_and_tested_unless_told_otherwise() -> None:
    assert (read().seeds, read().test) == (3, True)
    assert (read("--seeds", "0").seeds, read("--no-test").test) == (0, False)
    smoke = read("--profile", "smoke")  # its numbers mean nothing: its test tiles stay sealed
    assert (smoke.seeds, smoke.test) == (1, False)
    assert read("--profile", "smoke", "--test").test


@pytest.mark.parametrize(("value", "rule"), [("-1", "greater than or equal to 0"), ("1.5", "a valid integer")])
def test_seeds_that_are_none_are_refused(
    value: str, rule: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = fails_in_one_line([f"--seeds={value}"], capsys, monkeypatch)
    assert error.startswith(f"error: --seeds is {value!r}, but must be {rule}")


@pytest.mark.parametrize("name", ["resume", "max_hours", "hang_minutes", "reopen"])
def test_options_are_no_settings_of_a_file(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"{name}: 1\n", encoding="utf-8")
    error = fails_in_one_line(["--config", str(path)], capsys, monkeypatch)
    assert error.startswith(f"error: setting {name!r} is unknown: ")


def test_resume_takes_the_frozen_spec_without_any_other_flag(tmp_path: Path) -> None:
    spec = freeze(tmp_path / "study", "--profile", "smoke", "--seed", "7", "--draw-seed", "3", "--window-px", "96")
    request = request_of("--out", str(tmp_path / "study"), "--resume")
    assert (request.spec, request.out) == (spec, tmp_path / "study")
    assert request.options == Options(resume=True)


def test_resume_takes_flags_over_a_file_over_the_frozen_spec(tmp_path: Path) -> None:
    spec = freeze(tmp_path / "study", "--profile", "smoke", "--seed", "7")
    path = tmp_path / "more.yaml"
    path.write_text(f"out: {tmp_path / 'study'}\ntrials: 9\nseeds: 2\n", encoding="utf-8")
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


def test_resume_without_a_folder_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = fails_in_one_line(["--resume"], capsys, monkeypatch)
    assert error == "error: --resume needs the folder of the study: add --out DIR\n"


def test_resume_of_a_folder_that_cannot_be_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / ("x" * 300)
    assert "must be a shorter path" in fails_in_one_line(["--resume", "--out", str(out)], capsys, monkeypatch)
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\): choose another folder"):
        has_study(out)
    (tmp_path / "study.yaml").write_text("trials: [", encoding="utf-8")
    error = fails_in_one_line(["--resume", "--out", str(tmp_path)], capsys, monkeypatch)
    assert error == f"error: the frozen spec {tmp_path / 'study.yaml'} is no YAML: mend it\n"


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
    flags: list[str],
    changes: str,
    tmp_path: Path,
    dataset_root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "study"
    freeze(out, "--data", str(dataset_root), "--seed", "7", "--trials", "5", "--seeds", "2")
    frozen = (out / "study.yaml").read_bytes()
    assert fails_in_one_line(["--out", str(out), "--resume", *flags], capsys, monkeypatch) == (
        f"error: --resume cannot change what the study {out} is ({changes}): leave these flags out, or start in "
        "another folder; only --trials and --seeds may grow, and --test may be added\n"
    )
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [("study.yaml", frozen)]


def test_resume_may_run_elsewhere_and_longer_but_not_on_other_tiles(
    tmp_path: Path, dataset_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    freeze(out, "--data", "/not/here", "--seeds", "2")
    flags = ["--trials", "50", "--seeds", "3", "--wandb", "disabled", "--address", "auto", "--max-hours", "1"]
    error = fails_in_one_line(["--out", str(out), "--resume", "--data", str(dataset_root), *flags], capsys, monkeypatch)
    assert error == (
        f"error: the train or val tiles of {dataset_root} are not those that the study {out} began with: put these "
        "back, or start in another folder\n"
    )


def test_study_is_not_begun_again_in_its_folder(
    tmp_path: Path, dataset_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    freeze(out, "--data", str(dataset_root))
    assert fails_in_one_line(["--data", str(dataset_root), "--out", str(out)], capsys, monkeypatch) == (
        f"error: --out {out} holds a study: resume it with --resume, or choose another folder\n"
    )


def test_resume_of_a_study_whose_ledger_is_gone_is_refused_before_anything_starts(
    tmp_path: Path, dataset_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
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
    error = fails_in_one_line(["--out", str(out), "--resume"], capsys, monkeypatch)
    assert error.startswith(f"error: {out / 'optuna.db'} is gone, but holds what was done: put it back")
    assert [path.name for path in out.iterdir()] == ["study.yaml"]
