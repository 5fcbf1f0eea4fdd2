"""How a study is run this time: what its command line says besides the spec."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies.backend.worker import Fit
    from studies.models.scores import Evaluate

HANG_MINUTES = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a study is run this time; nothing of it decides what comes out.

    Attributes:
        resume: Go on with the study in the folder, if one has begun there.
        max_hours: Stop cleanly after so long; None for never.
        hang_minutes: A trial that begins no batch for so long loses its worker.
        strict_splits: Refuse tiles that train, val and test share.
        reopen: Why test tiles may be looked at again where an opening left no result; none if empty.
        checkpoint_seconds: Least time between two checkpoints of a trial; rungs have one anyway.
        fit: What a trial does; `trainables.trial.fit` if None.
        evaluate: What scoring a model on whole tiles does; `score_model` if None.
    """

    resume: bool = False
    max_hours: float | None = None
    hang_minutes: float = HANG_MINUTES
    strict_splits: bool = False
    reopen: str = ""
    checkpoint_seconds: float = 60.0
    fit: "Fit | None" = None
    evaluate: "Evaluate | None" = None
