"""Files of a person's own networks: names such as `nets/my_nets.py:build@staged`, and copies that a study goes on from.

In tables a network has the name of its file without the folder, `my_nets.py:build@staged`. What that means is known to
a process from when it took the file.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.common.command import path_of
from trainables.common.errors import UserError
from trainables.common.whole_files import write_whole

NETWORKS = "networks"
"""Folder of a study, or of one attempt, with copies of the files."""

_COLON = ".py:"


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A file as it was when it was read."""

    path: Path
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of its bytes."""
        return hashlib.sha256(self.content).hexdigest()


_files: dict[str, NetworkFile] = {}
"""What this process knows, by the name of the file."""


def is_own(name: str) -> bool:
    """Whether an architecture's name is that of a person's own network."""
    return _COLON in name or name.endswith(".py")


def split_name(name: str) -> tuple[Path, str]:
    """The file of `my_nets.py:build@staged` and the rest, `build@staged`."""
    path, _, rest = name.rpartition(_COLON)
    return Path(f"{path}.py"), rest


def take_file(name: str) -> str:
    """Reads the file of a name as a person gives it; the name for tables. The names of other architectures stay.

    Raises:
        ValueError: There is no such file.
    """
    if not is_own(name):
        return name
    if _COLON not in name:
        raise ValueError(f"must be PATH.py:FUNCTION, such as {name}:build")
    path, rest = split_name(path_of(name))
    if not re.fullmatch(r"[\w.-]+", path.name):
        raise ValueError("must have a file whose name has no more than letters, digits, _, - and dots")
    try:
        file = NetworkFile(path.absolute(), path.read_bytes())
    except OSError as error:
        raise ValueError(f"there is no such file to read ({error.strerror}): check the path") from error
    _files[path.name] = file
    return f"{path.name}:{rest}"


def known_file(name: str) -> NetworkFile:
    """The file of a name for tables.

    Raises:
        ValueError: Nobody gave it.
    """
    path, _ = split_name(name)
    if str(path) not in _files:
        raise ValueError("must be of a file that was given as PATH.py:FUNCTION")
    return _files[path.name]


def check_one_file_per_name(names: Iterable[str]) -> None:
    """Refuses (`ValueError`) two files of one name, which tables could not tell apart."""
    taken: dict[str, Path] = {}
    for path in (split_name(name)[0] for name in names if _COLON in name):
        if taken.setdefault(path.name, path).absolute() != path.absolute():
            raise ValueError(f"{taken[path.name]} and {path} have one name in tables: rename one of the files")


def known_digests(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files of names for tables, by the files' names."""
    return {split_name(name)[0].name: known_file(name).digest for name in names if is_own(name)}


def write_copies(out: Path, names: Iterable[str]) -> None:
    """Writes copies of the files of names for tables into a folder.

    Raises:
        UserError: Another file is in the place of one, or one cannot be written.
    """
    for name in names:
        if not is_own(name):
            continue
        file = known_file(name)
        copy = out / NETWORKS / file.path.name
        try:
            if not copy.exists():
                write_whole(copy, file.content, outlasts_power=True)
            is_same = copy.read_bytes() == file.content
        except OSError as error:
            raise UserError(f"{copy} cannot be written ({error.strerror}): choose another folder") from error
        if not is_same:
            raise UserError(f"{copy} is another file than {file.path}: remove it, or choose another folder")


def of_copies(names: Any, out: Path) -> Any:
    """Names for tables, as a study wrote them, as those of its copies."""
    if not isinstance(names, list | tuple):
        return names  # refused elsewhere
    return [_of_copy(name, out) if isinstance(name, str) and _COLON in name else name for name in names]


def of_same_copies(names: Any, out: Path) -> Any:
    """Names as a person gives them for a study that has begun: those of its copies.

    Raises:
        UserError: A file changed since the study began.
    """
    if not isinstance(names, list | tuple):
        return names  # refused elsewhere
    return [_same_copy(name, out) if isinstance(name, str) and _COLON in name else name for name in names]


def take_copy(name: str, digest: str, near: Path, given: Path | None = None) -> None:
    """Takes the file of a name for tables and of that digest from the folder of the study that `near` is in.

    Args:
        name: Of the network.
        digest: SHA-256 of its file.
        near: A file or folder of the study.
        given: The file, where the study's folder is not there.

    Raises:
        UserError: There is no such file.
    """
    file_name = split_name(name)[0].name
    places = [folder / NETWORKS / file_name for folder in near.absolute().parents] if given is None else [given]
    for path in places:
        if path.is_file() and (file := NetworkFile(path, path.read_bytes())).digest == digest:
            _files[file_name] = file
            return
    missing = f"no folder {NETWORKS} above it has that" if given is None else f"{given} is not that"
    raise UserError(
        f"{near} needs {file_name} of SHA-256 {digest[:12]}…, but {missing}: pass that file as network=PATH"
    )


def _of_copy(name: str, out: Path) -> str:
    path, rest = split_name(name)
    return f"{out / NETWORKS / path.name}:{rest}"


def _same_copy(name: str, out: Path) -> str:
    given, copy = split_name(name)[0].expanduser(), out / NETWORKS / split_name(name)[0].name
    if not copy.is_file():
        return name  # read as it is given, and compared with what the study began with
    if given.is_file() and given.read_bytes() != copy.read_bytes():
        raise UserError(
            f"{given} is no longer what {out} began with: name its copy, {_of_copy(name, out)}, to go on with that, or "
            "start in another folder"
        )
    return _of_copy(name, out)
