"""What `python -m studies.status OUT` says and refuses, and that it changes nothing where it looks."""

import contextlib
import json
import os
import platform
import re
import shutil
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from studies import status
from studies.files import folder, lock
from studies.search.coordinator import Coordinator
from studies.search.plans import Search
from tests.studies.begun_study import CONV, UNET, Study, fill_search, study_spec
from tests.studies.command_lines import refusal_of
from tests.studies.reports import epoch_report


def test_every_kind_of_trial_is_told_at_80_columns(tmp_path, say):
    study = Study(tmp_path / "runs")
    fill_search(study)
    unet, conv = study.confirm(UNET, CONV)
    study.epochs(study.begin(), [0.5, 0.6, 0.7])
    study.begin()
    study.begin()
    began = folder.load_settings(study.out / folder.STUDY)[1]["segments"][0]["began"]
    expected = f"""\
runs: not running; began {began}; judged by val/iou_center128
arm                       done stopped failed open left     best epochs   time
──────────────────────────────────────────────────────────────────────────────
unet-24                      1       1      3 #5·2    0 0.612 #0   9 +1 15m00s
  retrained {unet.confirms[:6]}           1       0      0 #1·0    0 0.700 #0      3  5m00s
deeplabv3plus_resnet34-24    1       1      3 #5·2    0 0.612 #0   9 +1 15m00s
  retrained {conv.confirms[:6]}           0       0      0 #0·0    1        –      0     0s
unet-24: 1 × stopped: below the best 1/2 at rung 1
unet-24: 1 × diverged: the training loss is nan in epoch 2
unet-24: 1 × out of memory: out of memory on cuda: 80 GiB
unet-24: 1 × failed: OSError: [/data/x.tif] is no [image] :x:
deeplabv3plus_resnet34-24: 1 × stopped: below the best 1/2 at rung 1
deeplabv3plus_resnet34-24: 1 × diverged: the training loss is nan in epoch 2
deeplabv3plus_resnet34-24: 1 × out of memory: out of memory on cuda: 80 GiB
deeplabv3plus_resnet34-24: 1 × failed: KeyError: 'roof'
resume with --out {study.out} --resume"""
    assert say(study.out) == expected


def test_table_is_cut_nowhere_however_much_is_in_it(tmp_path, say):
    study = Study(tmp_path, architectures=["deeplabv3plus_resnet34"], tiles=[1024], trials=4321, epochs=1000)
    (arm,) = study.spec.arms()
    for number in range(12):
        trial = study.begin()
        study.ledger.note(arm.name, number, "cost", {"seconds": 360000.0, "lost": [11, 0.0]})
        study.ledger.report(arm.name, number, 998, 0.9)
        if number < 4:
            study.coordinator.report(trial, epoch_report(999, 0.9, best_epoch=1, ended="early", seconds=360000.0))
    head, _, body = say(tmp_path).partition("─" * 80 + "\n")
    rows, header = body.splitlines()[:-1], head.splitlines()[-1]
    assert max(map(len, rows)) <= 80
    ends = [found.end() for found in re.finditer(r"\w+", header)]
    ends[0] = len(arm.name)
    cells = ["".join(row[start:end].strip() for row in rows) for start, end in pairwise(ends)]
    running = "".join(f"#{number}·998" for number in range(4, 12))
    assert cells == ["4", "0", "0", running, "4309", "0.900#0", "16 +88", "1200h00m"]


def test_most_frequent_reasons_come_first_and_no_more_than_four(tmp_path, say):
    study = Study(tmp_path, architectures=["unet"], trials=12)
    for reason, count in (("a", 1), ("b", 2), ("c", 1), ("d", 3), ("e", 1)):
        for _ in range(count):
            study.coordinator.fail(study.begin(), "failed", reason)
    lines = [line for line in say(tmp_path).splitlines() if " × " in line]
    words = ("3 × failed: d", "2 × failed: b", "1 × failed: a", "1 × failed: c")
    assert lines == [f"unet-24: {text}" for text in words]


# Who drives, and whether there is something left


@pytest.fixture
def state(say):
    """What the first line says of a study's state."""
    return lambda out: say(out).splitlines()[0].partition(": ")[2].partition("; began")[0]


def test_running_study_tells_its_driver_and_not_how_to_go_on(tmp_path, say, state):
    study = Study(tmp_path)
    began = folder.load_settings(tmp_path / folder.STUDY)[1]["segments"][0]["began"]
    study.begin()
    study.start_again()
    study.start_again()
    with lock.only_driver(tmp_path):
        text = say(tmp_path)
    driver = f"running: process {os.getpid()} on {platform.node()} since {datetime.now(UTC).date()}T"
    assert text.startswith(f"{tmp_path.name}: {driver}")
    assert f"; began {began}, started 3 times; judged by" in text
    assert "--resume" not in text
    assert state(tmp_path) == "not running"


def test_search_is_complete_when_its_selection_is_written(tmp_path, say, state):
    study = Study(tmp_path, seeds=0, trials=2)
    study.epochs(study.begin(), [0.3, 0.5, 0.6])
    study.select()
    assert state(tmp_path) == "not running"  # trials are to come
    study.finish()
    study.select()
    assert state(tmp_path) == "complete"
    assert "--resume" not in say(tmp_path)
    study.start_again(trials=3, seeds=0)
    assert state(tmp_path) == "not running"
    study.coordinator = Coordinator(study.spec, study.ledger, Search(study.spec))
    study.epochs(study.begin(), [0.9, 0.9, 0.9])
    study.finish()
    assert state(tmp_path) == "not running"  # the selection that is there is of fewer trials
    study.search = study.coordinator
    study.select()
    assert state(tmp_path) == "complete"


def test_confirmation_is_complete_when_every_arm_is_tested(tmp_path, state):
    study = Study(tmp_path, trials=2)
    study.finish()
    study.select()
    assert state(tmp_path) == "not running"
    study.confirm(UNET, CONV)
    study.epochs(study.begin(), [0.5, 0.6, 0.7])
    rows = {arm: {"test_iou": 0.5, "models": [{}, {}]} for arm in ("unet-24", "deeplabv3plus_resnet34-24")}
    folder.write_json(tmp_path / "models.json", rows)
    assert state(tmp_path) == "not running"  # its trials are not done, whatever the file says
    study.finish()
    folder.write_json(tmp_path / "models.json", {"unet-24": rows["unet-24"]})
    assert state(tmp_path) == "not running"  # killed between two arms
    folder.write_json(tmp_path / "models.json", rows)
    assert state(tmp_path) == "complete"
    study.start_again(trials=2, seeds=3)
    assert state(tmp_path) == "not running"
    study.confirm(UNET, CONV)
    study.finish()
    assert state(tmp_path) == "not running"  # tested with two seeds
    rows = {arm: {"test_iou": None, "models": [{}] * 3} for arm in rows}
    folder.write_json(tmp_path / "models.json", rows)
    assert state(tmp_path) == "not running"  # scored on val alone
    study.start_again(trials=2, seeds=3, test=False)  # as the study began: then that is all
    assert state(tmp_path) == "complete"


def test_other_phases_count_their_own_allowances(tmp_path, say, state):
    """Every subset of the smaller budget with every seed; the largest has one subset."""
    point = {"lr": 1e-3, "augmentation": "LIGHT", "decoder_dropout": 0.1, "bce_weight": 0.5}
    chosen = {"unet": {"point": point, "tiles": 24, "study": "phase2", "signature": "f0", "val_iou": 0.5}}
    chosen["unet"] |= {"study_id": "f00", "profile": "quick", "tiles_digest": "d16e57"}
    settings = {"phase": "phase3_data_budget", "chosen": chosen, "architectures": ["unet"], "tiles": [5, 24]}
    study = Study(tmp_path, **settings, test=False)
    study.epochs(study.begin(), [0.3, 0.4, 0.5])
    rows = [line.split() for line in say(tmp_path).splitlines() if line.startswith("unet-")]
    assert [(row[0], row[1], row[5]) for row in rows] == [("unet-5", "1", "3"), ("unet-24", "0", "2")]
    study.finish()
    scores = {"unet-5": {"test_iou": None, "models": [{}] * 4}, "unet-24": {"test_iou": None, "models": [{}]}}
    folder.write_json(tmp_path / "models.json", scores)
    assert state(tmp_path) == "not running"
    scores["unet-24"]["models"] = [{}, {}]
    folder.write_json(tmp_path / "models.json", scores)
    assert state(tmp_path) == "complete"


def test_grid_is_complete_with_its_own_choice(tmp_path, say, state):
    """What a grid selects need not be its best trial: 4 values with 2 seeds each."""
    study = Study(tmp_path, architectures=["unet"], vary="decoder_dropout", test=False)
    assert re.search(r"^unet-24( +\d+){3} +– +8 ", say(tmp_path), re.MULTILINE)
    for number in range(8):
        study.epochs(study.begin(), [0.1, 0.2, {1: 0.8, 3: 0.9, 5: 0.7}.get(number, 0.3)])
    assert study.search.selection(UNET).number == 5  # of the value with the best mean
    study.select()
    study.confirm(UNET)
    study.finish()
    folder.write_json(tmp_path / "models.json", {"unet-24": {"test_iou": None, "models": [{}, {}]}})
    assert state(tmp_path) == "complete"


def test_study_in_which_nothing_could_be_tested_or_selected_is_complete(tmp_path, state):
    study = Study(tmp_path / "tested", architectures=["unet"], trials=2)
    study.finish()
    study.select()
    study.confirm(UNET)
    nothing = Study(tmp_path / "selected", architectures=["unet"], trials=2)
    for one in (study, nothing):
        for _ in range(2):
            one.coordinator.fail(one.begin(), "failed", "KeyError: 'roof'")
    nothing.select()
    assert state(study.out) == state(nothing.out) == "complete"


def test_openings_of_the_test_tiles_are_told(tmp_path, say):
    Study(tmp_path)
    lines = [
        {"event": "opened", "at": "2026-11-20T10:00:00.123456+00:00"},
        {"event": "reopened", "at": "2026-11-20T11:00:00+00:00", "why": "a [/crash]"},
        {"event": "result", "at": "2026-11-20T12:00:00+00:00"},
    ]
    register = "".join(json.dumps(line | {"arm": "unet-24", "attempt": "f0"}) + "\n" for line in lines)
    (tmp_path / "seal.jsonl").write_text(register + '{"event": "opened", "ar', encoding="utf-8")
    assert [line for line in say(tmp_path).splitlines() if line.startswith("test tiles")] == [
        "test tiles: opened for unet-24 (attempt f0) at 2026-11-20T10:00:00.123456+00:00",
        "test tiles: reopened for unet-24 (attempt f0) at 2026-11-20T11:00:00+00:00: a [/crash]",
        "test tiles: result for unet-24 (attempt f0) at 2026-11-20T12:00:00+00:00",
    ]


# What is refused


def test_folder_without_a_study_is_refused(tmp_path, capsys):
    for out in (tmp_path, tmp_path / "nowhere"):
        words = f"{out} holds no study (no study.yaml in it): give the folder of one that has begun"
        assert refusal_of(lambda out=out: status.main([str(out)]), capsys) == words
    long = tmp_path / ("x" * 300)
    assert "must be a shorter path" in refusal_of(lambda: status.main([str(long)]), capsys)
    assert list(tmp_path.iterdir()) == []


def tear(out: Path) -> None:
    """Puts other pages into the middle of the ledger."""
    whole = (out / "optuna.db").read_bytes()
    num_pages = len(whole) // 4096
    torn = whole[: 4096 * 5] + bytes(range(256)) * 16 * (num_pages - 8) + whole[4096 * (num_pages - 3) :]
    (out / "optuna.db").write_bytes(torn)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda out: (out / "optuna.db").unlink(), "optuna.db is gone, but holds what was done: put it back"),
        (tear, "optuna.db is damaged or no ledger ("),
        (
            lambda out: folder.write_study(out, study_spec(), {"study_id": "beef", "segments": []}),
            "optuna.db is not the ledger of study.yaml beside it: put that one back",
        ),
        (
            lambda out: (out / "study.yaml").write_text(yaml.safe_dump(study_spec().flat()), encoding="utf-8"),
            "study.yaml does not tell where the study came from: put the study's own file back",
        ),
    ],
)
def test_damaged_study_is_refused_and_left_as_it_is(damage, words, tmp_path, capsys):
    Study(tmp_path).ledger.close()
    damage(tmp_path)
    before = content(tmp_path)
    assert refusal_of(lambda: status.main([str(tmp_path)]), capsys).startswith(f"{tmp_path}/{words}")
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
