"""Folds of labelled tiles: each label is held out once, places stay together, and budgets are nested."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.tiles import TrainVal
from trainables.folds.split import default_folds, fold_of, judged_tiles, num_networks, pooled, split

IDS = tuple(f"t{number:02d}" for number in range(24))


@given(st.integers(2, 24), st.integers(2, 12), st.integers(1, 24), st.integers(0, 9))
def test_folds_are_as_equal_as_can_be_and_part_no_place_where_there_are_enough(num_tiles, num_folds, num_places, seed):
    ids, num_folds = IDS[:num_tiles], min(num_folds, num_tiles)
    groups = {tile: f"place {index % num_places}" for index, tile in enumerate(ids)}
    folds = fold_of(ids, groups, num_folds, seed)
    assert folds == fold_of(ids, groups, num_folds, seed)
    assert len(set(fold_of(ids, {}, num_folds, seed))) == num_folds
    assert num_networks(ids, groups, num_folds, seed) == len(set(folds))
    found = len(set(groups.values()))
    if found >= min(num_folds, 5):
        assert set(folds) == set(range(min(num_folds, found)))
        assert len({(groups[tile], fold) for tile, fold in zip(ids, folds, strict=True)}) == found
        largest = max(Counter(groups.values()).values())
    else:
        assert set(folds) == set(range(num_folds))
        largest = 1
    sizes = Counter(folds).values()
    assert max(sizes) - min(sizes) <= largest


def test_few_labels_are_held_out_one_by_one():
    assert [default_folds(count) for count in (2, 7, 8, 24)] == [2, 7, 5, 5]


@pytest.fixture
def pool(tiles) -> TrainVal:
    return pooled(tiles)


def test_pool_has_all_labels_by_id_and_no_val(tiles, pool):
    assert pool.train.ids == tuple(sorted(tiles.train.ids + tiles.val.ids))
    assert (len(pool.val), pool.info) == (0, tiles.info)
    known = dict(zip(tiles.train.ids + tiles.val.ids, tiles.train.masks + tiles.val.masks, strict=True))
    assert all(known[tile] is mask for tile, mask in zip(pool.train.ids, pool.train.masks, strict=True))
    alike = replace(tiles, val=replace(tiles.val, ids=tiles.train.ids[: len(tiles.val)]))
    assert len(pooled(alike).train) == len(tiles.train) + len(tiles.val)  # equal ids do not take each other's place
    budgets = [set(pool.budget(count, subset_seed=3).train.ids) for count in (2, 4, 5)]
    assert budgets[0] < budgets[1] < budgets[2] == set(pool.train.ids)


def test_every_label_is_held_out_once_by_a_network_that_learns_from_all_others(make_config, pool):
    config = make_config(tiles=5, folds=3, schedule="cosine")
    parts = split(config, pool.budget(5, 0))
    assert sorted(place for part in parts for place in part.places) == list(range(5))
    for part in parts:
        assert part.tiles.val.ids == tuple(pool.train.ids[place] for place in part.places)
        assert sorted(part.tiles.train.ids + part.tiles.val.ids) == list(pool.train.ids)
    assert judged_tiles(config, pool).ids == pool.train.ids
    assert len(judged_tiles(config.model_copy(update={"folds": 0, "fixed_epochs": 2}), pool)) == 0
