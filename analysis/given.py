"""Paths as a person gives them on a command line."""

from pathlib import Path


def given_path(text: str) -> Path:
    """A path with `~` as the home folder: a shell leaves that alone behind a `=`.

    Raises:
        ValueError: Nobody here is called as it says.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(str(error)) from error
