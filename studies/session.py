"""What all stages of a study use: its folder, tiles, machines, ledger and logs."""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from studies.backend.slots import Slots
from studies.backend.watch import Ending, Permit
from studies.inputs import StudyInputs
from studies.logs import tracking
from studies.options import Options
from studies.progress import StudyProgress
from studies.search.memory_ledger import MemoryLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One driver at work on a study.

    Attributes:
        out: The study's folder, absolute; its name is the study's.
        study_id: What tells the study from others of that name.
        inputs: The spec and the tiles.
        slots: How many trials run side by side, and on what.
        ledger: Of all trials.
        log: The study's W&B run.
        permit: Its withdrawal ends the session.
        options: How the study is run this time.
        progress: The stages as a person sees them.
        console: Where all else is printed.
    """

    out: Path
    study_id: str
    inputs: StudyInputs
    slots: Slots
    ledger: MemoryLedger
    log: tracking.WandbRun
    permit: Permit
    options: Options
    progress: StudyProgress
    console: Console

    def say(self, line: str) -> None:
        """Prints a line."""
        self.console.print(line, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """The result of a study's stages.

    Attributes:
        ending: What ended them before the allowances were spent; None where they are complete.
        unselected: Arms of which no trial ran its course, with the reason of their last trial.
        unvalidated: Arms whose selected model could not be scored on whole tiles, with the reason.
        untested: Arms that were to be tested and were not, with the reason.
    """

    ending: Ending | None
    unselected: dict[str, str] = field(default_factory=dict)
    unvalidated: dict[str, str] = field(default_factory=dict)
    untested: dict[str, str] = field(default_factory=dict)
