"""Files as wholes: there or not, never in part, and known by the digest of all their bytes."""

import hashlib
from pathlib import Path


def part_path(path: Path) -> Path:
    """Where a file is written before it is whole; always the same, so that nothing is left when a run is repeated."""
    return path.with_name(f".{path.name}.part")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under another name and renames it, so that a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part_path(path).write_bytes(content)
    part_path(path).replace(path)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
