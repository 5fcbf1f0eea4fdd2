"""The seal: one look per attempt, on record before it happens, whatever is killed, moved, changed or run beside it."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import trainables.data.decode as decode_module
import trainables.data.sealed as sealed_module
from studies.seal.register import when
from studies.seal.seal import Attempt, Openings, Seal
from trainables.common.errors import UserError
from trainables.data.dataset import read_dataset

UNET = Attempt(arm="unet 5", signatures=("aa", "bb"))
SAM = Attempt(arm="sam_conv 5", signatures=("cc", "dd"))
RESULT = {"test/iou": 0.75, "tiles": {"test_0": 0.7}}


@pytest.fixture
def root(tmp_path, write_rgb) -> Path:
    return write_rgb(tmp_path / "tiles", counts={"train": 1, "val": 1, "test": 2})


def make(root: Path, study: str = "one") -> Seal:
    return Seal(read_dataset(root), out=root.parent / "runs" / study, study=study, study_id=f"id of {study}")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(UserError) as error:
        call(*args, **kwargs)
    return str(error.value)


def flip_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def relabel(path: Path) -> None:
    """Changes a mask that stays a good one."""
    mask = np.array(Image.open(path))
    mask[0, 0] = 255 - mask[0, 0]
    Image.fromarray(mask).save(path)


def time_of(root: Path, number: int = 0) -> str:
    return when(lines_of(root / "seal.jsonl")[number])


# Attempts


def test_attempt_is_its_signatures_in_any_order_and_arm():
    assert Attempt(arm="x", signatures=("bb", "aa")).id == UNET.id
    assert Attempt(arm="unet 5", signatures=("aa",)).id != UNET.id
    assert Attempt(arm="unet 5", signatures=("aa", "bb"), tiles="other bands").id != UNET.id
    assert len(UNET.id) == 16
    assert int(UNET.id, 16) >= 0


# Opening


def test_open_gives_the_test_tiles_and_leaves_a_line(root):
    tiles = make(root).open(UNET)
    assert tiles.ids == ("test_0", "test_1")
    assert np.array_equal(tiles.images[1], np.array(Image.open(root / "test/images/test_1.png")))
    (line,) = lines_of(root / "seal.jsonl")
    assert lines_of(root.parent / "runs/one/seal.jsonl") == [line]
    assert line["event"] == "opened"
    assert (line["attempt"], line["arm"], line["signatures"]) == (UNET.id, "unet 5", ["aa", "bb"])
    assert (line["study"], line["study_id"]) == ("one", "id of one")
    assert list(line["tiles"]) == ["test_0", "test_1"]
    assert "why" not in line


def test_open_is_on_record_before_the_first_test_pixel_is_read(root, monkeypatch, user_data):
    seen = []
    original = decode_module.read_pixels

    def read(path):
        if root / "test" not in path.parents:
            return original(path)
        files = [root / "seal.jsonl", *user_data.glob("fewtile/seals/*.jsonl"), root.parent / "runs/one/seal.jsonl"]
        seen.append([[line["attempt"] for line in lines_of(file)] for file in files])
        return original(path)

    monkeypatch.setattr(decode_module, "read_pixels", read)
    make(root).open(UNET)
    assert seen == [[[UNET.id]] * 3] * 4


def test_open_decodes_nothing_where_it_cannot_be_recorded(root, monkeypatch, user_data):
    monkeypatch.setattr(decode_module, "read_pixels", lambda path: pytest.fail(f"{path} was decoded"))
    seal = make(root)
    (root / "seal.jsonl").mkdir()
    assert refusal(seal.open, UNET).startswith(f"{root / 'seal.jsonl'} cannot be read (Is a directory)")
    (root / "seal.jsonl").rmdir()
    monkeypatch.setattr("studies.seal.register.locked", lambda path: (_ for _ in ()).throw(OSError(30, "Read-only")))
    assert refusal(seal.open, UNET).startswith(f"neither {root / 'seal.jsonl'} (Read-only) nor {user_data}")


def test_open_of_an_attempt_with_a_result_is_refused_and_the_result_returned(root):
    seal = make(root)
    assert seal.recorded(UNET) is None
    seal.open(UNET)
    assert seal.recorded(UNET) is None
    seal.record(UNET, RESULT)
    again = make(root, "two")
    assert again.recorded(UNET) == RESULT
    assert again.recorded(SAM) is None
    assert refusal(again.open, UNET).startswith(f"unet 5 has a test result since {time_of(root, 1)} (study one)")
    assert len(lines_of(root / "seal.jsonl")) == 2


def test_open_with_a_reason_is_told_and_its_result_is_the_latest(root):
    seal = make(root)
    seal.open(UNET)
    seal.record(UNET, RESULT)
    assert len(seal.open(UNET, reopen=" the metric was wrong ")) == 2
    assert seal.recorded(UNET) == RESULT
    seal.record(UNET, {"test/iou": 0.5})
    assert seal.recorded(UNET) == {"test/iou": 0.5}
    line = lines_of(root / "seal.jsonl")[2]
    assert (line["event"], line["why"]) == ("reopened", "the metric was wrong")
    assert seal.history() == Openings(1, 1, ((UNET.id, "the metric was wrong"),))


def test_open_records_no_reason_where_none_is_needed(root):
    seal = make(root)
    seal.open(UNET, reopen="for another arm")
    assert lines_of(root / "seal.jsonl")[0]["event"] == "opened"
    assert seal.history().reopened == ()


@pytest.mark.parametrize("blank", [" ", "\n\t "])
def test_a_blank_reason_is_refused(root, blank):
    seal = make(root)
    text = f"--reopen is {blank!r}, but the record needs a reason: write why in a few words"
    assert refusal(seal.check, reopen=blank) == text
    assert refusal(seal.open, UNET, reopen=blank) == text
    assert not (root / "seal.jsonl").exists()


def test_record_needs_an_opening_for_each_result(root):
    seal = make(root)
    with pytest.raises(AssertionError, match="each result needs an opening of its own"):
        seal.record(UNET, RESULT)
    seal.open(UNET)
    seal.record(UNET, RESULT)
    with pytest.raises(AssertionError, match="each result needs an opening of its own"):
        seal.record(UNET, RESULT)


def test_a_dataset_without_test_tiles_is_refused(root):
    shutil.rmtree(root / "test")
    assert refusal(make, root).startswith(f"{root / 'test' / 'images'} holds no tiles")


# Crashes

OPENS = """
import os, signal, sys
from pathlib import Path
import trainables.data.decode
from studies.seal.seal import Attempt, Seal
from trainables.data.dataset import read_dataset
from trainables.common.errors import UserError

root, study, is_killed = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "killed"
seal = Seal(read_dataset(root), out=root.parent / "runs" / study, study=study, study_id=f"id of {study}")
if is_killed:
    trainables.data.decode.read_pixels = lambda path: os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
sys.stdin.readline()
try:
    seal.open(Attempt(arm="unet 5", signatures=("aa", "bb")))
except UserError:
    sys.exit(2)
"""


def start(root: Path, study: str, how: str = "whole") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPENS, str(root), study, how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_look_that_was_killed_is_on_record_and_needs_a_reason(root):
    process = start(root, "one", "killed")
    process.communicate("go\n", timeout=60)
    assert process.returncode == -signal.SIGKILL
    seal = make(root)
    assert seal.check() == ()
    assert seal.recorded(UNET) is None
    opened = f"unet 5 opened the test tiles {time_of(root)} (study one) and left no result"
    assert refusal(seal.open, UNET).startswith(opened)
    assert seal.open(UNET, reopen="the node died").ids == ("test_0", "test_1")
    seal.record(UNET, RESULT)
    assert seal.recorded(UNET) == RESULT
    assert seal.history() == Openings(1, 1, ((UNET.id, "the node died"),))


def test_of_processes_that_open_the_same_attempt_one_may(root):
    processes = [start(root, study) for study in ("x", "y", "z")]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert sorted(process.returncode for process in processes) == [0, 2, 2]
    assert len(lines_of(root / "seal.jsonl")) == 1


# Other studies, other places


def test_a_second_study_on_the_same_tiles_is_counted(root):
    one, two = make(root), make(root, "two")
    assert one.history() == Openings(0, 0, ())
    one.open(UNET)
    one.open(SAM)
    two.open(Attempt(arm="unet 5", signatures=("ee",)))
    assert one.history() == two.history() == Openings(3, 2, ())
    assert [line["study"] for line in lines_of(root.parent / "runs/two/seal.jsonl")] == ["two"]


def test_two_studies_of_one_name_are_two(root):
    make(root).open(UNET)
    Seal(read_dataset(root), out=root.parent / "elsewhere", study="one", study_id="another").open(SAM)
    assert make(root).history().num_studies == 2


def test_a_copy_of_the_tiles_remembers(root, tmp_path):
    make(root).open(UNET)
    make(root).record(UNET, RESULT)
    for folder in ("train", "val", "test"):
        shutil.copytree(root / folder, tmp_path / "elsewhere/tiles" / folder)
    copy = make(tmp_path / "elsewhere/tiles", "two")
    (note,) = copy.check()
    assert note.startswith("1 opening of these tiles is recorded in ")
    assert note.endswith(f" but not in {tmp_path / 'elsewhere/tiles/seal.jsonl'}")
    assert copy.recorded(UNET) == RESULT
    assert refusal(copy.open, UNET).startswith("unet 5 has a test result since ")
    assert copy.history() == Openings(1, 1, ())


def test_lines_that_only_the_study_still_holds_are_noticed(root, user_data):
    make(root).open(UNET)
    (root / "seal.jsonl").unlink()
    shutil.rmtree(user_data)
    for call in (make(root).check, make(root).history, lambda: make(root).open(SAM), lambda: make(root).recorded(UNET)):
        assert refusal(call).startswith(f"{root.parent / 'runs/one/seal.jsonl'} holds a line (opened ")


def test_check_remembers_lines_that_came_with_the_tiles(root, user_data):
    make(root).open(UNET)
    shutil.rmtree(user_data)
    make(root, "two").check()
    (root / "seal.jsonl").unlink()
    assert make(root, "two").history() == Openings(1, 1, ())


# Changed tiles


def test_check_of_unopened_tiles_tells_nothing_and_leaves_no_record(root, user_data):
    assert make(root).check() == ()
    relabel(root / "test/masks/test_0.png")
    assert make(root).check() == ()
    assert [path for path in root.parent.rglob("*.jsonl") if path.stat().st_size] == []


def cut(root: Path) -> str:
    path = root / "test/images/test_1.png"
    path.write_bytes(path.read_bytes()[:500])
    return f"{path} is damaged or truncated: replace it"


def mark(root: Path) -> str:
    path = root / "test/masks/test_1.png"
    Image.fromarray(np.full((64, 64), 3, np.uint8)).save(path)
    return f"{path} holds the value 3, but a mask of 2 classes may hold 0 and 1 (or 255): "


def void(root: Path) -> str:
    path = root / "test/masks/test_0.png"
    Image.fromarray(np.eye(64, dtype=np.uint8)).save(path)
    return (
        f"{path} holds 1 and {root / 'train/masks/train_0.png'} holds 255, but the foreground must be the same value "
    )


@pytest.mark.parametrize("spoil", [cut, mark, void])
def test_check_refuses_test_tiles_that_would_end_the_study_and_leaves_no_record(root, spoil):
    words = spoil(root)
    assert refusal(make(root).check).startswith(words)
    assert [path for path in root.parent.rglob("*.jsonl") if path.stat().st_size] == []


def test_check_holds_one_test_tile_at_a_time(root, monkeypatch):
    decoded = []
    original = sealed_module.decode_files
    monkeypatch.setattr(sealed_module, "decode_files", lambda tiles, *a: decoded.append(tiles) or original(tiles, *a))
    make(root).check()
    assert [[tile.id for tile in tiles] for tiles in decoded] == [["test_0"], ["test_1"]]


def test_a_changed_byte_is_refused_until_it_is_put_back(root):
    make(root).open(UNET)
    flip_last_byte(root / "test/masks/test_1.png")
    text = (
        f"the test tiles of {root} changed since study one opened them {time_of(root)} (test_1 was changed): "
        'put them back, or continue with --reopen "why"'
    )
    assert refusal(make(root, "two").check) == text
    assert refusal(make(root, "two").open, SAM) == text
    flip_last_byte(root / "test/masks/test_1.png")
    assert make(root, "two").check() == ()
    make(root, "two").open(SAM)


def test_tiles_that_change_while_a_study_runs_are_noticed(root):
    seal = make(root)
    seal.open(UNET)
    flip_last_byte(root / "test/images/test_0.png")
    assert "(test_0 was changed)" in refusal(seal.open, SAM)


def test_a_renamed_tile_was_removed_and_added(root):
    make(root).open(UNET)
    for folder in ("images", "masks"):
        (root / "test" / folder / "test_0.png").rename(root / "test" / folder / "house.png")
    assert "(house was added, test_0 was removed): put them back" in refusal(make(root).check)


def test_many_changed_tiles_are_counted(tmp_path, write_rgb):
    root = write_rgb(tmp_path / "tiles", counts={"train": 1, "val": 1, "test": 5})
    make(root).open(UNET)
    for path in (root / "test/masks").iterdir():
        flip_last_byte(path)
    assert "(test_0 was changed, test_1 was changed, test_2 was changed and 2 more)" in refusal(make(root).check)


def test_changed_tiles_with_a_reason_are_told_once_and_for_all(root):
    make(root).open(UNET)
    make(root).record(UNET, RESULT)
    relabel(root / "test/masks/test_1.png")
    seal = make(root, "two")
    (note,) = seal.check(reopen=" a label was wrong ")
    assert f"study one opened them {time_of(root)} (test_1 was changed)" in note
    assert note.endswith("because: a label was wrong")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(root / "test/masks/test_1.png")
    seal.open(SAM, reopen="a label was wrong")
    assert lines_of(root / "seal.jsonl")[2]["event"] == "reopened"
    assert seal.history() == Openings(2, 2, ((SAM.id, "a label was wrong"),))
    assert make(root, "three").check() == ()
    assert seal.recorded(UNET) is None  # its result was of other tiles
    opened = f"unet 5 opened the test tiles {time_of(root)} (study one) and they changed since"
    assert refusal(seal.open, UNET).startswith(opened)
    seal.open(Attempt(arm="new", signatures=("ee",)))
    assert lines_of(root / "seal.jsonl")[3]["event"] == "opened"
