"""Networks whose probabilities are means: over several networks, or over the eight symmetries of an image.

Both take scaled pixels (N, C, H, W) and give logits (N, K, H, W) float32 of the mean, so that whatever predicts with a
network predicts with them. Only one of the averaged predictions is in memory at a time.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn
from torch.nn.functional import log_softmax, logsigmoid

from trainables.data.windows import WHOLE_PX


class Ensemble(nn.Module):
    """The mean of the probabilities of several networks of one architecture.

    Args:
        members: At least one; they take the same sides (`only_px`, `whole_px`; see `Segmenter`).
    """

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.only_px, self.whole_px = _sides(members[0])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits of the mean."""
        return mean_logits(member(pixels) for member in self.members)


class OverSymmetries(nn.Module):
    """The mean of a network's probabilities over the eight symmetries of an image, each turned back.

    Args:
        inner: Both sides of what it takes may be H or W.
    """

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner
        self.only_px, self.whole_px = _sides(inner)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits of the mean."""
        return mean_logits(self._turned(pixels))

    def _turned(self, pixels: torch.Tensor) -> Iterator[torch.Tensor]:
        for is_mirrored in (False, True):
            seen = pixels.flip(3) if is_mirrored else pixels
            for turns in range(4):
                logits = torch.rot90(self.inner(torch.rot90(seen, turns, (2, 3))), -turns, (2, 3))
                yield logits.flip(3) if is_mirrored else logits


def mean_logits(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """Logits of the mean of probabilities; equal parts give themselves, but for rounding.

    Args:
        parts: Logits, each (N, K, H, W): of a sigmoid where K is 1, else of a softmax over K.
    """
    total: torch.Tensor | None = None
    others: torch.Tensor | None = None  # log of the probability of the background, where K is 1
    count = 0
    for logits in parts:
        count += 1
        wide = logits.float()
        is_binary = wide.shape[1] == 1
        log = logsigmoid(wide) if is_binary else log_softmax(wide, dim=1)
        total = log if total is None else torch.logaddexp(total, log)
        if is_binary:
            log = logsigmoid(-wide)
            others = log if others is None else torch.logaddexp(others, log)
    assert total is not None, "a mean is of something"
    return total - (math.log(count) if others is None else others)


def _sides(network: nn.Module) -> tuple[int | None, int]:
    only_px: int | None = getattr(network, "only_px", None)
    whole_px: int = getattr(network, "whole_px", WHOLE_PX)
    return only_px, whole_px
