"""The register of a test set: every opening and its result, append-only, each line chained to the one before it.

It lies beside the tiles (`<root>/seal.jsonl`, or `seal-<name>.jsonl` of a further test set); the user's data folder
remembers every line that this user's programs have seen for the same tiles. What counts is the union of both, so a file
that lost lines, or a copy of the tiles without it, forgets nothing on this machine. A study keeps its own lines in a
third file, for readers and as a witness.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from studies.seal.chained_file import Line, append_lines, is_writable, locked, read_lines, seal_line
from trainables.common.errors import UserError
from trainables.common.splits import set_name

NAME = "seal.jsonl"
OPENINGS = ("opened", "reopened")
"""The events that are written before test tiles are decoded; the other one is "result"."""


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


def register_name(split: str) -> str:
    """The name of a test set's register, beside the tiles and in a study's folder."""
    name = set_name(split)
    return f"seal-{name}.jsonl" if name else NAME


class Register:
    """The register of the test tiles with a digest.

    Args:
        root: The folder of tiles.
        tiles_digest: Of the test tiles as they are now.
        own: The file of the study's own lines; that beside the tiles has its name (see `register_name`).
    """

    def __init__(self, root: Path, tiles_digest: str, *, own: Path):
        self.path = root / own.name
        self.memory = _memory(tiles_digest)
        self.own = own
        self._digest = tiles_digest

    def read(self) -> Known:
        """All lines that are known, verified.

        Raises:
            UserError: A file cannot be read; a line was edited, removed or put in; or a line of the study is in
                neither register.
        """
        own, notes = read_lines(self.own)
        # A line goes to the file beside the tiles first: read in the opposite order, no file seems to lack one.
        remembered = {self.memory: read_lines(self.memory)}
        beside, more = read_lines(self.path, is_chained=True)
        notes += more
        for digest in sorted({line["tiles_digest"] for line in own + beside} - {self._digest}):
            remembered[_memory(digest)] = read_lines(_memory(digest))
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
        if not (is_writable(self.path) or is_writable(self.memory)):
            raise self._unwritable([str(self.path), str(self.memory)])
        if not is_writable(self.own):
            raise UserError(f"{self.own} cannot be written: make it writable, or choose another --out")

    def remember(self, known: Known) -> None:
        """Copies lines that only the file beside the tiles holds to the user's file, where that can be written."""
        if _unseen(known):
            with contextlib.suppress(OSError), locked(self.memory) as descriptor:
                append_lines(descriptor, self.memory, _unseen(known))

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
                    descriptors[path] = locks.enter_context(locked(path))
                except OSError as error:
                    problems.append(f"{path} ({error.strerror})")
            if not descriptors:
                raise self._unwritable(problems)
            known = self.read()
            before = known.beside if self.path in descriptors else known.memory
            line = seal_line(decide(known.lines), before[-1]["hash"] if before else "")
            num_written = 0
            with self._writes_own() as own:
                for path, descriptor in descriptors.items():
                    try:
                        append_lines(descriptor, path, [line] if path == self.path else [*_unseen(known), line])
                        num_written += 1
                    except OSError as error:
                        problems.append(f"{path} ({error.strerror})")
                if not num_written:
                    raise self._unwritable(problems)
                append_lines(own, self.own, [line])
        return line

    @contextlib.contextmanager
    def _writes_own(self) -> Iterator[int]:
        """Opens the study's own file before anything is on record, so that only a full disk can part the two."""
        try:
            with locked(self.own) as descriptor:
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
