"""The seal of a test set: its tiles are opened here and nowhere else, once per attempt, after it is on record.

Each test set has a seal of its own: its digests, openings and results are no other one's.

Before anything runs they are checked for being whole, by `trainables.data.sealed`, which tells nothing else of them but
thumbnails of 16 × 16 grey values, by which images are found that are in train or val, too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.seal.chained_file import Line
from studies.seal.register import OPENINGS, Register, register_name, when
from trainables.common.errors import UserError
from trainables.common.splits import set_name
from trainables.common.whole_files import text_digest
from trainables.data.dataset import Dataset, SealedFiles
from trainables.data.duplicates import Thumbnails, thumbnails
from trainables.data.masks import MaskRule
from trainables.data.sealed import check_sealed, decode_sealed, file_digests, tiles_digest
from trainables.data.tiles import Tiles

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One chosen configuration with its seeds.

    Attributes:
        arm: The arm that it was chosen in.
        signatures: `TrialConfig.signature()` of each seed's trial.
        tiles: What tells the train and val tiles that it saw from others: `TrainVal.digest()`, which the chosen bands
            are part of, and the scale of their pixels.
    """

    arm: str
    signatures: tuple[str, ...]
    tiles: str = ""

    @property
    def id(self) -> str:
        """16 hex digits that follow from signatures and tiles alone: the same attempt in whatever study and order."""
        return text_digest(" ".join([*sorted(self.signatures), self.tiles]))[:16]


@dataclass(frozen=True, slots=True)
class Openings:
    """How often this test set was opened, for tables.

    Attributes:
        num_attempts: Different attempts that opened it.
        num_studies: Different studies that did.
        reopened: (attempt id, reason) of each opening that needed a reason, oldest first.
    """

    num_attempts: int
    num_studies: int
    reopened: tuple[tuple[str, str], ...]


class Seal:
    """Opens the tiles of a test set, once per attempt; nothing else decodes them.

    Attributes:
        split: "test", or "test-<name>" of a further set.
        thumbnails: Of the test images, after `check`, which saw them. Nothing else is kept of what it saw.

    Args:
        dataset: The checked folder of tiles.
        rule: What mask values mean, as the train and val masks say.
        out: The study's folder, which keeps the study's own lines in `seal.jsonl`.
        study: The study's name.
        study_id: What tells it from other studies of that name.
        files: The tiles of a further test set; those of `test` if left out.

    Raises:
        UserError: There are no tiles, or a file of theirs cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        rule: MaskRule,
        *,
        out: Path,
        study: str,
        study_id: str,
        files: SealedFiles | None = None,
    ):
        self._dataset, self._files, self._rule = dataset, files or dataset.test, rule
        self.split = self._files.split
        if not self._files.tiles:
            without = "" if self._files is dataset.test else f"remove {dataset.root / self.split}, "
            raise UserError(
                f"{dataset.root / self.split / 'images'} holds no tiles, but test scores need some: put images there "
                f"and their masks in {self.split}/masks, {without}or do without by --no-test"
            )
        self.thumbnails: Thumbnails = thumbnails(())
        self._own = out / register_name(self.split)
        self._study = {"study": study, "study_id": study_id}
        self._look()

    def check(self, *, reopen: str = "") -> tuple[str, ...]:
        """Verifies all that can be verified before anything runs.

        They are decoded one by one to find damaged files and wrong masks, which is no opening and leaves no record.

        Args:
            reopen: The reason to continue where an opening would be refused; none if empty.

        Returns:
            What the reader should know, a sentence each.

        Raises:
            UserError: A register was tampered with or cannot be read, none can be written, the test tiles changed since
                they were opened and there is no reason to continue, the reason is blank, or a test tile is damaged or
                has a mask that does not fit those of train and val.
        """
        _check_reason(reopen)
        self._look()
        self._register.check_writable()
        known = self._register.read()
        self._register.remember(known)
        changes = self._changes(known.lines)
        if changes and not reopen:
            raise self._changed(changes)
        self.thumbnails = check_sealed(self._dataset, self._files, self._rule)
        return known.notes + ((f"{changes}; continuing because: {reopen.strip()}",) if changes else ())

    def recorded(self, attempt: Attempt) -> dict[str, Any] | None:
        """The latest result of an attempt on these very test tiles; None where there is none.

        Raises:
            UserError: As `check`, of the registers.
        """
        results = self._results(self._register.read().lines, attempt)
        return dict(results[-1]["result"]) if results else None

    def open(self, attempt: Attempt, *, reopen: str = "") -> Tiles:
        """Puts an opening on record, flushed to the disk, and then decodes the test tiles.

        Args:
            attempt: The models that are tested.
            reopen: The reason to look again, or at tiles that changed; none if empty, and not recorded where none is
                needed.

        Raises:
            UserError: The attempt has a result or was opened before, or the test tiles changed, and there is no reason;
                the reason is blank; the opening cannot be recorded; or a tile is damaged.
        """
        _check_reason(reopen)
        self._look()

        def opening(lines: tuple[Line, ...]) -> Line:
            changes = self._changes(lines)
            earlier = [line for line in lines if line["attempt"] == attempt.id and line["event"] in OPENINGS]
            if not reopen:
                self._check_first(attempt, changes, earlier, self._results(lines, attempt))
            line = self._line("reopened" if earlier or changes else "opened", attempt) | {"tiles": self._digests}
            return line | {"why": reopen.strip()} if earlier or changes else line

        self._register.append(opening)
        return decode_sealed(self._dataset, self._files, self._rule)

    def record(self, attempt: Attempt, result: dict[str, Any]) -> None:
        """Puts the result of an opening on record.

        Args:
            attempt: The models that were tested.
            result: Anything that JSON can hold.

        Raises:
            UserError: It cannot be recorded.
        """

        def result_line(lines: tuple[Line, ...]) -> Line:
            openings = [line for line in lines if line["attempt"] == attempt.id and line["event"] in OPENINGS]
            assert len(openings) > len(self._results(lines, attempt)), "each result needs an opening of its own"
            return self._line("result", attempt) | {"result": result}

        self._register.append(result_line)

    def opening(self, attempt: Attempt) -> Line:
        """The latest opening of an attempt that is on record; `study_id` says whose it was.

        Raises:
            UserError: As `check`, of the registers.
        """
        lines = self._register.read().lines
        return [line for line in lines if line["attempt"] == attempt.id and line["event"] in OPENINGS][-1]

    def is_own(self, line: Line) -> bool:
        """Whether a line is this study's, and not another's."""
        return bool(line["study_id"] == self._study["study_id"])

    def history(self) -> Openings:
        """How often this test set was opened, whatever its tiles were then.

        Raises:
            UserError: As `check`, of the registers.
        """
        openings = [line for line in self._register.read().lines if line["event"] in OPENINGS]
        return Openings(
            num_attempts=len({line["attempt"] for line in openings}),
            num_studies=len({line["study_id"] for line in openings}),
            reopened=tuple((line["attempt"], line["why"]) for line in openings if line["event"] == "reopened"),
        )

    def _look(self) -> None:
        """Takes the digests afresh: a study runs for hours, and its tiles lie on a disk that others write."""
        self._digests = file_digests(self._files)
        self._tiles_digest = tiles_digest(self._digests)
        self._register = Register(self._dataset.root, self._tiles_digest, own=self._own)

    def _line(self, event: str, attempt: Attempt) -> Line:
        return {
            "event": event,
            "attempt": attempt.id,
            **self._study,
            "arm": attempt.arm,
            "signatures": list(attempt.signatures),
            "tiles_digest": self._tiles_digest,
            **({"test_set": name} if (name := set_name(self.split)) else {}),
        }

    def _results(self, lines: tuple[Line, ...], attempt: Attempt) -> list[Line]:
        wanted = ("result", attempt.id, self._tiles_digest)
        return [line for line in lines if (line["event"], line["attempt"], line["tiles_digest"]) == wanted]

    def _check_first(self, attempt: Attempt, changes: str, earlier: list[Line], results: list[Line]) -> None:
        if changes:
            raise self._changed(changes)
        if results:
            raise UserError(
                f"{attempt.arm} has a {self.split} result since {when(results[-1])} (study {results[-1]['study']}), "
                f"but the {self.split} tiles are opened once per attempt: use that result, or look again with "
                '--reopen "why"'
            )
        if earlier:
            is_same = earlier[-1]["tiles_digest"] == self._tiles_digest
            raise UserError(
                f"{attempt.arm} opened the {self.split} tiles {when(earlier[-1])} (study {earlier[-1]['study']}) and "
                f"{'left no result' if is_same else 'they changed since'}, so its test scores may have been seen: "
                'continue with --reopen "why"'
            )

    def _changes(self, lines: tuple[Line, ...]) -> str:
        """How the test tiles differ from the last ones opened; empty where they do not, or someone gave a reason."""
        openings = [line for line in lines if line["event"] in OPENINGS]
        others = [line for line in openings if line["tiles_digest"] != self._tiles_digest]
        accepted = any(
            line["event"] == "reopened" and line["tiles_digest"] == self._tiles_digest for line in openings
        )  # one reason stands for these tiles from then on, or an interrupted study could not simply be resumed
        if accepted or not others:
            return ""
        before, now = others[-1]["tiles"], self._digests
        differences = [
            f"{tile} was {'added' if tile not in before else 'removed' if tile not in now else 'changed'}"
            for tile in sorted(before.keys() | now.keys())
            if before.get(tile) != now.get(tile)
        ]
        more = f" and {len(differences) - _MOST_NAMED} more" if len(differences) > _MOST_NAMED else ""
        return (
            f"the {self.split} tiles of {self._dataset.root} changed since study {others[-1]['study']} opened them "
            f"{when(others[-1])} ({', '.join(differences[:_MOST_NAMED])}{more})"
        )

    def _changed(self, changes: str) -> UserError:
        return UserError(f'{changes}: put them back, or continue with --reopen "why"')


def seals_of(dataset: Dataset, rule: MaskRule, *, out: Path, study: str, study_id: str) -> tuple[Seal, ...]:
    """A seal for each test set of a folder, that of `test` first; arguments and errors are those of `Seal`."""
    about: dict[str, Any] = {"out": out, "study": study, "study_id": study_id}
    return tuple(Seal(dataset, rule, files=files, **about) for files in dataset.test_sets)


def _check_reason(reopen: str) -> None:
    if reopen and not reopen.strip():
        raise UserError(f"--reopen is {reopen!r}, but the record needs a reason: write why in a few words")
