"""Files that are whole or not there."""

import os
from collections.abc import Mapping
from pathlib import Path


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Writes all files under other names before the first one gets its own, so that a full disk leaves the old ones."""
    temporary: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not after its own name, which may be as long as names can be
            temporary[path] = path.with_name(f".{os.getpid()}-{len(temporary)}.part")
            temporary[path].write_bytes(content)
        for path, written in temporary.items():
            written.replace(path)
    finally:
        for leftover in temporary.values():
            leftover.unlink(missing_ok=True)
