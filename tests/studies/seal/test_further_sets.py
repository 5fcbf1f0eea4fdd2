"""Several test sets: each is opened once by itself, under its own name, whatever becomes of the others."""

import shutil

import pytest

from studies.seal.seal import Openings, seals_of
from tests.studies.seal.seals import RESULT, SAM, UNET, lines_of, refusal, rule_of
from trainables.data.dataset import read_dataset


@pytest.fixture
def root(tmp_path, write_rgb):
    return write_rgb(tmp_path / "tiles", counts={"train": 1, "val": 1, "test": 2, "test-b": 2, "test-b-2": 1})


def make(root, study="one"):
    """The seals of `test`, `test-b` and `test-b-2`."""
    about = {"out": root.parent / "runs" / study, "study": study, "study_id": f"id of {study}"}
    dataset = read_dataset(root)
    return seals_of(dataset, rule_of(dataset), **about)


def test_an_opening_of_one_set_opens_no_other(root):
    seals = make(root)
    assert [seal.split for seal in seals] == ["test", "test-b", "test-b-2"]
    decides, further, other = seals
    assert decides.open(UNET).ids == ("test_0", "test_1")
    assert [seal.history().num_attempts for seal in seals] == [1, 0, 0]
    assert further.open(UNET).ids == ("test-b_0", "test-b_1")
    assert further.open(SAM).ids == ("test-b_0", "test-b_1")
    assert [seal.history().num_attempts for seal in seals] == [1, 2, 0]
    further.record(UNET, RESULT)
    assert [seal.recorded(UNET) for seal in seals] == [None, RESULT, None]
    assert other.open(UNET).ids == ("test-b-2_0",)


def test_each_set_has_a_register_of_its_own_beside_the_tiles_and_in_the_study(root):
    for seal in make(root):
        seal.open(UNET)
    for name, split, line_says in (("seal", "test", None), ("seal-b", "test-b", "b"), ("seal-b-2", "test-b-2", "b-2")):
        (line,) = lines_of(root / f"{name}.jsonl")
        assert lines_of(root.parent / "runs" / "one" / f"{name}.jsonl") == [line]
        assert next(iter(line["tiles"])) == f"{split}_0"
        assert line.get("test_set") == line_says
    assert len({lines_of(path)[0]["tiles_digest"] for path in root.glob("seal*.jsonl")}) == 3


def test_what_was_killed_between_two_sets_goes_on_with_the_other(root):
    decides, further, _ = make(root)
    decides.open(UNET)
    decides.record(UNET, RESULT)
    again, further, _ = make(root)
    assert again.recorded(UNET) == RESULT
    assert refusal(again.open, UNET).startswith("unet 5 has a test result since ")
    further.open(UNET)
    _, further, _ = make(root)  # killed while this one was open
    assert "unet 5 opened the test-b tiles " in refusal(further.open, UNET)
    further.open(UNET, reopen="the node died")
    assert further.history() == Openings(1, 1, ((UNET.id, "the node died"),))
    assert again.history() == Openings(1, 1, ())


def test_change_of_one_set_is_told_of_that_one(root):
    for seal in make(root):
        seal.open(UNET)
    path = root / "test-b" / "masks" / "test-b_0.png"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    decides, further, _ = make(root, "two")
    assert decides.check() == ()
    words = f"the test-b tiles of {root} changed since study one opened them "
    assert refusal(further.check).startswith(words)


def test_set_is_remembered_under_another_name(root):
    _, further, _ = make(root)
    further.open(UNET)
    further.record(UNET, RESULT)
    shutil.rmtree(root / "test-b-2")
    (root / "test-b").rename(root / "test-munich")
    _, renamed = make(root, "two")
    assert renamed.split == "test-munich"
    assert renamed.recorded(UNET) == RESULT
    assert refusal(renamed.open, UNET).startswith("unet 5 has a test-munich result since ")


def test_set_without_tiles_is_refused(root):
    shutil.rmtree(root / "test-b" / "images")
    shutil.rmtree(root / "test-b" / "masks")
    words = refusal(make, root)
    assert words.startswith(f"{root / 'test-b' / 'images'} holds no tiles")
    assert f"remove {root / 'test-b'}" in words
