"""Computes IoU from confusion matrices, and what each tile adds to one of all tiles together."""

import numpy as np

from analysis.stats.arrays import BoolArray, FloatArray, ratio


def class_iou(confusions: FloatArray) -> FloatArray:
    """Returns the IoU of every class, (..., K) in [0, 1], of (..., K, K) pixel counts with rows truth.

    NaN for a class in neither truth nor prediction.
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    either = confusions.sum(axis=-1) + confusions.sum(axis=-2) - hits
    return ratio(hits, either)


def mean_class_iou(confusions: FloatArray) -> FloatArray:
    """Returns the mean IoU over the classes that occur in truth or prediction, (...), of (..., K, K) pixel counts.

    NaN where there is no pixel at all.
    """
    iou = class_iou(confusions)
    occurs = np.isfinite(iou)
    total = np.nan_to_num(iou).sum(axis=-1)
    return ratio(total, occurs.sum(axis=-1))


def tile_parts(confusions: FloatArray) -> FloatArray:
    """Returns what each tile adds to the mean class IoU of all tiles together; its mean over tiles is that IoU.

    It is the linear part (influence) of that IoU in the tiles' pixel counts: a tile where many pixels are mistaken lies
    far below. A class that occurs on one tile alone has the same IoU whichever other tiles are drawn, so that it adds
    no spread: intervals are too narrow where classes are on few tiles.

    Args:
        confusions: (..., T, K, K) pixel counts, rows truth; NaN where there is no score.

    Returns:
        (..., T), not confined to [0, 1]; NaN where there is no score.

    Source: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM 1982, chapter 6 (infinitesimal
    jackknife).
    """
    is_there: BoolArray = np.isfinite(confusions.sum(axis=(-2, -1)))
    counts = np.where(is_there[..., None, None], confusions, 0.0)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., T, K)
    either = counts.sum(axis=-1) + counts.sum(axis=-2) - hits
    whole = either.sum(axis=-2, keepdims=True)
    iou = ratio(hits.sum(axis=-2, keepdims=True), whole)
    occurs = np.isfinite(iou)
    moved = np.where(occurs, hits - np.nan_to_num(iou) * either, 0.0) / np.where(occurs, whole, 1.0)
    num_tiles, num_classes = is_there.sum(axis=-1)[..., None], np.maximum(occurs.sum(axis=-1), 1)
    parts = mean_class_iou(counts.sum(axis=-3))[..., None] + num_tiles * moved.sum(axis=-1) / num_classes
    return np.where(is_there, parts, np.nan)
