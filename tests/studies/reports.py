"""What workers report of epochs, and what is on record of trials, in the tests of this folder."""

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from studies.files.folder import LEDGER
from studies.search.trials import EpochReport
from trainables.checkpoints import TrainedModel
from trainables.data.tiles import TrainVal
from trainables.predict import evaluate


def epoch_report(epoch: int, best: float, **changes: Any) -> EpochReport:
    """By default, the epoch is the best so far and takes a second."""
    settings: dict[str, Any] = {"best_epoch": epoch, "ended": "", "seconds": 1.0, "is_replayed": False}
    return EpochReport(epoch=epoch, best=best, **settings | changes)


def trials_of(out: Path, arm: str = "unet-4") -> list[FrozenTrial]:
    """The trials of an arm, as Optuna reads them from the study's folder."""
    return optuna.load_study(study_name=arm, storage=f"sqlite:///{out / LEDGER}").get_trials()


def scores_on_val(trained: TrainedModel, tiles: TrainVal) -> Any:
    """Those of whole tiles."""
    its, loss = next(trained.model.parameters()).device, trained.config.loss_function
    return evaluate(trained.model, tiles.val, tiles.info, stride=trained.stride, loss=loss, device=its)
