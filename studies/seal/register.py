"""The register of a test set: every opening and its result, append-only, each line chained to the one before it.

It lies beside the tiles (`<root>/seal.jsonl`); the user's data folder remembers every line that this user's programs
have seen for the same tiles. What counts is the union of both, so a file that lost lines, or a copy of the tiles
without it, forgets nothing on this machine. A study keeps its own lines in a third file, for readers and as a witness.
"""

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import lock_descriptor
from platformdirs import user_data_path

from trainables.common.errors import UserError
from trainables.common.whole_files import text_digest

NAME = "seal.jsonl"
OPENINGS = ("opened", "reopened")
"""The events that are written before test tiles are decoded; the other one is "result"."""

SAY_SECONDS = 5.0
"""That another process may hold a register's file before a person hears of it."""

LOCK_SECONDS = 60.0
"""That it may hold it at all."""

Line = dict[str, Any]
"""One line: event, attempt, study, study_id, arm, signatures, tiles_digest, at (ISO time, UTC), prev and hash; for an
opening also tiles (id to digest), for a reopening why, for a result result."""


@dataclass(frozen=True, slots=True)
class Known:
    """All that is on record.

    Attributes:
        lines: The union of the files by hash, oldest first.
        beside: The lines of the file beside the tiles, in its order.
        memory: The lines of the user's file of these tiles, in its order.
        notes: What a reader should know of the files' state, a sentence each.
    """

    lines: tuple[Line, ...]
    beside: tuple[Line, ...]
    memory: tuple[Line, ...]
    notes: tuple[str, ...]


class Register:
    """The register of the test tiles with a digest.

    Args:
        root: The folder of tiles.
        tiles_digest: Of the test tiles as they are now.
        own: The file of the study's own lines.
    """

    def __init__(self, root: Path, tiles_digest: str, *, own: Path):
        self.path = root / NAME
        self.memory = _memory(tiles_digest)
        self.own = own
        self._digest = tiles_digest

    def read(self) -> Known:
        """All lines that are known, verified.

        Raises:
            UserError: A file cannot be read; a line was edited, removed or put in; or a line of the study is in
                neither register.
        """
        own, notes = _read(self.own)
        # A line goes to the file beside the tiles first: read in the opposite order, no file seems to lack one.
        remembered = {self.memory: _read(self.memory)}
        beside, more = _read(self.path, is_chained=True)
        notes += more
        for digest in sorted({line["tiles_digest"] for line in own + beside} - {self._digest}):
            remembered[_memory(digest)] = _read(_memory(digest))
        union = {line["hash"]: line for line in beside}
        for path, (lines, more) in remembered.items():
            missing = {line["hash"]: line for line in lines if line["hash"] not in union}
            notes += more
            if missing:
                notes.append(f"{_count(missing.values())} recorded in {path} but not in {self.path}")
            union |= missing
        for line in own:
            if line["hash"] not in union:
                raise UserError(
                    f"{self.own} holds a line ({line['event']} {when(line)}) that {self.path} and {self.memory} lack, "
                    f"so it was removed from them: put the register back as it was, or append {self.own} to "
                    f"{self.memory}, where the order does not matter"
                )
        return Known(
            tuple(sorted(union.values(), key=lambda line: str(line["at"]))),
            tuple(beside),
            tuple(remembered[self.memory][0]),
            tuple(notes),
        )

    def check_writable(self) -> None:
        """Asks the file system whether `append` could write, so that nobody learns it after hours of training.

        Raises:
            UserError: Neither register can be written, or the study's own file cannot.
        """
        if not (_is_writable(self.path) or _is_writable(self.memory)):
            raise self._unwritable([str(self.path), str(self.memory)])
        if not _is_writable(self.own):
            raise UserError(f"{self.own} cannot be written: make it writable, or choose another --out")

    def remember(self, known: Known) -> None:
        """Copies lines that only the file beside the tiles holds to the user's file, where that can be written."""
        if _unseen(known):
            with contextlib.suppress(OSError), _locked(self.memory) as descriptor:
                _write(descriptor, self.memory, _unseen(known))

    def append(self, decide: Callable[[tuple[Line, ...]], Line]) -> Line:
        """Adds a line to the registers and to the study's own file, flushed to the disk.

        Args:
            decide: Gets all lines while no other process can append, and gives the new line without `at`, `prev` and
                `hash`, or raises to refuse.

        Returns:
            The line as written.

        Raises:
            UserError: As `read`; or no register can be written, or the study's own file cannot.
        """
        decide(self.read().lines)  # a refusal makes no new file
        with contextlib.ExitStack() as locks:
            descriptors, problems = {}, []
            for path in (self.path, self.memory):
                try:
                    descriptors[path] = locks.enter_context(_locked(path))
                except OSError as error:
                    problems.append(f"{path} ({error.strerror})")
            if not descriptors:
                raise self._unwritable(problems)
            known = self.read()
            before = known.beside if self.path in descriptors else known.memory
            line = _sealed(decide(known.lines), before[-1]["hash"] if before else "")
            num_written = 0
            with self._writes_own() as own:
                for path, descriptor in descriptors.items():
                    try:
                        _write(descriptor, path, [line] if path == self.path else [*_unseen(known), line])
                        num_written += 1
                    except OSError as error:
                        problems.append(f"{path} ({error.strerror})")
                if not num_written:
                    raise self._unwritable(problems)
                _write(own, self.own, [line])
        return line

    @contextlib.contextmanager
    def _writes_own(self) -> Iterator[int]:
        """Opens the study's own file before anything is on record, so that only a full disk can part the two."""
        try:
            with _locked(self.own) as descriptor:
                yield descriptor
        except OSError as error:
            raise UserError(
                f"{self.own} cannot be written ({error.strerror}): make room, or make it writable"
            ) from error

    def _unwritable(self, problems: list[str]) -> UserError:
        return UserError(
            f"neither {' nor '.join(problems)} can be written, but an opening of the test tiles must be on record "
            "before it happens: make one of them writable"
        )


def when(line: Line) -> str:
    """When a line was written, for people: `2025-01-31 12:00 UTC`."""
    return f"{line['at'][:16].replace('T', ' ')} UTC"


def _memory(tiles_digest: str) -> Path:
    return user_data_path("fewtile") / "seals" / f"{tiles_digest}.jsonl"


def _unseen(known: Known) -> list[Line]:
    remembered = {line["hash"] for line in known.memory}
    return [line for line in known.beside if line["hash"] not in remembered]


def _count(lines: Iterable[Line]) -> str:
    """`2 openings of these tiles are`; results are counted where there are no openings."""
    events = [line["event"] for line in lines]
    num_openings = sum(event in OPENINGS for event in events)
    number, name = (num_openings, "opening") if num_openings else (len(events), "result")
    return f"{number} {name}{'s of these tiles are' if number != 1 else ' of these tiles is'}"


def _sealed(content: Line, prev: str) -> Line:
    whole = content | {"at": datetime.now(UTC).isoformat(timespec="microseconds"), "prev": prev}
    line: Line = json.loads(json.dumps(whole))  # the hash is of what a reader will find: keys of text, lists for tuples
    return line | {"hash": _hash(line)}


def _hash(line: Line) -> str:
    content = {key: value for key, value in line.items() if key != "hash"}
    return text_digest(json.dumps(content, sort_keys=True, separators=(",", ":")))


def _read(path: Path, *, is_chained: bool = False) -> tuple[list[Line], list[str]]:
    """The whole lines of a file and notes on the others; nothing where there is no such file.

    A line that is no JSON was cut off by a crash, and nothing was decoded under it, since lines are flushed before
    tiles are read. Where the lines are chained, it can be no former line: the next one would not follow.
    """
    try:
        texts = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}), but it tells who opened the test tiles: make it readable"
        ) from error
    lines: list[Line] = []
    notes = []
    unreadable = None
    for number, text in enumerate(texts[:-1] if texts[-1] == b"" else texts, start=1):
        try:
            line = json.loads(text)
        except ValueError:
            notes.append(f"{path}, line {number}: cut off while it was written, so nothing was opened under it")
            unreadable = number
            continue
        if not (isinstance(line, dict) and line.get("hash") == _hash(line)):
            raise UserError(
                f"{path}, line {number}: its hash does not fit what it says, but a line must stay as it was written: "
                "put the file back as it was"
            )
        if is_chained and line["prev"] != (lines[-1]["hash"] if lines else ""):
            wrong = (
                f"{path}, line {number} does not follow the line before it: one was removed or put in"
                if unreadable is None
                else f"{path}, line {unreadable} is no JSON, and line {number} does not follow the one before it"
            )
            raise UserError(f"{wrong}; put the file back as it was")
        lines.append(line)
        unreadable = None
    return lines, notes


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """A descriptor that appends to `path`, while no other process holds one.

    Raises:
        UserError: Another process holds one for longer than the milliseconds that a line takes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        _take(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)  # ends the lock


def _take(descriptor: int, path: Path) -> None:
    """Takes the lock of an open file, and says on stderr what it waits for."""
    began, has_said = time.monotonic(), False
    while not lock_descriptor(descriptor, blocking=False):
        waited = time.monotonic() - began
        if waited >= LOCK_SECONDS:
            raise UserError(
                f"{path} has been locked by another process for {waited:.0f} s, but a line takes milliseconds: end "
                f"what holds it (`lsof {path}` names it), then go on"
            )
        if waited >= SAY_SECONDS and not has_said:
            has_said = True
            sys.stderr.write(f"waiting for {path}, which another process has locked\n")
        time.sleep(0.05)


def _write(descriptor: int, path: Path, lines: list[Line]) -> None:
    """Appends lines in one write, after the end of a line that was cut off, and waits until the disk has them."""
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    size = os.fstat(descriptor).st_size
    if size:
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        if os.read(descriptor, 1) != b"\n":
            content = b"\n" + content
    if os.write(descriptor, content) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)
    if not size and sys.platform != "win32":  # the name of a new file is the folder's to keep
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _is_writable(path: Path) -> bool:
    if path.exists():
        return path.is_file() and os.access(path, os.W_OK)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return folder.is_dir() and os.access(folder, os.W_OK)
