"""Computes IoU from confusion matrices."""

import numpy as np

from analysis.stats.arrays import FloatArray, ratio


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
