"""What a check finds wrong with test tiles, and test tiles that change after they were opened."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import trainables.data.sealed as sealed_module
from studies.seal.seal import Attempt, Openings
from tests.studies.seal.seals import RESULT, SAM, UNET, lines_of, make, refusal, time_of


def flip_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def relabel(path: Path) -> None:
    """Changes a mask that stays a good one."""
    mask = np.array(Image.open(path))
    mask[0, 0] = 255 - mask[0, 0]
    Image.fromarray(mask).save(path)


def test_check_of_unopened_tiles_tells_nothing_and_leaves_no_record(root, user_data):
    assert make(root).check() == ()
    relabel(root / "test/masks/test_0.png")
    assert make(root).check() == ()
    assert [path for path in root.parent.rglob("*.jsonl") if path.stat().st_size] == []


def test_check_refuses_test_tiles_that_would_end_the_study_and_leaves_no_record(root):
    path = root / "test/masks/test_0.png"
    Image.fromarray(np.eye(64, dtype=np.uint8)).save(path)
    assert refusal(make(root).check).startswith(
        f"{path} holds 1 and {root / 'train/masks/train_0.png'} holds 255, but the foreground must be the same value "
    )
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


def rename(root: Path) -> None:
    for folder in ("images", "masks"):
        (root / "test" / folder / "test_0.png").rename(root / "test" / folder / "house.png")


def change_all(root: Path) -> None:
    for path in (root / "test/masks").iterdir():
        flip_last_byte(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: flip_last_byte(root / "test/images/test_0.png"), "(test_0 was changed)"),
        (rename, "(house was added, test_0 was removed)"),
        (change_all, "(test_0 was changed, test_1 was changed, test_2 was changed and 2 more)"),
    ],
)
def test_tiles_that_change_while_a_study_runs_are_named(tmp_path, write_rgb, change, words):
    root = write_rgb(tmp_path / "tiles", counts={"train": 1, "val": 1, "test": 5})
    seal = make(root)
    seal.open(UNET)
    change(root)
    assert f"{words}: put them back" in refusal(make(root).check)
    if change is not rename:  # a tile that is gone is noticed earlier
        assert words in refusal(seal.open, SAM)


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
