"""What phase 3 takes from a finished phase 2: configurations, recipe, tiles and seed; and what it does not take."""

import json
import shutil
from pathlib import Path

import pytest

from studies.earlier_study import CARRIED
from studies.files.folder import write_study
from studies.profiles import PROFILES, PhaseName
from studies.spec import StudySpec
from tests.studies import command_lines

PHASE: PhaseName = "phase3_data_budget"


def read(*flags: str) -> StudySpec:
    return command_lines.read(*flags, phase=PHASE)


@pytest.fixture
def tuned(tmp_path, write_tuned):
    """A smoke study with settings of its own."""
    out = tmp_path / "phase2"
    write_tuned(out, {"unet-24": 2e-3, "sam_conv-24": 3e-4}, seed=7, epochs=9, window_px=96, trials=5, seeds=1)
    return out


def test_chosen_configurations_are_taken_with_where_they_come_from(tuned):
    spec = read("--from", str(tuned))
    selection = json.loads((tuned / "selection.json").read_text())
    assert spec.phase == PHASE
    assert spec.architectures == ("unet", "sam_conv")
    for name, lr in (("unet", 2e-3), ("sam_conv", 3e-4)):
        chosen = spec.chosen[name]
        settings = {"augmentation": "HEAVY", "decoder_dropout": 0.3, "loss": "bce_dice", "bce_weight": 0.5}
        assert chosen.point == {"lr": lr} | settings
        assert (chosen.tiles, chosen.study) == (24, "phase2")
        assert chosen.signature == selection[f"{name}-24"]["signature"]


def test_recipe_tiles_weights_and_seed_go_with_them_and_allowances_do_not(tuned):
    spec = read("--from", str(tuned))
    assert (spec.profile, spec.data, spec.seed) == ("smoke", "tiles", 7)
    assert (spec.recipe.epochs, spec.recipe.window_px, spec.recipe.subset_seed) == (9, 96, 7)
    assert spec.recipe.draws_per_epoch == PROFILES["smoke"].recipe["draws_per_epoch"]
    assert (spec.seeds, spec.subsets) == (PROFILES["smoke"].study["seeds"], PROFILES["smoke"].study["subsets"])
    assert spec.tiles is None  # 5, 12, 24 as far as there are so many
    assert not set(CARRIED) & {"trials", "seeds", "subsets", "tiles", "test", "wandb"}


def test_flags_win_over_what_was_taken(tuned):
    spec = read("--from", str(tuned), "--epochs", "3", "--data", "others", "--architectures", "sam_conv")
    assert (spec.recipe.epochs, spec.recipe.window_px, spec.data) == (3, 96, "others")
    assert spec.architectures == ("sam_conv",)
    assert list(spec.chosen) == ["sam_conv"]


def test_another_profile_replaces_the_recipe_and_keeps_tiles_and_seed(tuned):
    spec = read("--from", str(tuned), "--profile", "quick")
    for name, value in PROFILES["quick"].recipe.items():
        assert getattr(spec.recipe, name) == value
    assert spec.recipe.window_px != 96
    assert (spec.profile, spec.data, spec.seed, spec.recipe.subset_seed) == ("quick", "tiles", 7, 7)
    assert (spec.seeds, spec.subsets) == (2, 2)
    assert spec.chosen["unet"].point["lr"] == 2e-3
    assert read("--from", str(tuned), "--profile", "smoke").recipe.epochs == 9  # its own


def test_of_several_budgets_the_largest_one_s_choice_is_taken(tmp_path, write_tuned):
    arms = {"unet-5": 1e-4, "unet-24": 2e-3, "unet-12": 3e-3, "unet_resnet34-12": 4e-3, "unet_resnet34-5": 5e-3}
    write_tuned(tmp_path / "phase2", arms, tiles=[5, 24, 12])
    chosen = read("--from", str(tmp_path / "phase2")).chosen
    assert {name: (one.tiles, one.point["lr"]) for name, one in chosen.items()} == {
        "unet": (24, 2e-3),
        "unet_resnet34": (12, 4e-3),
    }


def test_score_is_that_of_the_final_models_where_there_are_some_and_best_keeps_the_best_in_their_order(tuned):
    assert read("--from", str(tuned)).chosen["sam_conv"].val_iou == 0.5  # of the trial that was selected
    models = {"sam_conv-24": {"models": [{"val_iou": 0.6}, {"val_iou": 0.7}, {"val_iou": None}]}}
    (tuned / "models.json").write_text(json.dumps(models), encoding="utf-8")
    both = read("--from", str(tuned), "--best", "2")
    assert both.architectures == ("unet", "sam_conv")
    assert [one.val_iou for one in both.chosen.values()] == pytest.approx([0.5, 0.65])
    best = read("--from", str(tuned), "--best", "1")
    assert (best.architectures, list(best.chosen)) == (("sam_conv",), ["sam_conv"])


def test_frozen_spec_of_phase_3_repeats_it_without_the_study_that_it_came_from(tuned, tmp_path):
    spec = read("--from", str(tuned), "--tiles", "2", "4", "--seeds", "4")
    (tmp_path / "phase3").mkdir()
    write_study(tmp_path / "phase3", spec, {"study_id": "f01", "segments": []})
    (tuned / "selection.json").unlink()
    assert read("--config", str(tmp_path / "phase3" / "study.yaml")) == spec
    assert read("--out", str(tmp_path / "phase3"), "--resume") == spec
    assert read("--out", str(tmp_path / "phase3"), "--resume", "--from", "nowhere") == spec  # it knows already
    assert StudySpec.from_flat(json.loads(json.dumps(spec.flat()))) == spec


# What cannot be taken


@pytest.mark.parametrize("selection", [None, "{", ""])
def test_study_that_selected_nothing_yet_is_refused(selection, tuned, refusal):
    path = tuned / "selection.json"
    path.unlink() if selection is None else path.write_text(selection, encoding="utf-8")
    assert refusal(PHASE, "--from", str(tuned)).startswith(f"--from {tuned} has selected nothing (phase2_tuning with")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--from", "empty"], "--from empty holds no study: give the folder of a finished phase 2"),
        (["--from", "nothing"], "--architectures is []"),  # was selected there
        (
            ["--from", "phase2", "--architectures", "unet", "sam_unet"],
            "--architectures names sam_unet, but the study chose only for unet, sam_conv: tune it first",
        ),
        (["--from", "phase2", "--seeds", "0"], "--seeds is 0, but without a search every model is a final one"),
        (["--from", "phase2", "--config", "fix.yaml"], "--fix is loss=dice, but phase 3 trains what phase 2 chose"),
    ],
)
def test_what_cannot_be_taken_is_refused(flags, words, tuned, refusal, monkeypatch):
    monkeypatch.chdir(tuned.parent)
    Path("empty").mkdir()
    Path("fix.yaml").write_text("fix: [loss=dice]", encoding="utf-8")
    shutil.copytree("phase2", "nothing")
    Path("nothing", "selection.json").write_text("{}", encoding="utf-8")
    assert refusal(PHASE, *flags).startswith(words)


def test_a_study_of_before_a_setting_was_there_hands_on_its_default(tuned):
    path = tuned / "study.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(("bands:", "optimizer:", "fix:"))))
    assert "optimizer" not in path.read_text(encoding="utf-8")
    spec = read("--from", str(tuned))
    assert (spec.bands, spec.recipe.optimizer) == (None, None)
