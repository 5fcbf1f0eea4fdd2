"""One trial of a study: what it trains, how far it is, and how it ended."""

import math
from dataclasses import dataclass
from typing import Literal

from studies.settings.arms import Arm
from trainables.config import TrialConfig

Outcome = Literal["finished", "stopped", "diverged", "out of memory", "failed"]
"""How a trial ended: ran its course; by ASHA; with a loss that is not finite; out of memory; or by an error."""

TrialKey = tuple[Arm, int]
"""What names a trial: its arm, and its number in the arm; one below 0 names several models of the arm together."""


def name_of(key: TrialKey) -> str:
    """What a person reads: `unet-24 #2`, or `ensemble of unet-24`."""
    arm, number = key
    return f"{arm.name} #{number}" if number >= 0 else f"ensemble of {arm.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """What a worker reports of an epoch.

    Attributes:
        epoch: From 1.
        best: Best judged value so far, in [0, 1], from epoch `best_epoch`.
        ended: Why the trial ran its course; empty while it goes on.
        seconds: What the epoch took.
        is_replayed: Whether the record was read from a checkpoint: it cost nothing again.
    """

    epoch: int
    best: float
    best_epoch: int
    ended: str = ""
    seconds: float = 0.0
    is_replayed: bool = False


@dataclass(slots=True)
class Trial:
    """A trial of an arm, before, while and after it runs.

    Attributes:
        arm: Its arm.
        number: Its number in the arm.
        config: What to train.
        epoch: Last epoch on record; results are wanted from the next one on.
        best: Best judged value so far, from epoch `best_epoch`; NaN before the first epoch, and of a final model that
            nothing judges, whose `best_epoch` is its last.
        seconds: Cost of the epochs on record.
        lost_epochs: Epochs that were repeated because their worker was lost after its last checkpoint, with their cost
            in `lost_seconds`.
        losses: Workers that it lost since its last epoch.
        is_running: Whether a worker has it.
        is_alone: Whether nothing else may run on its device: it ran out of memory beside others.
        micro_batch_size: Draws to process at once; 0 for whole batches.
        outcome: How it ended, and why in `reason`; None while it is open.
    """

    arm: Arm
    number: int
    config: TrialConfig
    epoch: int = 0
    best: float = math.nan
    best_epoch: int = 0
    seconds: float = 0.0
    lost_epochs: int = 0
    lost_seconds: float = 0.0
    losses: int = 0
    is_running: bool = False
    is_alone: bool = False
    micro_batch_size: int = 0
    outcome: Outcome | None = None
    reason: str = ""

    @property
    def key(self) -> TrialKey:
        """Its arm and number."""
        return self.arm, self.number
