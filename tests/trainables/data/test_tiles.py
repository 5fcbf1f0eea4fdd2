from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.common.errors import UserError
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal


def make_tiles(prefix: str, count: int, *, height: int = 6, width: int = 6) -> Tiles:
    rng = np.random.default_rng(count)
    return Tiles(
        tuple(f"{prefix}_{i:02}" for i in range(count)),
        tuple(rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)),
        tuple(rng.integers(0, 2, (height, width), dtype=np.uint8) for _ in range(count)),
    )


POOL = TrainVal(DatasetInfo(scale=1 / 255), make_tiles("train", 24), make_tiles("val", 3))


@given(seed=st.integers(0, 2**32))
def test_budget_is_nested_for_a_seed(seed):
    ids = [set(POOL.budget(count, seed).train.ids) for count in (5, 12, 24)]
    assert [len(chosen) for chosen in ids] == [5, 12, 24]
    assert ids[0] < ids[1] < ids[2]


@given(seed=st.integers(0, 2**32), count=st.integers(1, 24))
def test_budget_takes_tiles_whole_and_in_order(seed, count):
    chosen = POOL.budget(count, seed).train
    assert list(chosen.ids) == sorted(set(chosen.ids))
    assert len(chosen) == len(chosen.images) == len(chosen.masks) == count
    for tile_id, image, mask in zip(chosen.ids, chosen.images, chosen.masks, strict=True):
        index = POOL.train.ids.index(tile_id)
        assert image is POOL.train.images[index]
        assert mask is POOL.train.masks[index]


def test_budget_differs_between_seeds():
    # 42,504 subsets of 5: two of 20 random ones are equal with odds of 1 in 223
    subsets = {POOL.budget(5, seed).train.ids for seed in range(20)}
    assert len(subsets) == 20
    assert {POOL.budget(5, seed).train.ids for seed in range(20)} == subsets
    small = POOL.budget(5, 0)
    assert small.val is POOL.val
    assert (small.info, small.scale) == (POOL.info, 1 / 255)


def test_budget_gives_every_tile_its_chance():
    # Each tile is in 5 of 24 subsets: 208 of 1000 expected, standard deviation 12.8. 24 tiles outside 5 of them: 1 in
    # 70,000.
    counts = dict.fromkeys(POOL.train.ids, 0)
    for seed in range(1000):
        for tile_id in POOL.budget(5, seed).train.ids:
            counts[tile_id] += 1
    assert all(abs(count - 1000 * 5 / 24) < 64 for count in counts.values())


@pytest.mark.parametrize("count", [0, -1, 25, 1000])
def test_budget_refuses_what_there_is_not(count):
    with pytest.raises(
        UserError, match=rf"^--tiles {count} asks for {count} train tiles, but there are 24: ask for 1 to 24$"
    ):
        POOL.budget(count, 0)


@pytest.mark.parametrize(
    ("side", "size_px", "start", "length"), [(6, 4, 1, 4), (7, 4, 1, 4), (6, 3, 1, 3), (6, 6, 0, 6), (6, 9, 0, 6)]
)
def test_center_windows_lie_in_the_middle(side, size_px, start, length):
    tiles = make_tiles("t", 2, height=side, width=side)
    windows = tiles.center_windows(size_px)
    assert windows.ids == tiles.ids
    for index in range(2):
        part = slice(start, start + length)
        assert np.array_equal(windows.images[index], tiles.images[index][part, part])
        assert np.array_equal(windows.masks[index], tiles.masks[index][part, part])
        assert np.shares_memory(windows.images[index], tiles.images[index])
    tiles = make_tiles("t", 1, height=4, width=9)  # all of a shorter side is kept
    windows = tiles.center_windows(6)
    assert windows.masks[0].shape == (4, 6)
    assert np.array_equal(windows.images[0], tiles.images[0][:, 1:7])


def with_nodata(tiles: Tiles) -> Tiles:
    """Every second tile with no data in a corner."""
    missing = np.zeros(tiles.masks[0].shape, bool)
    missing[:3, :2] = True
    return replace(tiles, nodata=tuple(missing.copy() if i % 2 else None for i in range(len(tiles))))


def test_take_keeps_the_order_asked_for_and_nodata_stays_with_its_tile():
    pool = replace(POOL, train=with_nodata(POOL.train))
    assert POOL.train.missing(1) is None
    taken = pool.train.take([3, 0])
    assert taken.ids == ("train_03", "train_00")
    assert taken.images[0] is pool.train.images[3]
    assert taken.masks[1] is pool.train.masks[0]
    assert taken.missing(0) is pool.train.missing(3)
    assert taken.missing(1) is None
    small = pool.budget(5, 0).train
    for index, tile_id in enumerate(small.ids):
        assert small.missing(index) is pool.train.missing(pool.train.ids.index(tile_id))
    window = pool.train.center_windows(4).missing(1)
    assert window is not None
    assert np.argwhere(window).tolist() == [[0, 0], [1, 0]]
    assert pool.train.center_windows(4).missing(0) is None


def copy(pool: TrainVal) -> TrainVal:
    def of(tiles: Tiles) -> Tiles:
        return Tiles(tiles.ids, tuple(map(np.copy, tiles.images)), tuple(map(np.copy, tiles.masks)))

    return replace(pool, train=of(pool.train), val=of(pool.val))


def test_digest_is_of_the_content_ids_and_splits():
    assert copy(POOL).digest() == POOL.digest()
    assert len(POOL.digest()) == 64
    pixel, label = copy(POOL), copy(POOL)
    pixel.val.images[1][2, 3, 0] ^= 1
    label.train.masks[0][5, 5] ^= 1
    renamed = replace(POOL, val=replace(POOL.val, ids=("a", "b", "c")))
    moved = replace(POOL, train=POOL.train.take(range(23)), val=POOL.train.take([23]))
    shorter = replace(POOL, val=POOL.train.take([23]))
    lacking = replace(POOL, train=with_nodata(POOL.train))
    assert len({pool.digest() for pool in (POOL, pixel, label, renamed, moved, shorter, lacking)}) == 7
    all_there = replace(POOL, train=replace(POOL.train, nodata=(None,) * len(POOL.train)))
    assert all_there.digest() == POOL.digest()


@pytest.mark.parametrize(("classes", "outputs"), [(("a", "b"), 1), (("a", "b", "c"), 3), (tuple("abcdefg"), 7)])
def test_info_needs_one_output_for_two_classes(classes, outputs):
    assert DatasetInfo(classes=classes).num_outputs == outputs
