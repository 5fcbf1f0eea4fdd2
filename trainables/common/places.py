"""Which places have tiles in several splits, so that these are not independent."""

from collections.abc import Iterable, Mapping
from itertools import combinations

from trainables.common.splits import independent


def shared_places(places: Mapping[str, str], splits: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Places that have tiles in several splits, in ascending order, with these splits in the order given.

    A place that test sets alone share is none of them: see `splits.independent`.

    Args:
        places: Tile id to place; tiles that are in none of the splits are passed over.
        splits: Tile ids, by split.
    """
    found: dict[str, list[str]] = {}
    for split, tiles in splits.items():
        for place in {str(places[tile]) for tile in tiles if tile in places}:
            found.setdefault(place, []).append(split)
    return {
        place: its
        for place, its in sorted(found.items())
        if any(independent(split, other) for split, other in combinations(its, 2))
    }
