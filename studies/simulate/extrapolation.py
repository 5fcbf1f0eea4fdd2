"""A stop by extrapolating learning curves, to be compared with ASHA: simulations have it, and no study.

A trial ends once its IoU so far, times the greatest factor by which any trial of its arm that ran its course still grew
from that epoch on, is under the arm's best. Of n such trials, one more that is like them grows by a greater factor with
a probability of at most 1 / (n + 1), whatever the form of the curves: its rank may be any of n + 1. That is at one
epoch; over all epochs, more trials are stopped wrongly.

Source: Domhan et al. 2015, "Speeding Up Automatic Hyperparameter Optimization of Deep Neural Networks by Extrapolation
of Learning Curves", IJCAI, stops what will probably not beat the best so far, by curves that it fits; the bound by
ranks in their place is that of Vovk et al. 2005, "Algorithmic Learning in a Random World".
"""

from studies.search.ladder import Ladder

LEAST_FINISHED = 3
"""Trials that run their course before any is stopped."""

LEAST_IOU = 1e-3
"""Under it, a factor says nothing."""


class Extrapolation(Ladder):
    """What the trials of one arm reached at each epoch, which is a rung.

    Args:
        epochs: Of a trial that runs its course.
        grace_epochs: That every trial gets.
        after_epoch: Where the counting starts, as of `Ladder`.
    """

    def __init__(self, *, epochs: int, grace_epochs: int, after_epoch: int = 0):
        super().__init__(epochs=epochs, grace_epochs=epochs, reduction_factor=2)
        self.rungs = {epoch: {} for epoch in range(after_epoch + grace_epochs, epochs + 1)}
        self._last = epochs

    def goes_on(self, number: int, epoch: int) -> bool:
        """Whether the trial, recorded at `epoch` already, may still become the arm's best; a tie goes on."""
        if epoch not in self.rungs or len(final := self.rungs[self._last]) < LEAST_FINISHED:
            return True
        reached = self.rungs[epoch]
        growth = max(value / max(LEAST_IOU, reached[other]) for other, value in final.items())
        return reached[number] * growth >= max(final.values())

    def why(self, epoch: int) -> str:
        """See `Ladder`."""
        return f"below the best even if it grew as no other did from epoch {epoch}"
