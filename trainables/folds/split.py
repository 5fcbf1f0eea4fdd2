"""Which labelled tiles a trial learns from, and which it is judged by: val, folds of its own labels, or none.

Whoever has 5 labelled tiles has no val set besides. So a budget may be all that was labelled: its tiles are cut into
folds, and each is predicted by a network that learnt from the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainables.config import TrialConfig
from trainables.data.tiles import Tiles, TrainVal

NUM_FOLDS = 5
"""Folds where nobody says how many; also the places that are enough to hold out whole places.

Source: Kohavi 1995, "A Study of Cross-Validation and Bootstrap for Accuracy Estimation and Model Selection", finds
little gained beyond 10 and names 5 as a common choice; 5 cost half as much.
"""

LEAST_FOR_FOLDS = 8
"""With fewer labels, each is held out alone: a fold of two would cost a network a third of five labels."""

_FOLDS = 0xF01D5
"""Keeps the seeds of folds apart from those of subsets and draws."""


def default_folds(num_labels: int) -> int:
    """How many folds so many labels are cut into where nobody says it: one per label below `LEAST_FOR_FOLDS`."""
    return num_labels if num_labels < LEAST_FOR_FOLDS else NUM_FOLDS


def fold_of(ids: Sequence[str], groups: Mapping[str, str], num_folds: int, subset_seed: int) -> tuple[int, ...]:
    """Returns the fold of each tile, from 0: a function of the arguments alone.

    Where there are as many places as folds (or `NUM_FOLDS` of them), a place lies in one fold as a whole, so that no
    network is judged on a place that it learnt from; there are at most as many folds as places then. Otherwise tiles
    are dealt out one by one. Folds are as equal as can be: the largest place goes first, to the fold with the fewest.

    Args:
        ids: The tiles.
        groups: Tile id to place; a tile without a place is one of its own.
        num_folds: How many are wanted, from 2 to the number of tiles.
        subset_seed: Deals out equal places, or tiles.
    """
    places = [groups.get(tile, f"\0{index}") for index, tile in enumerate(ids)]  # no place begins with that
    if len(set(places)) < min(num_folds, NUM_FOLDS):
        places = [str(index) for index in range(len(ids))]
    sizes = Counter(places)
    names = list(sizes)
    order = np.random.default_rng([subset_seed, _FOLDS]).permutation(len(names))
    filled = [0] * min(num_folds, len(names))
    fold_by_place: dict[str, int] = {}
    for name in sorted((names[place] for place in order), key=lambda name: -sizes[name]):
        fold = filled.index(min(filled))
        fold_by_place[name] = fold
        filled[fold] += sizes[name]
    return tuple(fold_by_place[place] for place in places)


def num_networks(ids: Sequence[str], groups: Mapping[str, str], num_folds: int, subset_seed: int) -> int:
    """How many networks a trial trains, one per fold: fewer than the folds that are wanted where places allow fewer.

    Arguments are those of `fold_of`.
    """
    return max(fold_of(ids, groups, num_folds, subset_seed)) + 1


@dataclass(frozen=True, slots=True)
class Part:
    """What one network of a trial learns from and is judged by.

    Attributes:
        tiles: Its train and val tiles.
        places: Which of the `judged_tiles` of the trial its val tiles are.
    """

    tiles: TrainVal
    places: tuple[int, ...]


def split(config: TrialConfig, budget: TrainVal) -> list[Part]:
    """Returns the parts of a trial: one per fold, or one alone where it is not cross-validated.

    Args:
        config: Of the trial.
        budget: Its train tiles, and val.
    """
    train, val = budget.train, judged_tiles(config, budget)
    if not config.folds:
        return [Part(replace(budget, val=val), tuple(range(len(val))))]
    folds = fold_of(train.ids, budget.info.groups, config.folds, config.recipe.subset_seed)
    parts = []
    for fold in range(max(folds) + 1):
        held_out = [place for place, its in enumerate(folds) if its == fold]
        learnt = train.take(place for place, its in enumerate(folds) if its != fold)
        parts.append(Part(replace(budget, train=learnt, val=train.take(held_out)), tuple(held_out)))
    return parts


def judged_tiles(config: TrialConfig, budget: TrainVal) -> Tiles:
    """Returns the tiles that a trial is judged by: val; its own labels where it has folds; none where nothing judges.

    Args:
        config: Of the trial.
        budget: Its train tiles, and val.
    """
    if config.folds:
        return budget.train
    return budget.val if config.fixed_epochs is None else budget.val.take(())


def pooled(tiles: TrainVal) -> TrainVal:
    """Returns all labelled tiles, train and val, as train tiles, by id; no val tile is left."""
    train, val = tiles.train, tiles.val
    has_nodata = bool(train.nodata or val.nodata)
    nodata = [its.missing(index) for its in (train, val) for index in range(len(its))] if has_nodata else []
    both = Tiles(train.ids + val.ids, train.images + val.images, train.masks + val.masks, tuple(nodata))
    order = sorted(range(len(both)), key=lambda index: both.ids[index])  # train first where both have an id
    return replace(tiles, train=both.take(order), val=val.take(()))
