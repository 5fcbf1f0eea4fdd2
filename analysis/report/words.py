"""How lists and counts read in a sentence."""

from collections.abc import Sequence

_MOST_NAMED = 4


def listed(items: Sequence[object]) -> str:
    """Returns all items as a list in a sentence: "a, b and c"."""
    *others, last = map(str, items)
    return f"{', '.join(others)} and {last}" if others else last


def first_of(names: Sequence[str]) -> str:
    """Returns the first four names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def named(what: str, names: Sequence[str]) -> list[str]:
    """Returns a sentence that names what something is true of, or nothing where there are no names."""
    return [f"{what}: {first_of(names)}."] if names else []


def counted(count: int, noun: str) -> str:
    """Returns "1 trial", "2,000 trials"."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"
