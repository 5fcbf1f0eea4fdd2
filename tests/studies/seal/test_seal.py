"""The seal: one look per attempt, on record before it happens, whatever is killed, moved or run beside it."""

import shutil

import numpy as np
import pytest
from PIL import Image

import trainables.data.decode as decode_module
from studies.seal.seal import Attempt, Openings, Seal
from tests.studies.seal.seals import RESULT, SAM, UNET, lines_of, make, refusal, rule_of, time_of
from trainables.data.dataset import read_dataset

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
    seal = make(root)
    monkeypatch.setattr(decode_module, "read_pixels", lambda path: pytest.fail(f"{path} was decoded"))
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


def test_a_look_that_was_killed_is_on_record_and_needs_a_reason(root, monkeypatch):
    def kill(path):
        raise KeyboardInterrupt

    seal = make(root)
    with monkeypatch.context() as patch:
        patch.setattr(decode_module, "read_pixels", kill)
        with pytest.raises(KeyboardInterrupt):
            seal.open(UNET)
    seal = make(root)
    assert seal.check() == ()
    assert seal.recorded(UNET) is None
    opened = f"unet 5 opened the test tiles {time_of(root)} (study one) and left no result"
    assert refusal(seal.open, UNET).startswith(opened)
    assert seal.open(UNET, reopen="the node died").ids == ("test_0", "test_1")
    seal.record(UNET, RESULT)
    assert seal.recorded(UNET) == RESULT
    assert seal.history() == Openings(1, 1, ((UNET.id, "the node died"),))


# Other studies, other places


def test_a_second_study_on_the_same_tiles_is_counted(root):
    one, two = make(root), make(root, "two")
    assert one.history() == Openings(0, 0, ())
    one.open(UNET)
    one.open(SAM)
    two.open(Attempt(arm="unet 5", signatures=("ee",)))
    assert one.history() == two.history() == Openings(3, 2, ())
    assert [line["study"] for line in lines_of(root.parent / "runs/two/seal.jsonl")] == ["two"]
    dataset = read_dataset(root)
    namesake = Seal(dataset, rule_of(dataset), out=root.parent / "elsewhere", study="one", study_id="another")
    namesake.open(Attempt(arm="unet 5", signatures=("ff",)))
    assert one.history() == Openings(4, 3, ())


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
    copy.open(SAM)
    assert copy.history() == make(root).history() == Openings(2, 2, ())


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
