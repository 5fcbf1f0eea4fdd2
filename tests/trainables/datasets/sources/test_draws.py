"""What adapters share: draws, checks by headers, masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.trainables.made_up_sources import photo, save
from trainables.datasets.sources.draws import draw_groups, draw_splits, take_some
from trainables.datasets.sources.masks import read_colors, read_grey
from trainables.datasets.sources.plan import check_pair

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
    drawn = {
        frozenset(members(draw_splits(IDS, {"train": 5, "val": 1, "test": 0}, seed), "train")) for seed in range(9)
    }
    assert len(drawn) > 5


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


def test_take_some_keeps_the_order_and_grows():
    few, many = take_some(IDS, 5, "train", 3), take_some(IDS, 9, "train", 3)
    assert set(few) < set(many)
    assert list(many) == sorted(many)
    assert take_some(IDS, None, "train", 3) == tuple(IDS)
    assert set(take_some(IDS, 5, "val", 3)) != set(few)


def test_take_some_refuses_more_than_there_are(refusal):
    message = refusal(lambda: take_some(IDS, 31, "val", 0))
    assert message == "--num-val is 31, but there are 30 val tiles: ask for fewer"


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


def test_draw_groups_takes_as_many_as_come_nearest():
    assert all(len(draw_groups(dict.fromkeys("abcdefg", 3), 0.25, seed)) == 2 for seed in range(20))  # 6 of 21
    assert all(len(draw_groups(dict.fromkeys("abcdefghij", 1), 0.2, seed)) == 2 for seed in range(20))


def test_draw_groups_takes_the_draw_with_the_fewest_misses():
    sizes = dict.fromkeys("abcdefg", 3)
    for seed in range(5):
        assert draw_groups(sizes, 0.25, seed, lambda chosen: len({"c", "f"} - chosen)) == {"c", "f"}
        assert "c" in draw_groups(sizes, 0.25, seed, lambda chosen: 5 - ("c" in chosen))  # never without a miss


def test_draw_groups_refuses_one_group(refusal):
    assert refusal(lambda: draw_groups({"ulm": 5}, 0.2, 0)).startswith("--src has one place, ulm, but train and val")


@pytest.mark.parametrize(
    ("image", "mask", "words"),
    [
        (photo(1)[..., 0], photo(2), "has 1 bands of uint8, but must have 3 of uint8: replace it"),
        (photo(1, size=(16, 24)), photo(2), "is 24×16 px, but is published with 16×16 px: replace it"),
        (photo(1), photo(2, size=(16, 8)), "is 8×16 px, but its image is 16×16 px: image and mask must have one size"),
        (photo(1), photo(2)[..., 0].astype(np.uint16), "is of uint16, but must be of uint8: replace it"),
    ],
)
def test_check_pair_refuses_what_headers_tell(tmp_path, image, mask, words, refusal):
    paths = save(tmp_path / "a.png", image), save(tmp_path / "b.png", mask)
    assert refusal(lambda: check_pair(*paths, size_px=(16, 16))).endswith(words)


def test_read_grey_takes_equal_bands_and_refuses_colours(tmp_path, refusal):
    grey = photo(1)[..., 0]
    assert np.array_equal(read_grey(save(tmp_path / "one.png", grey)), grey)
    assert np.array_equal(read_grey(save(tmp_path / "three.png", np.stack([grey] * 3, axis=-1))), grey)
    red = save(tmp_path / "red.png", np.array([[[255, 0, 0]]], np.uint8))
    assert refusal(lambda: read_grey(red)).startswith(f"{red} is coloured, but a mask must be grey")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_read_colors_is_the_same_in_every_mode(tmp_path, mode):
    colors = np.array([[[60, 16, 152], [254, 221, 58]], [[0, 0, 0], [60, 16, 152]]], np.uint8)
    image = Image.fromarray(colors)
    path = tmp_path / "mask.png"
    (image.quantize(8) if mode == "P" else image.convert(mode)).save(path)
    with Image.open(path) as saved:
        assert saved.mode == mode
    assert read_colors(path).tolist() == [[0x3C1098, 0xFEDD3A], [0, 0x3C1098]]


def test_read_colors_refuses_a_truncated_file(tmp_path, refusal):
    path = save(tmp_path / "mask.png", photo(1, size=(64, 64)))
    path.write_bytes(path.read_bytes()[:-60])
    assert refusal(lambda: read_colors(path)) == f"{path} is damaged or truncated: replace it"
