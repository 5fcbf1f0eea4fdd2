"""What `python -m studies.status OUT` refuses, and that it changes nothing where it looks."""

import contextlib
import shutil
from pathlib import Path

import pytest
import yaml

from studies import status
from studies.files import folder, lock
from tests.studies.begun_study import Say, Study, fill_search, study_spec
from trainables.common.command import EXIT_USER_ERROR, run

# What cannot be told


def refusal(out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        run(lambda: status.main([str(out)]))
    assert end.value.code == EXIT_USER_ERROR
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error.removeprefix("error: ").rstrip()


def test_folder_without_a_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in (tmp_path, tmp_path / "nowhere"):
        words = f"{out} holds no study (no study.yaml in it): give the folder of one that has begun"
        assert refusal(out, capsys) == words
    long = tmp_path / ("x" * 300)
    assert "must be a shorter path" in refusal(long, capsys)
    assert list(tmp_path.iterdir()) == []


def test_study_whose_ledger_is_gone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Study(tmp_path).ledger.close()
    (tmp_path / "optuna.db").unlink()
    words = f"{tmp_path / 'optuna.db'} is gone, but holds what was done: put it back"
    assert refusal(tmp_path, capsys).startswith(words)
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize("tear", ["middle", "half", "other"])
def test_torn_ledger_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tear: str
) -> None:
    Study(tmp_path).ledger.close()
    path = tmp_path / "optuna.db"
    content = path.read_bytes()
    pages = len(content) // 4096
    torn = {
        "middle": content[: 4096 * 5] + bytes(range(256)) * 16 * (pages - 8) + content[4096 * (pages - 3) :],
        "half": content[: len(content) // 2],
        "other": b"no database at all" * 1000,
    }[tear]
    path.write_bytes(torn)
    words = refusal(tmp_path, capsys)
    assert words.startswith(f"{path} is damaged or no ledger (")
    assert words.endswith("): put a whole copy of it back, or start in another folder")
    assert path.read_bytes() == torn


def test_ledger_of_another_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Study(tmp_path).ledger.close()
    folder.write_study(tmp_path, study_spec(), {"study_id": "beef", "segments": []})
    assert refusal(tmp_path, capsys) == (
        f"{tmp_path / 'optuna.db'} is not the ledger of study.yaml beside it: put that one back, or start in another "
        "folder"
    )


def test_spec_without_its_provenance_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Study(tmp_path).ledger.close()
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study_spec().flat()), encoding="utf-8")
    assert refusal(tmp_path, capsys) == (
        f"{tmp_path / 'study.yaml'} does not tell where the study came from: put the study's own file back"
    )


# That it only looks


def content(out: Path) -> dict[str, tuple[bytes, int]]:
    """Every file but those that SQLite keeps beside its own."""
    return {
        str(path.relative_to(out)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("optuna.db-wal", "optuna.db-shm")
    }


@pytest.mark.parametrize("is_running", [True, False])
def test_nothing_in_the_folder_changes(tmp_path: Path, say: Say, is_running: bool) -> None:
    study = Study(tmp_path)
    fill_search(study)
    study.select()
    (tmp_path / "seal.jsonl").write_text('{"event": "op', encoding="utf-8")
    with lock.only_driver(tmp_path) if is_running else contextlib.nullcontext():
        if not is_running:
            study.ledger.close()
        before = content(tmp_path)
        assert {"optuna.db", "study.yaml", "selection.json", "seal.jsonl"} <= before.keys()
        say(tmp_path)
        assert content(tmp_path) == before


def test_state_after_a_kill_is_told_from_the_write_ahead_log(tmp_path: Path, say: Say) -> None:
    """What was on record then lies beside the database: a copy of all files is what a killed driver leaves."""
    study = Study(tmp_path / "study")
    fill_search(study)
    assert (study.out / "optuna.db-wal").stat().st_size > 0
    killed = tmp_path / "killed" / "study"
    shutil.copytree(study.out, killed)
    before = content(killed)
    assert say(killed).replace(str(killed), "OUT") == say(study.out).replace(str(study.out), "OUT")
    after = content(killed)
    after.pop("optuna.db"), before.pop("optuna.db")  # SQLite's recovery is its own affair
    assert after == before
    assert say(killed).replace(str(killed), "OUT") == say(study.out).replace(str(study.out), "OUT")
