"""What workers report of epochs, in the tests of this folder."""

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
