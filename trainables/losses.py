"""The losses, each a mean over the pixels that count: BCE and Dice, Focal and Dice, either alone, and clDice."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from trainables.data.tiles import IGNORE
from trainables.names import LOSS_WEIGHTS, LossName

DICE_SMOOTH = 1.0
"""Added to Dice's numerator and denominator (pixels), so that a batch without positives has a defined, finite loss."""

FOCAL_GAMMA = 2.0
"""How strongly Focal discounts pixels that are already right; no class weight. Source: Lin et al., arXiv:1708.02002."""

SKELETON_STEPS = 10
"""Erosions of a soft skeleton; it thins lines of up to twice that width (px). Source: Shit et al. 2021 take 3 to 25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A loss by name with its weights, each in 0..1.

    Attributes:
        name: `bce_dice` is w·BCE + (1−w)·Dice, `focal_dice` v·Focal + (1−v)·Dice, and `bce_dice_cldice`
            (1−c)·(w·BCE + (1−w)·Dice) + c·clDice; cross-entropy is in BCE's place where there are more than two
            classes, and `cross_entropy` is BCE where there are two.
        bce_weight: w.
        focal_weight: v.
        cldice_weight: c.
    """

    name: LossName = "bce_dice"
    bce_weight: float = 0.5
    focal_weight: float = 0.5
    cldice_weight: float = 0.3

    @property
    def words(self) -> str:
        """Name and weights, as tables show them."""
        if self.name == "bce_dice":
            return f"BCE/Dice {self.bce_weight:g}/{1 - self.bce_weight:g}"
        return ", ".join([self.name, *(f"{weight} {getattr(self, weight):g}" for weight in LOSS_WEIGHTS[self.name])])

    def __call__(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Mean loss over the pixels that count, a scalar float32 tensor ≥ 0.

        Args:
            logits: (N, K, H, W); K = 1 for a binary task.
            masks: (N, H, W) integer class indices; `IGNORE` pixels count nowhere.
        """
        return _CALCULATED[self.name](self, logits.float(), masks)


def segmentation_loss(logits: torch.Tensor, masks: torch.Tensor, bce_weight: float) -> torch.Tensor:
    """w·BCE + (1−w)·Dice with w = `bce_weight`; see `Loss`."""
    logits = logits.float()
    return bce_weight * entropy_loss(logits, masks) + (1.0 - bce_weight) * _dice(logits, masks)


def entropy_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy (K = 1) or cross-entropy over the pixels that count, of float32 logits."""
    counts = masks != IGNORE
    if logits.shape[1] == 1:
        truth = ((masks == 1) & counts).float()[:, None]
        pixelwise = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")[:, 0]
    else:
        pixelwise = F.cross_entropy(logits, torch.where(counts, masks, 0).long(), reduction="none")
    return (pixelwise * counts).sum() / counts.sum().clamp(min=1)


def focal_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Mean focal loss of segmentation-models-pytorch over the pixels that count; each class against all others.

    Zero where no pixel counts.
    """
    if not (masks != IGNORE).any():
        return logits.sum() * 0.0
    import segmentation_models_pytorch as smp  # only here: it takes seconds, and the other losses do without it

    mode = "binary" if logits.shape[1] == 1 else "multiclass"
    focal = smp.losses.FocalLoss(mode, gamma=FOCAL_GAMMA, ignore_index=IGNORE)
    loss: torch.Tensor = focal(logits, masks.long())
    return loss


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


def cldice_loss(probabilities: torch.Tensor, truth: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """1 − soft centreline Dice per class, pooled over the batch, averaged over classes.

    It punishes gaps in lines, but not a wrong width.

    Args:
        probabilities: (N, K, H, W) in 0..1, of the classes that lines are of.
        truth: (N, K, H, W) of 0 and 1.
        counts: (N, H, W) bool: the pixels that count; the others are set to 0.

    Source: Shit et al. 2021, clDice, arXiv:2003.07311.
    """
    weight = counts[:, None].float()
    probabilities, truth = probabilities * weight, truth * weight
    predicted_line, true_line = soft_skeleton(probabilities), soft_skeleton(truth)
    over = (0, 2, 3)
    precision = ((predicted_line * truth).sum(over) + DICE_SMOOTH) / (predicted_line.sum(over) + DICE_SMOOTH)
    sensitivity = ((true_line * probabilities).sum(over) + DICE_SMOOTH) / (true_line.sum(over) + DICE_SMOOTH)
    return 1.0 - (2.0 * precision * sensitivity / (precision + sensitivity)).mean()


def soft_skeleton(values: torch.Tensor, num_steps: int = SKELETON_STEPS) -> torch.Tensor:
    """The soft skeleton of (N, K, H, W) values in 0..1: a line of one pixel in the middle of each shape.

    Source: Shit et al. 2021, algorithm 1.
    """
    skeleton = F.relu(values - _dilated(_eroded(values)))
    for _ in range(num_steps):
        values = _eroded(values)
        left = F.relu(values - _dilated(_eroded(values)))
        skeleton = skeleton + F.relu(left - skeleton * left)
    return skeleton


def _eroded(values: torch.Tensor) -> torch.Tensor:
    rows = -F.max_pool2d(-values, (3, 1), 1, (1, 0))
    columns = -F.max_pool2d(-values, (1, 3), 1, (0, 1))
    return torch.minimum(rows, columns)


def _dilated(values: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(values, 3, 1, 1)


def _one_hot(logits: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probabilities and truth, each (N, K, H, W), and which pixels count (N, H, W)."""
    counts = masks != IGNORE
    if logits.shape[1] == 1:
        return logits.sigmoid(), ((masks == 1) & counts).float()[:, None], counts
    indices = torch.where(counts, masks, 0).long()
    return logits.softmax(dim=1), F.one_hot(indices, logits.shape[1]).permute(0, 3, 1, 2).float(), counts


def _dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    return dice_loss(*_one_hot(logits, masks))


def _cldice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Of the foreground, or of every class but the first."""
    probabilities, truth, counts = _one_hot(logits, masks)
    lines = slice(0 if logits.shape[1] == 1 else 1, None)
    return cldice_loss(probabilities[:, lines], truth[:, lines], counts)


def _focal_dice(loss: Loss, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    return loss.focal_weight * focal_loss(logits, masks) + (1.0 - loss.focal_weight) * _dice(logits, masks)


def _bce_dice_cldice(loss: Loss, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    region = segmentation_loss(logits, masks, loss.bce_weight)
    return (1.0 - loss.cldice_weight) * region + loss.cldice_weight * _cldice(logits, masks)


_CALCULATED: dict[LossName, Callable[[Loss, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "bce_dice": lambda loss, logits, masks: segmentation_loss(logits, masks, loss.bce_weight),
    "cross_entropy": lambda _, logits, masks: entropy_loss(logits, masks),
    "dice": lambda _, logits, masks: _dice(logits, masks),
    "focal_dice": _focal_dice,
    "bce_dice_cldice": _bce_dice_cldice,
}
