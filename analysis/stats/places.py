"""Turns scores by tile into scores by place, for places of any size, and says how much they can tell of variance."""

import math

import numpy as np

from analysis.stats.arrays import FloatArray, IntArray


def place_scores(scores: FloatArray, tile_groups: IntArray) -> FloatArray:
    """Returns scores by place whose plain mean over places is a model's mean over tiles.

    With as many tiles in each place these are the places' means. Otherwise each lies as much further from the model's
    mean as the place has more tiles than others: the mean over tiles is then a ratio of sums over places, and this its
    linear part. All are stretched so that the variance between them is what it should be where places vary alike.

    Args:
        scores: (M, T) one column or more, NaN where there is none.
        tile_groups: (T,).

    Returns:
        (M, G) with the places in ascending order; NaN where a model has no score in a place.

    Source: Cochran, Sampling Techniques, Wiley 1977, chapter 9A (clusters of unequal size, ratio to size); for the
    stretching as for `place_freedom`.
    """
    places = np.unique(tile_groups, return_inverse=True)[1]
    weights, spread = _place_weights(tile_groups)
    is_member = (places[:, None] == np.arange(weights.size)).astype(np.float64)  # (T, G)
    is_there = np.isfinite(scores)
    sums, counts = np.where(is_there, scores, 0.0) @ is_member, is_there @ is_member
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    of_model = sums.sum(axis=1, keepdims=True) / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if weights.size == 1:
        return np.asarray(means)
    stretch = math.sqrt((1 - 1 / weights.size) * float((weights**2).sum()) / float(np.trace(spread)))
    return np.asarray(of_model + stretch * weights.size * weights * (means - of_model))


def place_freedom(tile_groups: IntArray) -> float:
    """Returns the degrees of freedom of the variance between places: their number minus one, fewer for unequal sizes.

    Args:
        tile_groups: (T,) of two places or more.

    Source: Bell and McCaffrey, Bias Reduction in Standard Errors for Linear Regression with Multi-stage Samples, Survey
    Methodology 28(2), 2002 (moments of the quadratic form where places vary alike).
    """
    spread = _place_weights(tile_groups)[1]
    return float(np.trace(spread) ** 2 / (spread**2).sum())


def _place_weights(tile_groups: IntArray) -> tuple[FloatArray, FloatArray]:
    """(G,) the share of tiles of each place, and the (G, G) quadratic form of the weighted squared deviations."""
    sizes = np.unique(tile_groups, return_counts=True)[1]
    weights = sizes / sizes.sum()
    deviations = weights[:, None] * (np.eye(weights.size) - weights)
    return weights, deviations.T @ deviations
