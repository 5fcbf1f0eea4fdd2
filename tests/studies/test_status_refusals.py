"""What `python -m studies.status OUT` refuses, and that it changes nothing where it looks."""

import contextlib
import shutil
from pathlib import Path

import pytest
import yaml

from studies import status
from studies.files import folder, lock
from tests.studies.begun_study import Study, study_spec
from tests.studies.command_lines import refusal_of


def test_folder_without_a_study_is_refused(tmp_path, capsys):
    for out in (tmp_path, tmp_path / "nowhere"):
        words = f"{out} holds no study (no study.yaml in it): give the folder of one that has begun"
        assert refusal_of(lambda out=out: status.main([str(out)]), capsys) == words
    long = tmp_path / ("x" * 300)
    assert "must be a shorter path" in refusal_of(lambda: status.main([str(long)]), capsys)
    assert list(tmp_path.iterdir()) == []


def torn(content: bytes) -> bytes:
    """A ledger with other pages in its middle."""
    num_pages = len(content) // 4096
    return content[: 4096 * 5] + bytes(range(256)) * 16 * (num_pages - 8) + content[4096 * (num_pages - 3) :]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no ledger", "{out}/optuna.db is gone, but holds what was done: put it back"),
        ("torn ledger", "{out}/optuna.db is damaged or no ledger ("),
        ("another's ledger", "{out}/optuna.db is not the ledger of study.yaml beside it: put that one back"),
        ("no provenance", "{out}/study.yaml does not tell where the study came from: put the study's own file back"),
    ],
)
def test_damaged_study_is_refused_and_left_as_it_is(fault, words, tmp_path, capsys):
    Study(tmp_path).ledger.close()
    ledger = tmp_path / "optuna.db"
    if fault == "no ledger":
        ledger.unlink()
    elif fault == "torn ledger":
        ledger.write_bytes(torn(ledger.read_bytes()))
    elif fault == "another's ledger":
        folder.write_study(tmp_path, study_spec(), {"study_id": "beef", "segments": []})
    else:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study_spec().flat()), encoding="utf-8")
    before = content(tmp_path)
    assert refusal_of(lambda: status.main([str(tmp_path)]), capsys).startswith(words.format(out=tmp_path))
    assert content(tmp_path) == before


# That it only looks


def content(out: Path) -> dict[str, tuple[bytes, int]]:
    """Every file but those that SQLite keeps beside its own."""
    return {
        str(path.relative_to(out)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("optuna.db-wal", "optuna.db-shm")
    }


@pytest.mark.parametrize("is_running", [True, False])
def test_nothing_in_the_folder_changes(tmp_path, say, is_running):
    study = Study(tmp_path)
    study.epochs(study.begin(), [0.3, 0.5, 0.6])
    study.epochs(study.begin(), [0.4])
    study.select()
    (tmp_path / "seal.jsonl").write_text('{"event": "op', encoding="utf-8")
    with lock.only_driver(tmp_path) if is_running else contextlib.nullcontext():
        if not is_running:
            study.ledger.close()
        before = content(tmp_path)
        assert {"optuna.db", "study.yaml", "selection.json", "seal.jsonl"} <= before.keys()
        say(tmp_path)
        assert content(tmp_path) == before


def test_state_after_a_kill_is_told_from_the_write_ahead_log(tmp_path, say):
    """What was on record then lies beside the database: a copy of all files is what a killed driver leaves."""
    study = Study(tmp_path / "study")
    study.epochs(study.begin(), [0.3, 0.5, 0.6])
    study.epochs(study.begin(), [0.4])
    assert (study.out / "optuna.db-wal").stat().st_size > 0
    killed = tmp_path / "killed" / "study"
    shutil.copytree(study.out, killed)
    before = content(killed)
    assert say(killed).replace(str(killed), "OUT") == say(study.out).replace(str(study.out), "OUT")
    after = content(killed)
    after.pop("optuna.db"), before.pop("optuna.db")  # SQLite's recovery is its own affair
    assert after == before
    assert say(killed).replace(str(killed), "OUT") == say(study.out).replace(str(study.out), "OUT")
