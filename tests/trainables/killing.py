"""Kills at any change of the disk, and digests that tell whether two folders are the same."""

import hashlib
from pathlib import Path
from typing import Any

import pytest


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class Killed(BaseException):
    """Comes where a SIGKILL may: between any two changes of the disk."""


def kill_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The change of the disk after `count` more does not happen; a write in it leaves half of its bytes."""
    left = count
    writes, others = Path.write_bytes, {name: getattr(Path, name) for name in ("replace", "unlink", "mkdir")}

    def count_down() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    def write_bytes(self: Path, content: bytes) -> int:
        if count_down():
            writes(self, content[: len(content) // 2])
            raise Killed
        return writes(self, content)

    def other(name: str) -> Any:
        def change(self: Path, *args: Any, **kwargs: Any) -> Any:
            if count_down():
                raise Killed
            return others[name](self, *args, **kwargs)

        return change

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    for name in others:
        monkeypatch.setattr(Path, name, other(name))
