"""Which tiles of a published data set are taken, and for which split: draws that a seed decides."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from trainables.common.errors import UserError
from trainables.datasets.sources.plan import SPLITS, Split

_NUM_DRAWS = 1000

Item = TypeVar("Item")


def draw_splits(ids: Iterable[str], counts: Mapping[Split, int], seed: int) -> dict[str, Split]:
    """Draws the splits: another number of train tiles leaves val and test as they are, and more contain fewer.

    Args:
        ids: All tile ids, in any order.
        counts: Tiles per split.
        seed: From 0.

    Returns:
        Id to split, in the order of the ids.

    Raises:
        UserError: A count or the seed is too small, or there are fewer tiles than that.
    """
    for split, count in counts.items():
        _check_count(split, count)
    names = sorted(ids)
    wanted = sum(counts.values())
    if wanted > len(names):
        asked = " + ".join(str(count) for count in counts.values())
        raise UserError(
            f"--num-train, --num-val and --num-test ask for {asked} = {wanted} tiles, but there are {len(names)}: "
            "ask for fewer"
        )
    drawn = [names[i] for i in _generator(seed).permutation(len(names))]
    splits: dict[str, Split] = {}
    for split in reversed(SPLITS):
        splits |= dict.fromkeys(drawn[len(splits) :][: counts[split]], split)
    return {name: splits[name] for name in names if name in splits}


def take_some(items: Sequence[Item], count: int | None, split: Split, seed: int) -> tuple[Item, ...]:
    """`count` of the items, drawn, in their order; all where `count` is None. More contain fewer.

    Raises:
        UserError: The count or the seed is too small, or there are fewer items than that.
    """
    if count is None:
        return tuple(items)
    _check_count(split, count)
    if count > len(items):
        raise UserError(f"--num-{split} is {count}, but there are {len(items)} {split} tiles: ask for fewer")
    order = _generator(seed, SPLITS.index(split)).permutation(len(items))
    return tuple(items[i] for i in sorted(order[:count]))


def draw_groups(
    sizes: Mapping[str, int], share: float, seed: int, num_misses: Callable[[set[str]], int] = lambda chosen: 0
) -> set[str]:
    """Draws whole groups until they are as near to a share of all tiles as the draw comes; at least one is left out.

    Args:
        sizes: Group to its number of tiles.
        share: From 0 to 1.
        seed: From 0.
        num_misses: What is wrong with a choice; of 1000 draws the first with the fewest is taken.

    Raises:
        UserError: There is one group only, or the seed is negative.
    """
    if len(sizes) < 2:
        raise UserError(f"--src has one place, {min(sizes)}, but train and val must not share a place: get another")
    names, goal = sorted(sizes), share * sum(sizes.values())
    best: tuple[int, set[str]] | None = None
    for draw in range(_NUM_DRAWS):
        first, *others = (names[i] for i in _generator(seed, draw).permutation(len(names)))
        chosen, taken = {first}, sizes[first]
        for name in others[:-1]:
            if abs(taken + sizes[name] - goal) >= abs(taken - goal):
                break
            chosen.add(name)
            taken += sizes[name]
        misses = num_misses(chosen)
        if best is None or misses < best[0]:
            best = misses, chosen
        if misses == 0:
            break
    assert best is not None
    return best[1]


def _check_count(split: Split, count: int) -> None:
    least = 0 if split == "test" else 1
    if count < least:
        raise UserError(f"--num-{split} is {count}, but must be {least} or more: a study needs train and val tiles")


def _generator(*seed: int) -> np.random.Generator:
    if seed[0] < 0:
        raise UserError(f"--seed is {seed[0]}, but must be 0 or more: give another")
    return np.random.default_rng(seed)
