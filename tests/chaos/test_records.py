"""The check of faults can fail: whatever is deleted from a study's record or changed there is seen as a loss."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from searchspace.spaces import space_for
from studies.search.ledger import Ledger

POINT = {"lr": 1e-3, "augmentation": "LIGHT", "decoder_dropout": 0.1, "bce_weight": 0.5}


@pytest.fixture
def records(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import records

    return records


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study's folder: a trial that was stopped after three epochs, one that is open, and an opened test set."""
    out = tmp_path_factory.mktemp("study")
    ledger = Ledger(out / "optuna.db", {"unet-2": "unet"}, study_id="ours")
    for number in range(2):
        ledger.add("unet-2", POINT, space_for("unet"), {"signature": f"s{number}", "config": "{}"})
        for epoch in range(1, 4):
            ledger.report("unet-2", number, epoch, 0.1 * epoch)
    ledger.end("unet-2", 0, "stopped", None, {"reason": "below the best 1/2 at rung 3", "epochs": 3})
    ledger.close()
    lines = [{"event": event, "at": "2025", "hash": event} for event in ("opened", "result")]
    folder = out / "checkpoints" / "unet-2-confirmation-0123abcd" / "0000"
    folder.mkdir(parents=True)
    (folder / "val_scores.json").write_text('{"scores": {"iou": 0.5}}', encoding="utf-8")
    (out / "seal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return out


@pytest.fixture
def out(study, tmp_path):
    return Path(shutil.copytree(study, tmp_path / "study"))


def execute(statement: str) -> Callable[[Path], None]:
    def act(out: Path) -> None:
        connection = sqlite3.connect(out / "optuna.db")
        assert connection.execute(statement).rowcount > 0
        connection.commit()
        connection.close()

    return act


def cut_register(out: Path) -> None:
    path = out / "seal.jsonl"
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (execute("DELETE FROM trials WHERE number = 1"), "trials"),
        (execute("UPDATE trial_params SET param_value = 0.2 WHERE param_name = 'lr' AND trial_id = 1"), "trials"),
        (execute("DELETE FROM trial_intermediate_values WHERE trial_id = 2 AND step = 3"), "epochs"),
        (execute("UPDATE trial_intermediate_values SET intermediate_value = 0.9 WHERE step = 1"), "epochs"),
        (execute("DELETE FROM trial_user_attributes WHERE key = 'outcome'"), "decisions"),
        (execute("UPDATE trial_user_attributes SET value_json = '\"finished\"' WHERE key = 'outcome'"), "decisions"),
        (execute("UPDATE trials SET state = 'RUNNING' WHERE number = 0"), "decisions"),
        (lambda out: shutil.move(out / "optuna.db", out / "elsewhere.db"), "trials"),
        (cut_register, "register lines"),
        (lambda out: next(out.rglob("val_scores.json")).unlink(), "scores"),
        (lambda out: next(out.rglob("val_scores.json")).write_text('{"scores": {"iou": 0.6}}'), "scores"),
    ],
)
def test_losses_are_seen(records, out, damage, lost):
    before = records.take(out, [out / "seal.jsonl"])
    assert len(before.trials) == 2
    assert records.losses(before, records.take(out, [out / "seal.jsonl"]))[1] == []
    damage(out)
    counted, words = records.losses(before, records.take(out, [out / "seal.jsonl"]))
    assert set(counted) == {lost}
    assert len(words) == sum(counted.values()) > 0


def test_what_is_added_is_no_loss(records, out):
    before = records.take(out, [])
    ledger = Ledger(out / "optuna.db", {"unet-2": "unet"}, study_id="ours")
    ledger.report("unet-2", 1, 4, 0.5)
    ledger.end("unet-2", 1, "finished", 0.5, {"reason": "epochs"})
    ledger.add("unet-2", POINT, space_for("unet"), {"signature": "s2", "config": "{}"})
    ledger.close()
    assert records.losses(before, records.take(out, []))[1] == []


def test_a_running_study_is_looked_at_without_waiting(records, out):
    assert records.look(out / "nothing") == {}
    ledger = Ledger(out / "optuna.db", {"unet-2": "unet"}, study_id="ours")
    ledger.report("unet-2", 1, 4, 0.5)
    assert records.look(out)["unet-2", 1].epoch == 4
    ledger.close()
