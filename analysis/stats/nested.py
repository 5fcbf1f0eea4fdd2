"""Scores a selection by folds that had no say in it: what the best of many promises too much, at no training cost."""

import numpy as np

from analysis.stats.arrays import FloatArray, IntArray

LEAST_FOLDS = 3
"""With two, a single fold selects for the other: another rule than selection by all folds but one."""


def nested_mean(scores: FloatArray, folds: IntArray) -> float:
    """Returns the mean score of what is selected without the tile that it is scored on.

    For each fold, the candidate with the highest mean over the tiles of all other folds is scored on the tiles of this
    one. The highest mean over all tiles, `scores.mean(axis=1).max()`, minus this is how much selection flatters. It is
    never below zero. Where all candidates are equally good and scores are noise, this is unbiased.

    Nothing is trained anew, so the networks that were judged on the other folds had learnt from this one, and whatever
    proposed and stopped candidates knew all folds: it is what the choice among them promises too much, no more.

    Args:
        scores: (C, T) of each candidate on each held-out tile; a candidate that lacks one is left out, and so is a
            tile that no candidate has a score on. The first one is selected where several are best.
        folds: (T,) the fold of every tile; places lie in one fold as a whole.

    Returns:
        In the units of the scores; NaN with no candidate, or with scores in fewer than `LEAST_FOLDS` folds.

    Sources: Varma and Simon, Bias in Error Estimation when Using Cross-Validation for Model Selection, BMC
    Bioinformatics 7:91, 2006 (why); Tibshirani and Tibshirani, A Bias Correction for the Minimum Error Rate in
    Cross-Validation, Annals of Applied Statistics 3(2), 2009 (a correction by what is best in single folds);
    Tsamardinos, Greasidou and Borboudakis, Bootstrapping the Out-of-Sample Predictions for Efficient and Accurate
    Cross-Validation, Machine Learning 107(12), 2018 (selection anew by parts of the tiles, here all folds but one).
    """
    is_scored = np.isfinite(scores).any(axis=0)
    known = scores[:, is_scored]
    known, fold_of = known[np.isfinite(known).all(axis=1)], np.asarray(folds)[is_scored]
    if not len(known) or np.unique(fold_of).size < LEAST_FOLDS:
        return float("nan")
    total = 0.0
    for fold in np.unique(fold_of):
        is_held_out = fold_of == fold
        selected = int(known[:, ~is_held_out].mean(axis=1).argmax())
        total += float(known[selected, is_held_out].sum())
    return total / fold_of.size
