"""The mean loss of an epoch, and when too many of its steps were lost."""

import math

import torch

NUM_LOST_IN_A_ROW = 10
"""Losses in a row that are not finite and end a trial that skips such steps.

A single batch whose activations leave the range of float16 changes no weights. Ten such batches in a row are more than
the scaler ever needs to find its scale again, so the weights themselves are lost.
"""


class EpochLoss:
    """Adds up the losses of an epoch's steps without waiting for the device.

    Where steps are taken whatever the loss is, one that is not finite is in the weights, and the mean is not finite
    either. Where such steps are skipped, the mean is over those that counted; it is NaN after `NUM_LOST_IN_A_ROW` that
    did not, or if none did.

    Args:
        device: That losses are on.
        is_skipping: Whether steps without a finite loss change no weights.
    """

    def __init__(self, device: torch.device, *, is_skipping: bool):
        self.num_steps = 0
        self._is_skipping = is_skipping
        self._sum = torch.zeros((), device=device)
        self._num_counted = torch.zeros((), device=device)
        self._lost = torch.zeros((), device=device)  # in a row, up to the last step
        self._most_lost = torch.zeros((), device=device)

    def add(self, loss: torch.Tensor) -> None:
        """Takes the loss of a step, a scalar on the device."""
        self.num_steps += 1
        if not self._is_skipping:
            self._sum += loss
            return
        is_finite = loss.isfinite()
        self._sum += torch.where(is_finite, loss, 0.0)
        self._num_counted += is_finite
        self._lost = torch.where(is_finite, 0.0, self._lost + 1)
        self._most_lost = torch.maximum(self._most_lost, self._lost)

    def mean(self) -> float:
        """The mean; waits for the device. Not finite where the trial diverged."""
        if not self._is_skipping:
            return self._sum.item() / self.num_steps
        num_counted = self._num_counted.item()
        if num_counted == 0 or self._most_lost.item() >= NUM_LOST_IN_A_ROW:
            return math.nan
        return self._sum.item() / num_counted
