"""Command lines per phase: which flags each has, what its profiles set, and what it does not take."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from searchspace.spaces import LEVELS
from studies import command_line as cli
from studies.profiles import PROFILES, REFERENCE, PhaseName, ProfileName
from studies.spec import StudySpec
from trainables.config import Recipe
from trainables.names import LOSS_WEIGHTS, LOSSES

PHASES: tuple[PhaseName, ...] = ("phase1_comparison", "phase2_tuning", "phase3_data_budget")
PHASE_1, PHASE_2, PHASE_3 = PHASES

Refusal = Callable[..., str]


def read(phase: PhaseName, *flags: str) -> StudySpec:
    return cli.read_command_line(flags, phase=phase, description="").spec


def flags_of(phase: PhaseName, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit) as end:
        read(phase, "--help")
    assert end.value.code == 0
    return set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


SEARCHES = {"--trials", "--vary", "--sampler", "--grace-epochs", "--reduction-factor"}
BUDGETS = {"--from", "--subsets", "--best"}


def test_every_phase_has_the_flags_that_say_something_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    everything = {flag(name) for name in [*StudySpec.model_fields, *Recipe.model_fields]}
    everything |= {"--from", "--out", "--config", "--dry-run", "--resume", "--max-hours", "--hang-minutes", "--reopen"}
    everything -= {"--recipe", "--phase", "--chosen"}
    missing = {phase: everything - flags_of(phase, capsys) for phase in PHASES}
    assert missing == {PHASE_1: SEARCHES | BUDGETS, PHASE_2: BUDGETS, PHASE_3: SEARCHES | {"--fix"}}


@pytest.mark.parametrize(
    ("phase", "flags"),
    [
        (PHASE_1, ["--trials", "3"]),
        (PHASE_1, ["--vary", "lr"]),
        (PHASE_1, ["--from", "runs/phase2"]),
        (PHASE_2, ["--subsets", "2"]),
        (PHASE_2, ["--from", "runs/phase1"]),
        (PHASE_3, ["--sampler", "random"]),
        (PHASE_3, ["--phase", "phase1_comparison"]),
    ],
)
def test_flag_of_another_phase_is_refused(phase: PhaseName, flags: list[str], refusal: Refusal) -> None:
    assert f"unrecognized arguments: {flags[0]}" in refusal(phase, *flags)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("profile", PROFILES)
def test_profile_sets_its_defaults_of_the_phase(phase: PhaseName, profile: ProfileName) -> None:
    spec = cli.make_spec({"phase": phase, "profile": profile})
    for key, value in PROFILES[profile].defaults(phase).items():
        assert getattr(spec, key) == value


def test_phase_1_compares_the_five_of_the_reference() -> None:
    assert len(REFERENCE) == 5
    for profile in ("quick", "full"):
        spec = read(PHASE_1, "--profile", profile)
        assert (spec.architectures, spec.seeds, spec.test) == (REFERENCE, 3, True)


def test_varying_has_defaults_of_its_own() -> None:
    """It trains every value with every seed, so that quick takes fewer architectures and seeds."""
    spec = read(PHASE_2, "--vary", "lr")
    for key, value in PROFILES["quick"].varying.items():
        assert getattr(spec, key) == value
    assert read(PHASE_2).seeds == PROFILES["quick"].study["seeds"]
    assert read(PHASE_2, "--vary", "lr", "--seeds", "5").seeds == 5
    for none in (["--vary", "none"], []):
        assert read(PHASE_2, *none) == read(PHASE_2)


@pytest.mark.parametrize("name", [*LEVELS, "lr"])
def test_everything_that_has_levels_can_be_varied(name: str) -> None:
    loss = {"focal_weight": ["--fix", "loss=focal_dice"], "cldice_weight": ["--fix", "loss=bce_dice_cldice"]}
    assert read(PHASE_2, "--vary", name, *loss.get(name, [])).vary == name


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--vary", "seed"], "--vary is 'seed', but must be"),
        (["--sampler", "grid"], "--sampler is 'grid', but must be 'tpe' or 'random'"),
    ],
)
def test_what_cannot_be_varied_or_sampled_is_refused(flags: list[str], words: str, refusal: Refusal) -> None:
    assert refusal(PHASE_2, *flags).startswith(words)


def test_phase_3_without_a_study_is_refused(refusal: Refusal) -> None:
    words = "phase 3 needs the study whose configurations it retrains: add --from runs/phase2"
    assert refusal(PHASE_3) == words
    assert refusal(PHASE_3, "--architectures", "unet") == words


@pytest.mark.parametrize(("phase", "flags"), [(PHASE_1, []), (PHASE_2, ["--vary", "lr"])])
def test_no_seeds_without_a_search_are_refused(phase: PhaseName, flags: list[str], refusal: Refusal) -> None:
    words = "--seeds is 0, but without a search every model is a final one: give at least 1"
    assert refusal(phase, *flags, "--seeds", "0") == words


def test_no_seeds_of_phase_3_are_refused(
    tmp_path: Path, refusal: Refusal, write_tuned: Callable[..., dict[str, Any]]
) -> None:
    write_tuned(tmp_path / "phase2", {"unet-24": 1e-3})
    assert "--seeds is 0" in refusal(PHASE_3, "--from", str(tmp_path / "phase2"), "--seeds", "0")


def test_search_without_confirmation_is_allowed() -> None:
    assert read(PHASE_2, "--seeds", "0").seeds == 0


@pytest.mark.parametrize(("written", "asked"), [(PHASE_1, PHASE_2), (PHASE_2, PHASE_1), (PHASE_2, PHASE_3)])
def test_settings_of_another_phase_are_refused(
    written: PhaseName, asked: PhaseName, tmp_path: Path, refusal: Refusal
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(read(written).flat()), encoding="utf-8")
    assert refusal(asked, "--config", str(path)) == (
        f"these settings are of {written}: run studies/{written}.py with them"
    )


def test_settings_that_name_no_phase_are_any_s(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("seeds: 4\nepochs: 7\n", encoding="utf-8")
    for phase in (PHASE_1, PHASE_2):
        spec = read(phase, "--config", str(path))
        assert (spec.phase, spec.seeds, spec.recipe.epochs) == (phase, 4, 7)


@pytest.mark.parametrize("phase", [PHASE_1, PHASE_2])
def test_frozen_spec_of_a_phase_can_be_run_again(phase: PhaseName, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    spec = read(phase, "--profile", "smoke", "--seeds", "5", "--tensorboard")
    path.write_text(yaml.safe_dump(spec.flat()), encoding="utf-8")
    assert read(phase, "--config", str(path)) == spec


def test_dry_run_is_asked_for_and_no_part_of_the_spec() -> None:
    asked = cli.read_command_line(["--dry-run"], phase=PHASE_1, description="")
    plain = cli.read_command_line([], phase=PHASE_1, description="")
    assert (asked.is_dry_run, plain.is_dry_run) == (True, False)
    assert (asked.spec, asked.options) == (plain.spec, plain.options)


def test_dry_run_of_a_study_that_has_begun_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    words = "--dry-run is about a new study: python -m studies.status OUT says what is left of one"
    assert refusal(PHASE_1, "--dry-run", "--resume", "--out", str(tmp_path / "study")) == words
    assert list(tmp_path.iterdir()) == []


def test_folders_are_named_after_the_phase() -> None:
    for phase, name in zip(PHASES, ("phase1", "phase2", "phase3"), strict=True):
        folders = cli.default_folders(phase)
        assert [str(next(folders)) for _ in range(3)] == [f"runs/{name}", f"runs/{name}-2", f"runs/{name}-3"]


# What is fixed for all trials


def test_fixed_values_are_read_as_their_hyperparameter_takes_them() -> None:
    spec = read(PHASE_2, "--fix", "loss=focal_dice", "focal_weight=1", "augmentation=NONE", "lr=3e-4")
    assert spec.fixed == {"loss": "focal_dice", "focal_weight": 1.0, "augmentation": "NONE", "lr": 3e-4}
    assert isinstance(spec.fixed["focal_weight"], float)
    for arm in (arm for arm in spec.model_copy(update={"tiles": (5,)}).arms()):
        assert list(arm.space(spec)) == ["decoder_dropout"]
        assert spec.fixed.items() <= arm.recipe(spec).items()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--fix", "depht=4"], "--fix names depht, but must name one of lr, augmentation"),
        (["--fix", "loss=hinge"], "--fix loss is 'hinge', but must be"),
        (["--fix", "loss=["], "--fix loss is '[', but must be"),
        (["--fix", "loss=[dice]"], "--fix loss is '[dice]', but must be"),
        (["--fix", "lr=fast"], "--fix lr is 'fast', but must be"),
        (["--fix", "decoder_dropout=2"], "--fix decoder_dropout is 2.0, but must be less than 1"),
        (["--vary", "loss", "--fix", "focal_weight=7"], "--fix focal_weight is 7.0, but must be less than"),
        (["--fix", "depth=deep", "--architectures", "lavit"], "--fix depth is 'deep', but must be a valid integer"),
        (["--fix", "depth=5", "--architectures", "lavit"], "depth is 5, but lavit takes one of 4, 6, 8"),
        (["--fix", "loss"], "--fix is loss, but must be NAME=VALUE"),
        (["--fix", "lr=1e-3", "lr=1e-4"], "--fix has lr twice"),
        (["--fix", "focal_weight=0.5"], "--fix names focal_weight, but the loss of"),
        (["--fix", "loss=dice", "--vary", "loss"], "--fix and --vary both name loss"),
        (["--vary", "bce_weight", "--fix", "loss=dice"], "--vary is bce_weight, but the loss of"),
    ],
)
def test_what_cannot_be_fixed_is_refused(flags: list[str], words: str, refusal: Refusal) -> None:
    assert refusal(PHASE_2, *flags).startswith(words)


def test_a_fixed_weight_counts_wherever_the_varied_loss_has_it() -> None:
    flags = ["--vary", "loss", "--fix", "bce_weight=0.3", "--architectures", "unet", "lavit", "--tiles", "5"]
    spec = read(PHASE_2, *flags)
    for arm in spec.arms():
        weights = {loss: arm.config(spec, {"loss": loss}, {}, init_seed=0).bce_weight for loss in LOSSES}
        assert {weights[loss] for loss in LOSSES if "bce_weight" in LOSS_WEIGHTS[loss]} == {0.3}


def test_what_phase_2_chose_is_not_fixed_otherwise(tmp_path: Path, write_tuned: Any, refusal: Refusal) -> None:
    write_tuned(tmp_path / "phase2", {"unet-5": 1e-3})
    settings = tmp_path / "settings.yaml"
    settings.write_text("fix: [loss=dice]")
    flags = ["--from", str(tmp_path / "phase2"), "--config", str(settings)]
    assert refusal("phase3_data_budget", *flags).startswith("--fix is loss=dice, but phase 3 trains what phase 2 chose")
