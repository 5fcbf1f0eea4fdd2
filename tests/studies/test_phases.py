"""The scripts of all phases: exit codes and last words; and whole studies of phases 1 and 3."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.logs.wandb_files import read_logs
from studies import study
from studies.files.folder import STUDY
from studies.options import Options
from studies.phases import run_phase
from studies.spec import StudySpec
from studies.study import StudyResult
from trainables.common.command import EXIT_INTERRUPTED, EXIT_OUT_OF_TIME

STUDIES = Path(__file__).parents[2] / "studies"
MAIN = "iou_by_architecture"
ONE_WORKER = ["--cpus-per-trial", str(os.cpu_count())]


# What a phase tells at its end


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """Runs phase 2's script with a study that comes to something; the exit code, and what it was asked to run."""

    def run(*flags: str, **came_to: Any) -> tuple[int, dict[str, Any]]:
        asked: dict[str, Any] = {}

        def run_study(spec: StudySpec, *, out: Path, console: Any, options: Options) -> StudyResult:
            asked.update(spec=spec, out=out, options=options)
            return StudyResult(out=out, **{"ending": None} | came_to)

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(study, "run_study", run_study)
        monkeypatch.setattr(sys, "argv", ["phase2_tuning.py", *flags])
        return run_phase("phase2_tuning", "Phase 2"), asked

    return run


@pytest.mark.parametrize(
    ("came_to", "code", "words"),
    [
        ({}, 0, "study     OUT"),
        ({"ending": "interrupted"}, EXIT_INTERRUPTED, "interrupted: resume with --out OUT --resume"),
        ({"ending": "out of time"}, EXIT_OUT_OF_TIME, "out of time: resume with --out OUT --resume"),
        ({"unselected": {"unet-4": "a [nan]"}}, 1, "unet-4: no trial ran its course; the last one: a [nan]"),
        ({"untested": {"unet-4": "no luck"}}, 1, "unet-4: not tested: no luck"),
        ({"unvalidated": {"unet-4": "torn"}}, 1, "unet-4: its selected model could not be validated: torn"),
    ],
)
def test_exit_code_and_last_words_follow_from_what_a_study_came_to(came_to, code, words, ran, tmp_path, capsys):
    out = tmp_path / "study"
    assert ran("--out", str(out), **came_to)[0] == code
    assert words.replace("OUT", str(out)) in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    ("is_begun", "words"), [(True, "resume with --out OUT --resume"), (False, "no study was begun")]
)
def test_signal_outside_of_trials_and_scores_is_told_too(is_begun, words, monkeypatch, tmp_path, capsys):
    def interrupted(*_: Any, out: Path, **__: Any) -> None:
        if is_begun:
            out.mkdir()
            (out / STUDY).touch()
        raise KeyboardInterrupt

    out = tmp_path / "study"
    monkeypatch.setattr(study, "run_study", interrupted)
    monkeypatch.setattr(sys, "argv", ["phase2_tuning.py", "--out", str(out)])
    assert run_phase("phase2_tuning", "Phase 2") == EXIT_INTERRUPTED
    assert capsys.readouterr().out.replace("\n", "") == f"interrupted: {words.replace('OUT', str(out))}"


def test_study_goes_to_the_next_free_folder_of_its_phase(ran, tmp_path):
    assert ran()[1]["out"] == Path("runs/phase2")
    (tmp_path / "runs" / "phase2").mkdir(parents=True)
    assert ran()[1]["out"] == Path("runs/phase2-2")
    _, asked = ran("--out", "elsewhere", "--max-hours", "2", "--trials", "7", "--seeds", "0")
    assert (asked["out"], asked["options"]) == (Path("elsewhere"), Options(max_hours=2.0))
    assert (asked["spec"].trials, asked["spec"].seeds) == (7, 0)


# Whole studies


def content_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "models.json").read_text(encoding="utf-8"))
    return content


def check_logged(out: Path, *stages: str) -> None:
    """The logs say of every model what models.json says."""
    written = [model for row in content_of(out).values() for model in row["models"]]
    logs = read_logs(out)
    assert logs.notes == ()
    assert len(logs.models) == len(written)
    known = ["arm", "run_arm", "number", "subset", "seed", "state", "signature", "best_epoch", "epochs"]
    known += ["init_seed", "draw_seed", "subset_seed", "val_iou", "val_f1", "test_iou", "test_f1"]
    for logged, model in zip(logs.models.to_dict("records"), written, strict=True):
        assert {name: logged[name] for name in known} == pytest.approx({name: model[name] for name in known})
        assert logged["run"]
        assert logged["hyperparameters/lr"] > 0
    tiles = {
        (model["arm"], model["number"], split, tile): iou
        for model in written
        for split in ("val", "test", "tta")
        for tile, iou in (model.get(f"{split}_tile_iou") or {}).items()
    }
    tiles |= {
        (model["arm"], model["number"], split, tile): iou
        for row in content_of(out).values()
        for split, further in row.get("further", {}).items()
        for model in further["models"]
        for tile, iou in model["test_tile_iou"].items()
    }
    scores = logs.scores.set_index(["arm", "number", "split", "tile"])["iou"].to_dict()
    assert scores == pytest.approx(tiles)
    assert set(logs.runs["stage"]) == {"final", *stages}


@pytest.mark.faults
def test_comparison_trains_tests_and_logs_every_architecture(start, ray_address, tmp_path, write_rgb):
    """Phase 1 over two architectures with two seeds each, whose two test sets are opened once for each."""
    root, out = tmp_path / "tiles", tmp_path / "runs" / "phase1"
    write_rgb(root, counts={"train": 3, "val": 2, "test": 2, "test-b": 3}, size_px=(128, 128))
    flags = ["--profile", "smoke", "--data", str(root), "--architectures", "unet", "unet_resnet34"]
    flags += ["--seeds", "2", "--test", "--tensorboard", *ONE_WORKER]
    driver = start(STUDIES / "phase1_comparison.py", *flags, address=ray_address)
    output = driver.ends()
    assert driver.errors.read_text() == ""
    assert "opening the test tiles for unet-3" in output
    content = content_of(out)
    assert list(content) == ["unet-3", "unet_resnet34-3"]
    for arm, row in content.items():
        assert [(m["subset"], m["seed"], m["state"], m["run_arm"]) for m in row["models"]] == [
            (0, seed, "finished", arm) for seed in (0, 1)
        ]
        assert all(0 <= model["test_iou"] <= 1 for model in row["models"])
        assert row["opening"]["event"] == row["further"]["test-b"]["opening"]["event"] == "opened"
    seeds = [[(m["init_seed"], m["draw_seed"]) for m in row["models"]] for row in content.values()]
    assert seeds[0] == seeds[1]
    for register in ("seal", "seal-b"):
        events = [json.loads(line)["event"] for line in (root / f"{register}.jsonl").read_text().splitlines()]
        assert events == ["opened", "result"] * 2
    check_logged(out)
    forecast = read_logs(out).forecast
    assert forecast is not None
    assert min(forecast.values()) > 0
    table = pd.read_csv(out / "report" / "tables" / "iou_by_architecture.csv")
    means = [row["further"]["test-b"]["test_iou"] for row in content.values()]
    assert sorted(table["test-b_iou"]) == pytest.approx(sorted(means))
    order = pd.read_csv(out / "report" / "tables" / "elsewhere.csv")
    assert list(order["test_set"]) == ["test", "test-b"]
    assert set(read_logs(out).images["split"]) == {"test"}
    assert not (out / "selection.json").exists()
    kept = sorted(str(path.relative_to(out / "checkpoints")) for path in out.rglob("*.pt"))
    assert kept == [f"{arm}/000{number}/best.pt" for arm in content for number in (0, 1)]
    curves = sorted(str(path.parent.relative_to(out / "tensorboard")) for path in out.rglob("events.*"))
    assert curves == [f"{arm}/000{number}" for arm in content for number in (0, 1)]


@pytest.mark.faults
def test_data_budget_retrains_what_was_chosen_on_every_subset(
    start, ray_address, dataset_root, tiles, write_tuned, tmp_path
):
    """Phase 3 with the test tiles sealed, whose pixels would not even decode."""
    write_tuned(tmp_path / "phase2", {"unet-4": 3e-3}, data=str(dataset_root))
    flags = ["--from", "phase2", "--tiles", "2", "4", "--subsets", "3", "--seeds", "1"]
    driver = start(STUDIES / "phase3_data_budget.py", *flags, *ONE_WORKER, address=ray_address)
    driver.ends()
    assert driver.errors.read_text() == ""
    out = tmp_path / "runs" / "phase3"
    content = content_of(out)
    assert {arm: len(row["models"]) for arm, row in content.items()} == {"unet-2": 3, "unet-4": 1}
    few = content["unet-2"]["models"]
    assert [(model["subset"], model["seed"]) for model in few] == [(0, 0), (1, 0), (2, 0)]
    assert len({model["subset_seed"] for model in few}) == 3
    assert all(model["test_iou"] is None for row in content.values() for model in row["models"])
    assert all(set(model["val_tile_iou"]) == set(tiles.val.ids) for model in few)
    assert not (out / "seal.jsonl").exists()
    logs = read_logs(out)
    assert set(logs.runs["hyperparameters/lr"]) == {3e-3}
    assert set(logs.runs["hyperparameters/augmentation"]) == {"HEAVY"}
    assert all(arm["chosen"]["study"] == "phase2" for arm in logs.study["arms"])
    assert logs.models["test_iou"].isna().all()


@pytest.mark.faults
def test_recipe_can_be_added_to_what_was_tuned_with_the_same_seeds_and_each_arm_is_opened_once(
    start, ray_address, tmp_path, write_rgb
):
    """Phase 2 whose only trial is a random point, so not the recipe."""
    root, out = tmp_path / "tiles", tmp_path / "runs" / "phase2"
    write_rgb(root, counts={"train": 3, "val": 2, "test": 2}, size_px=(128, 128))
    flags = ["--profile", "smoke", "--data", str(root), "--architectures", "unet", "--trials", "1", "--seeds", "2"]
    flags += ["--sampler", "random", "--test", "--ensembles", "--tta", "--out", str(out), *ONE_WORKER]
    start(STUDIES / "phase2_tuning.py", *flags, address=ray_address).ends()
    before = content_of(out)
    driver = start(STUDIES / "phase2_tuning.py", *flags, "--with-recipe", "--resume", address=ray_address)
    driver.ends()
    assert driver.errors.read_text() == ""
    content = content_of(out)
    assert list(content) == ["unet-3", "unet-3-recipe"]
    assert content["unet-3"] == before["unet-3"]
    tuned, recipe = (pd.DataFrame(row["models"]) for row in content.values())
    for name in ("init_seed", "draw_seed", "subset_seed"):
        assert tuned[name].tolist() == recipe[name].tolist()
    assert not set(tuned["signature"]) & set(recipe["signature"])
    events = [json.loads(line)["event"] for line in (root / "seal.jsonl").read_text().splitlines()]
    assert events == ["opened", "result"] * 2
    check_logged(out, "search")
    tables = {name: pd.read_csv(out / "report" / "tables" / f"{name}.csv") for name in ("tuned_minus_recipe", MAIN)}
    (difference,) = tables["tuned_minus_recipe"]["difference"]
    assert difference == pytest.approx(tuned["test_iou"].mean() - recipe["test_iou"].mean())
    for (_, row), models in zip(tables[MAIN].iterrows(), (tuned, recipe), strict=True):
        assert row["tta_iou"] == pytest.approx(models["tta_iou"].mean())
        assert 0 <= row["tta_iou_low"] <= row["tta_iou"] <= row["tta_iou_high"] <= 1
        assert [row["ensemble_iou"]] == pytest.approx(list(set(models["ensemble_iou"])))
