"""Command lines of all phases: which flags each has, what its profiles set, and where settings come from."""

import re
from pathlib import Path

import pytest
import yaml

from searchspace.spaces import LEVELS, starting_points
from studies import command_line as cli
from studies.options import HANG_MINUTES, Options
from studies.profiles import LITE0, PHASES, PROFILES, REFERENCE, PhaseName
from studies.spec import StudySpec
from tests.studies.command_lines import read, request_of
from trainables.attempts.reference import ATTEMPTS, reference_config
from trainables.common.errors import UserError
from trainables.config import Recipe
from trainables.names import LOSS_WEIGHTS, LOSSES

PHASE_1, PHASE_2, PHASE_3 = PHASES


@pytest.fixture
def file(tmp_path):
    return tmp_path / "study.yaml"


def flags_of(phase: PhaseName, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit) as end:
        read("--help", phase=phase)
    assert end.value.code == 0
    return set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))


SEARCHES = {"--folds", "--trials", "--vary", "--sampler", "--grace-epochs", "--reduction-factor"}
BUDGETS = {"--from", "--subsets", "--best"}
FOLLOWS = {"--phase", "--chosen", "--bf16"}


def test_every_phase_has_the_flags_that_say_something_in_it(capsys):
    names = [*StudySpec.model_fields, *Recipe.model_fields]
    everything = {f"--{name.replace('_', '-')}" for name in names if name != "recipe"}
    everything |= {"--from", "--out", "--config", "--dry-run", "--resume", "--max-hours", "--hang-minutes"}
    everything |= {"--strict-splits", "--reopen", "--forecast", "--price-per-hour"}
    missing = {phase: everything - flags_of(phase, capsys) for phase in PHASES}
    assert missing == {
        PHASE_1: FOLLOWS | SEARCHES | BUDGETS | {"--with-recipe"},
        PHASE_2: FOLLOWS | BUDGETS,
        PHASE_3: FOLLOWS | SEARCHES | {"--fix", "--recipe-point", "--with-recipe"},
    }


def test_options_have_defaults_and_are_no_part_of_the_spec():
    plain = request_of()
    assert plain.options == Options(resume=False, max_hours=None, hang_minutes=HANG_MINUTES, reopen="")
    changed = request_of("--max-hours", "0.25", "--hang-minutes", "3", "--reopen", "the power went", "--dry-run")
    assert changed.options == Options(max_hours=0.25, hang_minutes=3.0, reopen="the power went")
    assert (plain.is_dry_run, changed.is_dry_run) == (False, True)
    assert changed.spec == plain.spec


def test_a_forecast_is_part_of_a_dry_run():
    assert request_of("--dry-run").forecast_slots is None
    assert request_of("--dry-run", "--forecast").forecast_slots == 0  # as many as fit here
    asked = request_of("--dry-run", "--forecast", "16", "--price-per-hour", "2.5")
    assert (asked.forecast_slots, asked.price_per_hour) == (16, 2.5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--forecast"], "--forecast is about a study that does not run yet: add --dry-run"),
        (["--dry-run", "--price-per-hour", "2"], "--price-per-hour is for a forecast: add --dry-run --forecast"),
        (["--dry-run", "--forecast", "-1"], "--forecast is '-1', but must be a number of trials side by side"),
        (["--dry-run", "--forecast", "--price-per-hour", "no"], "--price-per-hour is 'no', but must be a number above"),
    ],
)
def test_what_makes_no_forecast_is_refused(flags, words):
    with pytest.raises(UserError, match=words):
        request_of(*flags)


def test_folders_are_named_after_the_phase():
    for phase, name in zip(PHASES, ("phase1", "phase2", "phase3"), strict=True):
        folders = cli.default_folders(phase)
        assert [str(next(folders)) for _ in range(3)] == [f"runs/{name}", f"runs/{name}-2", f"runs/{name}-3"]


# What profiles set


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("profile", PROFILES)
def test_profile_sets_its_defaults_of_the_phase(phase, profile):
    spec = cli.make_spec({"phase": phase, "profile": profile})
    assert spec.profile == profile
    for key, value in PROFILES[profile].defaults(phase).items():
        assert getattr(spec, key) == value
    for key, value in PROFILES[profile].recipe.items():
        assert getattr(spec.recipe, key) == value


@pytest.mark.parametrize(
    ("phase", "profile", "architectures"),
    [
        (PHASE_1, "quick", ("unet_width16", *LITE0)),
        (PHASE_1, "full", REFERENCE),
        (PHASE_2, "smoke", REFERENCE),
        (PHASE_2, "quick", LITE0),
        (PHASE_2, "full", ("unet_resnet34", "deeplabv3plus_resnet34", "sam_unet")),
    ],
)
def test_profile_names_its_architectures(phase, profile, architectures):
    assert read("--profile", profile, phase=phase).architectures == architectures
    assert read("--profile", profile, "--architectures", "lavit", phase=phase).architectures == ("lavit",)


def test_full_profile_is_the_reference_recipe():
    assert read("--profile", "full").recipe == reference_config(ATTEMPTS["02"]).recipe


def test_models_are_confirmed_and_tested_unless_told_otherwise():
    assert (read().seeds, read().test) == (3, True)
    assert (read("--seeds", "0").seeds, read("--no-test").test) == (0, False)
    assert not read("--profile", "smoke").test  # its numbers mean nothing
    assert read("--profile", "smoke", "--test").test


def test_varying_has_defaults_of_its_own():
    """It trains every value with every seed, so that quick takes fewer architectures and seeds."""
    spec = read("--vary", "lr")
    for key, value in PROFILES["quick"].varying.items():
        assert getattr(spec, key) == value
    assert read().seeds == PROFILES["quick"].study["seeds"]
    assert read("--vary", "lr", "--seeds", "5").seeds == 5
    assert read("--vary", "none") == read()


@pytest.mark.parametrize("name", [*LEVELS, "lr"])
def test_everything_that_has_levels_can_be_varied(name):
    loss = {"focal_weight": ["--fix", "loss=focal_dice"], "cldice_weight": ["--fix", "loss=bce_dice_cldice"]}
    assert read("--vary", name, *loss.get(name, [])).vary == name


# Flags, files and seeds


def test_flag_wins_over_file_and_file_over_profile(file):
    file.write_text("profile: smoke\ntrials: 7\nepochs: 3\ntiles: [5, 12]\nema_decay: none\n", encoding="utf-8")
    spec = read("--config", str(file), "--epochs", "9")
    assert (spec.profile, spec.trials, spec.recipe.epochs, spec.tiles) == ("smoke", 7, 9, (5, 12))
    assert spec.recipe.draws_per_epoch == PROFILES["smoke"].recipe["draws_per_epoch"]
    assert spec.recipe.ema_decay is None


def test_file_may_name_the_folder_and_single_values_and_no_phase(file):
    file.write_text("out: runs/x\ntiles: 24\narchitectures: unet\n", encoding="utf-8")
    for phase in (PHASE_1, PHASE_2):
        request = request_of("--config", str(file), phase=phase)
        assert (request.spec.phase, request.out) == (phase, Path("runs/x"))
        assert (request.spec.tiles, request.spec.architectures) == ((24,), ("unet",))


@pytest.mark.parametrize("phase", [PHASE_1, PHASE_2])
def test_frozen_spec_of_a_phase_can_be_run_again_in_that_phase(phase, file):
    spec = read("--profile", "smoke", "--seeds", "5", "--tensorboard", phase=phase)
    file.write_text(yaml.safe_dump(spec.flat()), encoding="utf-8")
    assert read("--config", str(file), phase=phase) == spec


def test_paths_may_start_at_home_in_flags_and_in_a_file(file, monkeypatch):
    home = file.parent
    monkeypatch.setenv("HOME", str(home))
    file.write_text("data: ~/tiles\nout: ~/runs/a\nweights: resnet34=~/w.pth\n", encoding="utf-8")
    asked = request_of("--config=~/study.yaml", "--weights=~/all.pth")
    assert (asked.out, asked.spec.data) == (home / "runs" / "a", str(home / "tiles"))
    assert asked.spec.weights == (str(home / "all.pth"),)
    assert read("--config=~/study.yaml").weights == (f"resnet34={home / 'w.pth'}",)
    assert request_of("--out=~/b").out == home / "b"


def test_seed_seeds_subsets_and_draws_unless_they_have_their_own(file):
    spec = read("--seed", "7")
    assert (spec.recipe.subset_seed, spec.recipe.draw_seed) == (7, 7)
    assert read("--seed", "7", "--subset-seed", "1").recipe.subset_seed == 1
    file.write_text(yaml.safe_dump(spec.flat()), encoding="utf-8")
    again = read("--config", str(file), "--seed", "8").recipe  # those of the file followed from its own seed
    assert (again.subset_seed, again.draw_seed) == (8, 8)


# What is fixed for all trials


def test_fixed_values_are_read_as_their_hyperparameter_takes_them():
    fixed = ["loss=focal_dice", "focal_weight=1", "augmentation=NONE", "lr=3e-4"]
    spec = read("--profile", "smoke", "--tiles", "5", "--fix", *fixed)
    assert spec.fixed == {"loss": "focal_dice", "focal_weight": 1.0, "augmentation": "NONE", "lr": 3e-4}
    assert isinstance(spec.fixed["focal_weight"], float)
    for arm in spec.arms():
        assert list(arm.space(spec)) == ["decoder_dropout"]
        assert spec.fixed.items() <= arm.recipe(spec).items()


def test_a_recipe_point_is_where_searches_start_and_what_is_trained_without_one():
    given = ["lr=3e-4", "bce_weight=0.2"]
    spec = read("--tiles", "5", "--recipe-point", *given, "--fix", "bce_weight=0.3")
    assert spec.changed == {"lr": 3e-4, "bce_weight": 0.3}
    for arm in spec.arms():
        space, recipe = arm.space(spec), arm.recipe(spec)
        assert (recipe["lr"], recipe["bce_weight"]) == (3e-4, 0.3)
        assert "bce_weight" not in space
        assert (space["lr"].low, space["lr"].high) == pytest.approx((3e-5, 3e-3))  # still searched, around it
        assert starting_points(space, recipe, 2, 42)[0]["lr"] == 3e-4
        config = read("--tiles", "5", "--recipe-point", *given, phase=PHASE_1)
        assert arm.config(config, {}, {}, init_seed=0).bce_weight == 0.2


@pytest.mark.parametrize("phase", [PHASE_1, PHASE_2])
def test_quick_trains_by_little_bce_and_leaves_it_to_whoever_says_otherwise(phase):
    def weight(*flags: str) -> float:
        spec = read("--tiles", "5", *flags, phase=phase)
        return spec.arms()[0].config(spec, {}, {}, init_seed=0).bce_weight

    assert weight() == 0.1
    assert weight("--fix", "bce_weight=0.5") == weight("--recipe-point", "bce_weight=0.5") == 0.5
    assert weight("--profile", "full") == 0.5
    assert weight("--fix", "loss=dice", "--architectures", "unet") == 0.5  # which says nothing with that loss


def test_a_fixed_weight_counts_wherever_the_varied_loss_has_it():
    spec = read("--vary", "loss", "--fix", "bce_weight=0.3", "--architectures", "unet", "lavit", "--tiles", "5")
    for arm in spec.arms():
        weights = {loss: arm.config(spec, {"loss": loss}, {}, init_seed=0).bce_weight for loss in LOSSES}
        assert {weights[loss] for loss in LOSSES if "bce_weight" in LOSS_WEIGHTS[loss]} == {0.3}
