"""Whole studies on a real Ray, SQLite and W&B that nothing disturbs, and what they leave behind."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.trial import TrialState

from analysis.logs.wandb_files import read_logs
from analysis.logs.wandb_run import read_run
from analysis.report import write
from tests.studies.reports import scores_on_val, trials_of
from trainables.checkpoints import load_model
from trainables.config import TrialConfig

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "studies" / "phase2_tuning.py"
ARMS = ["unet-2", "unet-4"]
TRIALS = 2
ONE_WORKER = ["--cpus-per-trial", str(os.cpu_count())]
DEADLINE_SECONDS = 600
"""Ends a test that hangs; a study of two arms takes half a minute on two quiet cores."""


@pytest.fixture(scope="module")
def study(drivers, ray_address, dataset_root, tmp_path_factory):
    """The folder and the output of a study of one architecture and two budgets, as a person starts it elsewhere."""
    cwd = tmp_path_factory.mktemp("elsewhere")
    flags = f"--profile smoke --architectures unet --tiles 2 4 --seed 3 --trials {TRIALS} --seeds 0 --out runs/one"
    flags = [*flags.split(), "--data", str(dataset_root), "--address", ray_address]
    logs = tmp_path_factory.mktemp("said")
    output, errors = logs / "output", logs / "errors"
    drivers.start(SCRIPT, *flags, cwd=cwd, output=output, errors=errors, environment={"COLUMNS": "200"}).ends()
    assert errors.read_text(encoding="utf-8") == ""
    return cwd / "runs" / "one", output.read_text(encoding="utf-8")


def selection_of(out: Path) -> dict[str, Any]:
    selection: dict[str, Any] = json.loads((out / "selection.json").read_text(encoding="utf-8"))
    return selection


def table_of(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / "report" / "tables" / f"{name}.csv")


def test_study_leaves_what_the_design_says_and_nothing_else(study):
    out, output = study
    left = {"study.yaml", "optuna.db", "wandb", "checkpoints", "predictions", "selection.json", "report"}
    assert {path.name for path in out.iterdir()} == left
    assert [path.name for path in out.parent.iterdir()] == ["one"]
    assert [path.name for path in out.parent.parent.iterdir()] == ["runs"]
    assert f"[{len(ARMS) * TRIALS}/{len(ARMS) * TRIALS}]" in output
    assert re.search(r"about \d+ (s|min)", output)
    words = output.replace("\n", "")
    assert f"report    {out / 'report' / 'report.html'}" in words
    assert f"study     {out}" in words


def test_every_arm_has_its_allowance_in_the_ledger(study):
    trials = [trial for arm in ARMS for trial in trials_of(study[0], arm)]
    assert len(trials) == len(ARMS) * TRIALS
    for trial in trials:
        attributes = trial.user_attrs
        if attributes["outcome"] == "finished":
            assert trial.state == TrialState.COMPLETE
            assert trial.value == max(trial.intermediate_values.values())
        else:
            assert attributes["outcome"] == "stopped"
            assert trial.state == TrialState.PRUNED
            assert attributes["epochs"] == max(trial.intermediate_values)
        assert attributes["epochs"] == len(trial.intermediate_values)


def test_selection_is_the_best_finished_trial_with_its_signature_and_checkpoint(study, tiles):
    out, _ = study
    selection = selection_of(out)
    assert list(selection) == ARMS
    for arm, row in selection.items():
        finished = [t for t in trials_of(out, arm) if t.state == TrialState.COMPLETE]
        best = max(finished, key=lambda trial: (trial.value, -trial.number))
        assert (row["number"], row["judged"]) == (best.number, best.value)
        config = TrialConfig.model_validate_json(json.dumps(row["config"]))
        assert config.signature() == row["signature"] == best.user_attrs["signature"]
        trained = load_model(out / row["checkpoint"])
        assert trained.config == config
        again = scores_on_val(trained, tiles)
        assert again.scores.iou == pytest.approx(row["val_iou"], abs=1e-6)
    kept = sorted(str(path.relative_to(out)) for path in out.rglob("*.pt"))
    assert kept == sorted(row["checkpoint"] for row in selection.values())


def test_wandb_has_a_whole_run_per_trial_and_one_of_the_study(study):
    """Workers stay warm over arms: no more processes than there are cores ran all trials of all arms."""
    out, _ = study
    logs = read_logs(out)
    assert logs.notes == ()
    assert logs.study["study"] == "one"
    assert len(logs.runs) == len(ARMS) * TRIALS
    for arm in ARMS:
        by_number = logs.history[logs.history["arm"] == arm].groupby("number")["epoch"].max().to_dict()
        assert by_number == {t.number: t.user_attrs["epochs"] for t in trials_of(out, arm)}
    assert set(logs.images["arm"]) == set(ARMS)
    runs = [read_run(path, []) for path in out.glob("wandb/offline-run-*/run-*.wandb")]
    assert sorted(run.job_type for run in runs if run) == ["study", *["trial"] * len(ARMS) * TRIALS]
    workers = {run.config["worker"] for run in runs if run and run.job_type == "trial"}
    assert len(workers) <= (os.cpu_count() or 1)


def test_tables_need_nothing_but_the_wandb_files(study, tmp_path, monkeypatch):
    out, _ = study
    shutil.copytree(out / "wandb", tmp_path / "wandb", symlinks=True)
    monkeypatch.setattr(write, "render", lambda figure, kind: b"")  # figures take seconds
    write.write_report([tmp_path], tmp_path / "report")
    tables = sorted((out / "report" / "tables").iterdir())
    assert {"iou_by_architecture.csv", "cost.md"} <= {path.name for path in tables}
    for path in tables:
        assert (tmp_path / "report" / "tables" / path.name).read_bytes() == path.read_bytes()


def test_table_says_what_the_ledger_and_the_selection_say(study):
    out, _ = study
    keys = ["architecture", "tiles"]
    table = table_of(out, "iou_by_architecture").merge(table_of(out, "cost"), on=keys, validate="one_to_one")
    table = table.merge(table_of(out, "settings"), on=keys, validate="one_to_one")
    assert set(table["architecture"]) == {"unet (base width 16)"}
    rows = {f"unet-{row['tiles']}": row for row in table.to_dict("records")}
    assert rows.keys() == set(ARMS)
    for arm, selected in selection_of(out).items():
        row, trials = rows[arm], trials_of(out, arm)
        outcomes = [trial.user_attrs["outcome"] for trial in trials]
        assert (row["started"], row["failed"]) == (TRIALS, 0)
        assert (row["finished"], row["stopped"]) == (outcomes.count("finished"), outcomes.count("stopped"))
        assert row["epochs"] == sum(trial.user_attrs["epochs"] for trial in trials)
        assert row["val_iou"] == pytest.approx(selected["val_iou"])
        assert row["lr"] == pytest.approx(selected["config"]["lr"])
        assert row["augmentation"] == selected["config"]["augmentation"]


@pytest.mark.faults
def test_smoke_takes_a_frozen_encoder_through_every_step(data, dataset_root, tiles, tmp_path):
    """In processes of its own, with one trial: it also trains a final model, and opens no test tile."""
    flags = ["--profile", "smoke", *data, "--architectures", "sam_unet", "--trials", "1", *ONE_WORKER, "--out", "smoke"]
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), *flags],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    out = tmp_path / "smoke"
    (selected,) = json.loads((out / "selection.json").read_text(encoding="utf-8")).values()
    (trial,) = trials_of(out, "sam_unet-4")
    assert (trial.user_attrs["outcome"], trial.user_attrs["epochs"]) == ("finished", 2)
    assert set(selected["tile_iou"]) == set(tiles.val.ids)
    trained = load_model(out / selected["checkpoint"])
    assert (trained.config.architecture, trained.config.weights) == ("sam_unet", "none")
    assert trained.model.frozen_digest
    (model,) = json.loads((out / "models.json").read_text(encoding="utf-8"))["sam_unet-4"]["models"]
    assert model["run_arm"] == f"sam_unet-4-confirmation-{selected['signature'][:8]}"
    assert (model["state"], model["epochs"], model["test_iou"]) == ("finished", 2, None)
    assert set(model["val_tile_iou"]) == set(tiles.val.ids)
    assert not (out / "seal.jsonl").exists()
    assert not (dataset_root / "seal.jsonl").exists()
    assert list(table_of(out, "iou_by_architecture")["architecture"]) == ["sam_unet (small random encoder)"]
