"""The names of the test sets of a folder of tiles: `test`, which decides, and any number of `test-<name>`."""

import re

TEST = "test"
_FURTHER = re.compile(rf"{TEST}-([a-z0-9-]+)", re.IGNORECASE)


def further_split(name: str) -> str:
    """The split of the further test set of a name, `test-<name>`."""
    return f"{TEST}-{name}"


def set_name(split: str) -> str | None:
    """The name of a test set by its split: letters, digits and dashes; empty for `test`, None for what is none."""
    found = _FURTHER.fullmatch(split)
    return found[1] if found else "" if split == TEST else None


def independent(split: str, other: str) -> bool:
    """Whether two splits must share nothing: test sets may be of one place, such as by two sensors."""
    return set_name(split) is None or set_name(other) is None
