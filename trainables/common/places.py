"""Which places have tiles in several splits, so that these are not independent."""

from collections.abc import Iterable, Mapping


def shared_places(places: Mapping[str, str], splits: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Places that have tiles in several splits, in ascending order, with these splits in the order given.

    Args:
        places: Tile id to place; tiles that are in none of the splits are passed over.
        splits: Tile ids, by split.
    """
    found: dict[str, list[str]] = {}
    for split, tiles in splits.items():
        for place in {str(places[tile]) for tile in tiles if tile in places}:
            found.setdefault(place, []).append(split)
    return {place: its for place, its in sorted(found.items()) if len(its) > 1}
