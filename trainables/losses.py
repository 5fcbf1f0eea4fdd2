"""The loss: w·BCE + (1−w)·Dice, with cross-entropy in BCE's place where there are more than two classes."""

import torch
import torch.nn.functional as F

from trainables.tiles import IGNORE

DICE_SMOOTH = 1.0
"""Added to Dice's numerator and denominator (pixels), so that a batch without positives has a defined, finite loss."""


def segmentation_loss(logits: torch.Tensor, masks: torch.Tensor, bce_weight: float) -> torch.Tensor:
    """Mean loss over the pixels that count, a scalar float32 tensor ≥ 0.

    Args:
        logits: (N, K, H, W); K = 1 for a binary task.
        masks: (N, H, W) integer class indices; `IGNORE` pixels count nowhere.
        bce_weight: w in 0..1.
    """
    logits = logits.float()
    counts = masks != IGNORE
    num_pixels = counts.sum().clamp(min=1)
    if logits.shape[1] == 1:
        truth = ((masks == 1) & counts).float()[:, None]
        pixelwise = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")[:, 0]
        probabilities = logits.sigmoid()
    else:
        indices = torch.where(counts, masks, 0).long()
        pixelwise = F.cross_entropy(logits, indices, reduction="none")
        truth = F.one_hot(indices, logits.shape[1]).permute(0, 3, 1, 2).float()
        probabilities = logits.softmax(dim=1)
    entropy = (pixelwise * counts).sum() / num_pixels
    return bce_weight * entropy + (1.0 - bce_weight) * dice_loss(probabilities, truth, counts)


def dice_loss(probabilities: torch.Tensor, truth: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """1 − soft Dice per class, pooled over the batch, averaged over classes.

    Args:
        probabilities: (N, K, H, W) in 0..1.
        truth: (N, K, H, W) of 0 and 1.
        counts: (N, H, W) bool: the pixels that count.

    Source: Milletari et al. 2016, arXiv:1606.04797, with plain instead of squared sums in the denominator.
    """
    weight = counts[:, None].float()
    over = (0, 2, 3)
    overlap = (probabilities * truth * weight).sum(over)
    total = ((probabilities + truth) * weight).sum(over)
    return 1.0 - ((2.0 * overlap + DICE_SMOOTH) / (total + DICE_SMOOTH)).mean()
