"""Draws of tiles and of whole groups."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.datasets.sources.draws import draw_groups, draw_splits, take_some

IDS = [f"t{number:02}" for number in range(30)]


def members(splits: dict[str, str], split: str) -> set[str]:
    return {name for name, found in splits.items() if found == split}


@given(train=st.integers(1, 15), more=st.integers(0, 5), seed=st.integers(0, 99))
def test_draw_splits_of_more_train_tiles_contains_that_of_fewer(train, more, seed):
    few = draw_splits(IDS, {"train": train, "val": 4, "test": 6}, seed)
    many = draw_splits(reversed(IDS), {"train": train + more, "val": 4, "test": 6}, seed)
    assert [len(members(few, split)) for split in ("train", "val", "test")] == [train, 4, 6]
    assert members(few, "train") <= members(many, "train")
    assert members(few, "val") == members(many, "val")
    assert members(few, "test") == members(many, "test")
    assert list(few) == sorted(few)


def test_draw_splits_hangs_on_the_seed():
    drawn = [members(draw_splits(IDS, {"train": 5, "val": 1, "test": 0}, seed), "train") for seed in range(9)]
    assert len(set(map(frozenset, drawn))) > 5


@pytest.mark.parametrize(
    ("counts", "seed", "words"),
    [
        ((20, 6, 5), 0, "--num-train, --num-val and --num-test ask for 20 + 6 + 5 = 31 tiles, but there are 30: "),
        ((0, 6, 5), 0, "--num-train is 0, but must be 1 or more: a study needs train and val tiles"),
        ((5, 0, 5), 0, "--num-val is 0, but must be 1 or more: a study needs train and val tiles"),
        ((5, 5, -1), 0, "--num-test is -1, but must be 0 or more: "),
        ((5, 5, 0), -1, "--seed is -1, but must be 0 or more: give another"),
    ],
)
def test_draw_splits_refuses_wrong_numbers(counts, seed, words, refusal):
    by_split = dict(zip(("train", "val", "test"), counts, strict=True))
    assert refusal(lambda: draw_splits(IDS, by_split, seed)).startswith(words)


def test_take_some_keeps_the_order_grows_and_refuses_more_than_there_are(refusal):
    message = refusal(lambda: take_some(IDS, 31, "val", 0))
    assert message == "--num-val is 31, but there are 30 val tiles: ask for fewer"
    few, many = take_some(IDS, 5, "train", 3), take_some(IDS, 9, "train", 3)
    assert set(few) < set(many)
    assert list(many) == sorted(many)
    assert take_some(IDS, None, "train", 3) == tuple(IDS)
    assert set(take_some(IDS, 5, "val", 3)) != set(few)


@given(
    sizes=st.dictionaries(st.sampled_from("abcdefghij"), st.integers(1, 50), min_size=2),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 999),
)
def test_draw_groups_takes_whole_groups_and_leaves_one(sizes, share, seed):
    chosen = draw_groups(sizes, share, seed)
    assert set() < chosen < set(sizes)
    assert chosen == draw_groups(dict(reversed(sizes.items())), share, seed)
    if len(chosen) > 1:  # the last one brought it nearer, so it is not past the goal by more than that one
        assert sum(sizes[name] for name in chosen) - share * sum(sizes.values()) < max(sizes[name] for name in chosen)


def test_draw_groups_takes_as_many_as_come_nearest_of_more_than_one(refusal):
    assert refusal(lambda: draw_groups({"ulm": 5}, 0.2, 0)).startswith("--src has one place, ulm, but train and val")
    assert all(len(draw_groups(dict.fromkeys("abcdefg", 3), 0.25, seed)) == 2 for seed in range(20))  # 6 of 21
    assert all(len(draw_groups(dict.fromkeys("abcdefghij", 1), 0.2, seed)) == 2 for seed in range(20))


def test_draw_groups_takes_the_draw_with_the_fewest_misses():
    sizes = dict.fromkeys("abcdefg", 3)
    for seed in range(5):
        assert draw_groups(sizes, 0.25, seed, lambda chosen: len({"c", "f"} - chosen)) == {"c", "f"}
        assert "c" in draw_groups(sizes, 0.25, seed, lambda chosen: 5 - ("c" in chosen))  # never without a miss
