"""Command lines: where settings come from, and one line for every mistake."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import wandb
import yaml

from studies.files.folder import PROVENANCE
from studies.profiles import PROFILES
from studies.spec import StudySpec
from tests.studies.command_lines import read, request_of
from trainables.common.errors import UserError
from trainables.config import Recipe


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


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_bad_input_is_one_line_and_writes_nothing(
    case: str, tmp_path: Path, dataset_root: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    flags, words = BAD_FLAGS[case]
    monkeypatch.chdir(tmp_path)
    data = [] if "--data" in flags else ["--data", str(dataset_root)]
    before = sorted(tmp_path.rglob("*"))
    assert words in refusal("phase2_tuning", *data, *flags)
    assert sorted(tmp_path.rglob("*")) == before


def test_more_tiles_than_there_are_is_refused(
    tmp_path: Path, dataset_root: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--data", str(dataset_root), "--tiles", "2", "500"]
    assert "--tiles 500 asks for 500 train tiles, but there are" in refusal("phase2_tuning", *flags)
    assert not (tmp_path / "runs").exists()


def test_folder_that_holds_something_is_refused_and_left_alone(
    tmp_path: Path, dataset_root: Path, refusal: Callable[..., str]
) -> None:
    out = tmp_path / "study"
    out.mkdir()
    (out / "optuna.db").write_bytes(b"precious")
    error = refusal("phase2_tuning", "--data", str(dataset_root), "--out", str(out))
    assert "exists and is not empty" in error
    assert [(p.name, p.read_bytes()) for p in out.iterdir()] == [("optuna.db", b"precious")]


def test_weights_of_another_encoder_are_refused_before_anything_starts(
    tmp_path: Path, dataset_root: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    monkeypatch.chdir(tmp_path)
    flags = ["--data", str(dataset_root), "--weights", "other.pth"]
    assert "does not fit a resnet34 encoder" in refusal("phase2_tuning", *flags)
    assert [path.name for path in tmp_path.iterdir()] == ["other.pth"]


@pytest.mark.parametrize(("answers", "words"), [(True, "needs a login"), (False, "cannot reach 127.0.0.1")])
def test_wandb_online_that_cannot_work_is_refused_before_anything_starts(
    answers: bool,
    words: str,
    tmp_path: Path,
    dataset_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Callable[..., str],
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
            assert words in refusal("phase2_tuning", *flags)
        finally:
            wandb.teardown()
    assert not (tmp_path / "runs").exists()


def test_out_that_cannot_be_made_is_refused(tmp_path: Path, dataset_root: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    flags = ["--data", str(dataset_root), "--out", str(tmp_path / "file" / "study")]
    assert "cannot be" in refusal("phase2_tuning", *flags)


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
def test_bad_config_file_is_one_line(text: str, words: str, tmp_path: Path, refusal: Callable[..., str]) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    assert words in refusal("phase2_tuning", "--config", str(path))
