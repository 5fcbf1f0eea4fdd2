"""The files of a source by their names: one Unicode form, and without what macOS and Windows leave in folders."""

import unicodedata
from pathlib import Path

from trainables.common.errors import UserError

_CLUTTER = ("thumbs.db", "desktop.ini")


def is_clutter(path: Path) -> bool:
    """Whether a file is hidden (`.DS_Store`, macOS's `._name` beside every file) or Windows' own."""
    return path.name.startswith(".") or path.name.lower() in _CLUTTER


def plain_name(name: str) -> str:
    """A name in Unicode's composed form (NFC): macOS and some archives store an ü as u and two dots."""
    return unicodedata.normalize("NFC", name)


def files_by_id(folder: Path, *endings: str) -> dict[str, Path]:
    """The files of a folder whose names end so (in any case), by what stands before it; sorted; empty without a folder.

    Raises:
        UserError: Two files have the same id.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if is_clutter(path):
            continue
        name = plain_name(path.name)
        ending = next((ending for ending in endings if name.lower().endswith(ending)), None)
        if ending is None:
            continue
        id_ = name[: len(name) - len(ending)]
        if id_ in found:
            raise UserError(f"{path} and {found[id_].name} share the id {id_}: keep one of them")
        found[id_] = path
    return dict(sorted(found.items()))
