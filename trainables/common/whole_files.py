"""Files as wholes: there or not, never in part, and known by the digest of all their bytes."""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path


def part_path(path: Path) -> Path:
    """Where a file is written before it is whole; always the same, so that nothing is left when a run is repeated."""
    return path.with_name(f".{file_stem(path.name)}.part")


def write_whole(path: Path, content: bytes, *, outlasts_power: bool = False) -> None:
    """Writes a file, whole or not at all; see `write_all`."""
    write_all({path: content}, outlasts_power=outlasts_power)


def write_all(contents: Mapping[Path, bytes], *, outlasts_power: bool = False) -> None:
    """Writes files under other names before the first one gets its own, so that a kill or a full disk leaves old ones.

    Args:
        contents: By path; missing folders are made.
        outlasts_power: Whether the files shall be on the disk when this returns, as a loss of power would show.

    Raises:
        OSError: One of them cannot be written; the files of before are as they were, unless a rename itself failed.
    """
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with part_path(path).open("wb") as stream:
                stream.write(content)
                if outlasts_power:
                    stream.flush()
                    os.fsync(stream.fileno())
        for path in contents:
            part_path(path).replace(path)
    except BaseException:
        for path in contents:
            with contextlib.suppress(OSError):
                part_path(path).unlink(missing_ok=True)
        raise
    if outlasts_power:
        for folder in {path.parent for path in contents}:
            sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Makes renames outlast a loss of power, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


MAX_STEM_BYTES = 180
"""Of a file's name before its ending: file systems allow 255 bytes, some of which encrypted or shared ones take."""


def file_stem(name: str) -> str:
    """A tile's id as the beginning of a file's name: itself, or, where that is too long, cut and told by its digest."""
    encoded = name.encode()
    if len(encoded) <= MAX_STEM_BYTES:
        return name
    return f"{encoded[: MAX_STEM_BYTES - 17].decode(errors='ignore')}-{text_digest(name)[:16]}"


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text as UTF-8, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
