"""A trial of a study: what a worker is handed, and what is known of it meanwhile."""

import math
import time
from dataclasses import dataclass, field
from typing import Literal

from studies.spec import Arm
from trainables.config import TrialConfig

Outcome = Literal["finished", "stopped", "diverged", "out of memory", "failed"]
"""How a trial ended: ran its course; by ASHA; with a loss that is not finite; out of memory; or by an error."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial to run, or to go on with.

    Attributes:
        arm: Its arm.
        number: Its number in the arm.
        config: What to train.
        epoch: The last epoch on record; results are wanted from the next one on.
        is_alone: Whether nothing else may run on its device: it ran out of memory beside others.
        micro_batch_size: Draws to process at once; 0 for whole batches.
    """

    arm: Arm
    number: int
    config: TrialConfig
    epoch: int = 0
    is_alone: bool = False
    micro_batch_size: int = 0


@dataclass(slots=True)
class Progress:
    """What is known of one trial while and after it runs; the last epoch's values.

    Attributes:
        assignment: The trial.
        epoch: Last epoch on record.
        best: Best judged value so far, from epoch `best_epoch`.
        seconds: Cost of the epochs on record.
        lost_epochs: Epochs that had to be repeated since their worker was lost after its last checkpoint, with what
            that cost in `lost_seconds`.
        losses: Workers that it lost since its last epoch.
        is_running: Whether a worker has it.
        is_alone: See `Assignment`; `micro_batch_size` too.
        decided: An end that was decided ([epoch, outcome, reason]) but whose epoch is not on record.
        outcome: How it ended, and why in `reason`; None while it is open.
        started_at: For the time left; on the monotonic clock.
    """

    assignment: Assignment
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
    decided: tuple[int, Outcome, str] | None = None
    outcome: Outcome | None = None
    reason: str = ""
    started_at: float = field(default_factory=time.monotonic)
