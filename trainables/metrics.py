"""IoU and F1 from confusion matrices.

The rules, binary: scores are the foreground's, per tile, then averaged over tiles. A tile without a positive pixel in
truth and prediction scores 1 (nothing there, nothing claimed); with any false positive it scores 0, as the formula
gives. More than two classes: scores come from the confusion matrix pooled over tiles, averaged over the classes that
occur in truth or prediction. A tile without a pixel that counts has NaN scores and is left
out of every mean.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.tiles import IGNORE


@dataclass(frozen=True, slots=True)
class Scores:
    """IoU and F1 over a split, the IoU of each tile, and what is pooled over the split, all in 0..1.

    Attributes:
        iou: IoU by the rules above.
        f1: F1 by the same rules.
        tile_iou: IoU of each tile alone; NaN for a tile without a pixel that counts.
        class_iou: Per class, from the pooled confusion matrix; NaN where it occurs in neither truth nor prediction.
        accuracy: Share of correct pixels among those that count, which is micro F1.

    All are NaN where no pixel counts in the whole split.
    """

    iou: float
    f1: float
    tile_iou: tuple[float, ...]
    class_iou: tuple[float, ...] = ()
    accuracy: float = 1.0


def confusion(prediction: NDArray[Any], truth: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """(K, K) pixel counts, rows truth and columns prediction, without `IGNORE` pixels.

    Args:
        prediction: (H, W) class indices below `num_classes`.
        truth: (H, W) class indices or `IGNORE`.
        num_classes: K.
    """
    counts = truth != IGNORE
    pairs = truth[counts].astype(np.int64) * num_classes + prediction[counts]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def scores(confusions: Sequence[NDArray[np.int64]]) -> Scores:
    """Scores of a split from one (K, K) confusion matrix per tile, by the rules at the top of this file."""
    tile_scores = [_iou_f1(matrix) for matrix in confusions]
    tile_iou = tuple(iou for iou, _ in tile_scores)
    pooled = np.sum(confusions, axis=0)
    accuracy = float(np.trace(pooled) / pooled.sum()) if pooled.any() else math.nan
    scored = [pair for pair, matrix in zip(tile_scores, confusions, strict=True) if matrix.any()]
    if pooled.shape[0] == 2 and scored:
        iou, f1 = float(np.mean([iou for iou, _ in scored])), float(np.mean([f1 for _, f1 in scored]))
    else:
        iou, f1 = _iou_f1(pooled)
    return Scores(iou, f1, tile_iou, tuple(class_iou(pooled).tolist()), accuracy)


def only_class(confusions: Sequence[NDArray[np.int64]]) -> int | None:
    """The class that all pixels that count were predicted as, from one (K, K) matrix per tile; None if several."""
    predicted = np.flatnonzero(np.sum(confusions, axis=(0, 1)))
    return int(predicted[0]) if len(predicted) == 1 else None


def tile_values(ids: Sequence[str], tile_iou: Sequence[float]) -> dict[str, float | None]:
    """The IoU of each tile by its id, for files and logs: None, which is JSON's null, where a tile has none."""
    return {tile: None if math.isnan(iou) else iou for tile, iou in zip(ids, tile_iou, strict=True)}


def class_iou(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K,) IoU per class of a (K, K) confusion matrix; NaN for a class in neither truth nor prediction."""
    hits = np.diag(matrix).astype(np.float64)
    either = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    iou: NDArray[np.float64] = np.divide(hits, either, out=np.full(len(hits), np.nan), where=either > 0)
    return iou


def class_pixels(masks: Iterable[NDArray[np.uint8]], num_classes: int) -> tuple[list[int], int]:
    """Pixels per class over some (H, W) masks, and how many are ignored."""
    counts = np.zeros(IGNORE + 1, np.int64)
    for mask in masks:
        counts += np.bincount(mask.ravel(), minlength=IGNORE + 1)
    return counts[:num_classes].tolist(), int(counts[IGNORE])


def constant_scores(masks: Sequence[NDArray[np.uint8]], num_classes: int) -> tuple[int, Scores]:
    """The class that the best constant predictor says everywhere, and its scores, which any model must beat.

    For a binary task that is calling everything foreground, unless so many tiles are empty that calling nothing
    foreground scores more.
    """
    counts = [class_pixels([mask], num_classes)[0] for mask in masks]
    results = []
    for label in range(num_classes):
        confusions = np.zeros((len(masks), num_classes, num_classes), np.int64)
        confusions[:, :, label] = counts
        results.append((label, scores(list(confusions))))
    return max(results, key=lambda result: result[1].iou)


def _iou_f1(matrix: NDArray[np.int64]) -> tuple[float, float]:
    """Foreground's IoU and F1 of a 2×2 matrix, or means over the classes that occur in a larger one; NaN if empty."""
    if not matrix.any():
        return math.nan, math.nan
    hits = np.diag(matrix)
    either = matrix.sum(axis=0) + matrix.sum(axis=1) - hits
    if matrix.shape[0] == 2:
        hits, either = hits[1:], either[1:]
        if either[0] == 0:
            return 1.0, 1.0
    occurs = either > 0
    iou = hits[occurs] / either[occurs]
    f1 = 2.0 * hits[occurs] / (either[occurs] + hits[occurs])
    return float(iou.mean()), float(f1.mean())
