"""Budgets of labels: what the phases make of them, what they refuse, and whole studies of phases 2 and 3."""

import json
import math
from pathlib import Path

import pytest

from analysis.logs.wandb_files import read_logs
from analysis.tables.labels import folds_iou, nested_iou
from studies.profiles import PHASES
from studies.search.memory_ledger import MemoryLedger
from studies.search.plans import Finals, Grid, Search
from tests.studies.command_lines import read
from tests.studies.reports import epoch_report, trials_of
from tests.studies.search.in_memory import coordinate, take
from trainables.check_config import check_config
from trainables.checkpoints import load_model
from trainables.datasets.demo import write_demo_tiles
from trainables.folds.split import pooled

PHASE_1, PHASE_2, PHASE_3 = PHASES
STUDIES = Path(__file__).parents[2] / "studies"
SMOKE = ["--profile", "smoke", "--architectures", "unet"]


def test_search_is_cross_validated_and_final_models_end_where_its_folds_were_best(tiles):
    spec = read(*SMOKE, "--labels", "5", "12", "--epochs", "9", "--seeds", "2")
    assert (spec.recipe.schedule, spec.judged_metric) == ("cosine", "val/iou_center128")
    search = Search(spec)
    configs = {arm: search.config(arm, 0, {"lr": 1e-3}) for arm in search.arms}
    assert [(arm.name, c.tiles, c.folds) for arm, c in configs.items()] == [("unet-5", 5, 5), ("unet-12", 12, 5)]
    finals = Finals.confirming(spec, configs, 24, epochs=dict(zip(search.arms, (3, 7), strict=True)))
    for (arm, config), epochs in zip(configs.items(), (3, 7), strict=True):
        own = next(one for one in finals.arms if one.parent == arm.name)
        assert own.confirms == config.signature()
        final = finals.config(own, 1, {})
        assert (final.folds, final.fixed_epochs, final.recipe.epochs, final.lr) == (0, epochs, 9, config.lr)
    small = read(*SMOKE, "--labels", "5")
    check_config(Search(small).config(small.arms()[0], 0, {"lr": 1e-3}), pooled(tiles))  # judged by centre windows
    varied = read(*SMOKE, "--labels", "12", "--folds", "3", "--vary", "lr")
    assert Grid(varied).config(varied.arms()[0], 0, {"lr": 1e-3}).folds == 3
    alone = read(*SMOKE, "--labels", "5", "--epochs", "9", phase=PHASE_1)
    assert Finals.of_phase(alone, {}, 24).config(alone.arms()[0], 0, {}).fixed_epochs == 9


def test_final_model_that_nothing_judges_is_finished_and_known_when_the_study_goes_on():
    spec = read(*SMOKE, "--labels", "5", "--epochs", "3", "--seeds", "2", phase=PHASE_1)
    plan, ledger = Finals.of_phase(spec, {}, 24), MemoryLedger({})
    study = coordinate(spec, plan, ledger)
    trial, other = take(study), take(study)
    for epoch in (1, 2, 3):
        study.report(trial.key, epoch_report(epoch, math.nan, ended="epochs" if epoch == 3 else ""))
    study.report(other.key, epoch_report(1, math.nan))
    again = coordinate(spec, plan, ledger)
    assert [(t.outcome, t.epoch, t.best_epoch) for t in again.of_arm(plan.arms[0])] == [
        ("finished", 3, 3),
        (None, 1, 1),
    ]
    assert take(again).key == other.key


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--labels", "5", "--tiles", "5", "12"], "--labels is 5 and --tiles 5 12, but both are the data budgets"),
        (["--folds", "3"], "--folds is 3, but only budgets of --labels are cut into folds: add --labels"),
        (["--labels", "5", "--schedule", "plateau"], "--schedule is plateau, which waits for val"),
        (["--labels", "5", "--seeds", "auto"], "--max-seeds is 10, but more seeds are for arms that val does not tell"),
        (["--labels", "5", "5"], "--labels names one of 5, 5 twice: name each once"),
        (["--labels", "0"], "--labels is '0', but "),
    ],
)
def test_what_labels_cannot_go_with_is_refused(flags, words, refusal, data, tmp_path):
    assert refusal(PHASE_2, *SMOKE, *data, "--out", str(tmp_path / "out"), *flags).startswith(words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("budgets", [["--labels", "2"], []])
def test_folds_that_no_search_is_judged_by_are_refused(budgets, refusal, write_tuned, tmp_path):
    write_tuned(tmp_path / "phase2", {"unet-4": 1e-3})
    (tmp_path / "study.yaml").write_text("folds: 3", encoding="utf-8")
    flags = [*budgets, "--config", str(tmp_path / "study.yaml")]
    for phase, start in ((PHASE_1, []), (PHASE_3, ["--from", str(tmp_path / "phase2")])):
        words = f"folds is 3, but folds judge a search, and {phase} has none: leave it out"
        assert refusal(phase, *flags, *start) == words


def test_what_val_tiles_tuned_does_not_say_how_long_to_train_without_them(refusal, write_tuned, tmp_path):
    write_tuned(tmp_path / "phase2", {"unet-4": 1e-3})
    words = refusal(PHASE_3, "--from", str(tmp_path / "phase2"), "--labels", "2")
    assert words.startswith(
        "--labels needs the number of epochs that folds chose, but phase2 tuned unet with val tiles"
    )


@pytest.mark.faults
def test_phases_with_labels_end_in_models_of_all_labels_that_are_tested(start, ray_address, tmp_path):
    root, out = tmp_path / "tiles", tmp_path / "runs" / "phase2"
    write_demo_tiles(root, size_px=128, num_train=3, num_val=2, num_test=2)
    labels = [path.stem for split in ("train", "val") for path in sorted((root / split / "masks").iterdir())]
    flags = [*SMOKE, "--data", str(root), "--labels", "3", "5", "--seeds", "2", "--test", "--grace-epochs", "2"]
    driver = start(STUDIES / "phase2_tuning.py", *flags, address=ray_address)
    assert "cross-validated in 3 or 5 folds" in driver.ends()
    assert driver.errors.read_text() == ""
    logs = read_logs(out)
    assert [arm.get("folds") for arm in logs.study["arms"]] == [3, 5]
    assert (sorted(logs.study["train_tiles"]), logs.study["val_tiles"]) == (sorted(labels), [])
    selection = json.loads((out / "selection.json").read_text(encoding="utf-8"))
    for arm, row in selection.items():
        trial = trials_of(out, arm)[row["number"]]
        assert row["judged"] == row["val_iou"] == trial.value == max(t.value for t in trials_of(out, arm) if t.value)
        held_out = logs.history[(logs.history["arm"] == arm) & (logs.history["stage"] == "search")]
        judged = held_out[[f"{logs.study['judged_metric']}/{tile}" for tile in labels]].dropna(axis="columns")
        assert judged.shape[1] == row["config"]["tiles"]
        folds = next(about["fold_tiles"] for about in logs.study["arms"] if about["arm"] == arm)
        assert {f"{logs.study['judged_metric']}/{tile}" for fold in folds for tile in fold} == set(judged)
        assert nested_iou(logs, arm) <= folds_iou(logs, arm)
        assert judged.mean(axis="columns").to_numpy() == pytest.approx(held_out[logs.study["judged_metric"]].to_numpy())
    models = json.loads((out / "models.json").read_text(encoding="utf-8"))
    for arm, row in models.items():
        for model in row["models"]:
            assert (model["val_iou"], model["epochs"]) == (None, selection[arm]["best_epoch"])
            assert len(model["test_tile_iou"]) == 2
            trained = load_model(out / "checkpoints" / model["run_arm"] / f"000{model['number']}" / "best.pt")
            assert (trained.config.fixed_epochs, trained.epoch) == (model["epochs"], model["epochs"])
    driver = start(STUDIES / "phase3_data_budget.py", "--from", "runs/phase2", "--test", address=ray_address)
    driver.ends()
    assert driver.errors.read_text() == ""
    later = read_logs(tmp_path / "runs" / "phase3")
    assert later.study["spec"]["labels"] == [5]  # of 5, 12 and 24 as many as there are
    assert set(later.models["best_epoch"]) == {selection["unet-5"]["best_epoch"]}
    assert later.models["test_iou"].notna().all()
