"""What workers report of epochs, and what is on record of trials, in the tests of this folder."""

from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from studies.files.folder import LEDGER
from studies.search.trials import EpochReport


def epoch_report(
    epoch: int,
    best: float,
    *,
    best_epoch: int | None = None,
    ended: str = "",
    seconds: float = 1.0,
    is_replayed: bool = False,
) -> EpochReport:
    """By default, the epoch is the best so far and takes a second."""
    best_epoch = best_epoch or epoch
    return EpochReport(
        epoch=epoch, best=best, best_epoch=best_epoch, ended=ended, seconds=seconds, is_replayed=is_replayed
    )


def trials_of(out: Path, arm: str = "unet-4") -> list[FrozenTrial]:
    """The trials of an arm, as Optuna reads them from the study's folder."""
    return optuna.load_study(study_name=arm, storage=f"sqlite:///{out / LEDGER}").get_trials()
