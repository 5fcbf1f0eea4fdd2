"""Registers of made-up test tiles, and their lines, for the tests of this folder."""

import json
from pathlib import Path
from typing import Any

from studies.seal.register import Known, Register
from trainables.common.whole_files import text_digest

DIGEST = "d" * 64
EXTRA: dict[str, dict[str, Any]] = {
    "opened": {"tiles": {"t": "1"}},
    "reopened": {"tiles": {"t": "1"}, "why": "a slip"},
    "result": {"result": {}},
}


def make(root: Path, study: str = "one", digest: str = DIGEST) -> Register:
    return Register(root, digest, own=root.parent / "runs" / study / "seal.jsonl")


def content(attempt: str, event: str = "opened", digest: str = DIGEST) -> dict[str, Any]:
    line = {"event": event, "attempt": attempt, "study": "one", "study_id": "1111", "arm": "unet"}
    return {**line, "signatures": ["s1", "s2"], "tiles_digest": digest, **EXTRA[event]}


def add(register: Register, *attempts: str) -> None:
    for attempt in attempts:
        register.append(lambda lines, attempt=attempt: content(attempt))


def attempts(known: Known) -> list[str]:
    return [line["attempt"] for line in known.lines]


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def reseal(line: dict[str, Any], **changes: Any) -> bytes:
    """A line written by hand, with the hash that belongs to it."""
    line = {key: value for key, value in (line | changes).items() if key != "hash"}
    canonical = json.dumps(line, sort_keys=True, separators=(",", ":"))
    return json.dumps(line | {"hash": text_digest(canonical)}).encode() + b"\n"
