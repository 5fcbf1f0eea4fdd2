"""Files as wholes: there or not, never in part, and known by the digest of all their bytes."""

import contextlib
import hashlib
import os
from pathlib import Path


def part_path(path: Path) -> Path:
    """Where a file is written before it is whole; always the same, so that nothing is left when a run is repeated."""
    return path.with_name(f".{file_stem(path.name)}.part")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under another name and renames it, so that a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part_path(path).write_bytes(content)
    part_path(path).replace(path)


MAX_STEM_BYTES = 180
"""Of a file's name before its ending: file systems allow 255 bytes, some of which encrypted or shared ones take."""


def file_stem(name: str) -> str:
    """A tile's id as the beginning of a file's name: itself, or, where that is too long, cut and told by its digest."""
    encoded = name.encode()
    if len(encoded) <= MAX_STEM_BYTES:
        return name
    return f"{encoded[: MAX_STEM_BYTES - 17].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:16]}"


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Makes renames outlast a loss of power, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
