"""Says how many labels are enough by a study: the fewest that are not clearly worse than the most."""

import numpy as np

from analysis.logs.frames import Logs
from analysis.stats.arrays import FloatArray
from analysis.stats.crossed import Estimate, estimate
from analysis.tables.arm_scores import below_trivial, iou_by_arm
from analysis.tables.formatting import signed
from analysis.tables.tile_scores import TileScores, final_split, read_tile_scores


def enough_labels(logs: Logs) -> str:
    """Returns a sentence on the architecture that leads with most labels, of those scored with every number."""
    frame, scores = iou_by_arm(logs), read_tile_scores(logs, final_split(logs))
    budgets = sorted(frame["tiles"].unique())
    shared = frame[frame.groupby("label")["tiles"].transform("nunique") == len(budgets)]
    if len(budgets) < 2 or shared.empty or scores is None:
        return ""
    leader = shared[shared["tiles"] == budgets[-1]].sort_values("mean", ascending=False, kind="stable").iloc[0]
    if leader["arm"] in below_trivial(logs):
        what = f"even with {budgets[-1]}, it is no better than predicting {logs.study['trivial']['class']} everywhere"
        return f"How many labels are enough for {leader['label']} cannot be said: {what}."
    its = shared[shared["label"] == leader["label"]].set_index("tiles")["arm"]
    lead = {tiles: lead_over(scores, leader["arm"], its[tiles]) for tiles in budgets[:-1]}
    known = {tiles: found for tiles, found in lead.items() if found is not None}
    label, split = leader["label"], f"{scores.split} IoU"
    if not known:
        return f"How many labels are enough for {label} cannot be said: there are too few models or places."
    # As long as none of them is clear, also of those above it
    for tiles in known:
        if all(found.interval()[0] <= 0 for more, found in known.items() if more >= tiles):
            return (
                f"{tiles} labels are enough for {label}, as far as this study can tell: with {budgets[-1]}, its "
                f"{split} changes by {_with_ends(known[tiles])}, which may be due to chance."
            )
    most = max(known)
    return (
        f"Fewer than {budgets[-1]} labels are not enough for {label}: with {most}, its {split} is clearly lower, by "
        f"{_with_ends(known[most])}."
    )


def lead_over(scores: TileScores, most: str, fewer: str) -> Estimate | None:
    """Returns the IoU of the arm with most labels minus that of one with fewer, paired on seeds and tiles.

    Where all labels make one subset, its models stand beside those of every subset of the smaller arm.
    """
    return estimate(_for_every_subset(scores, most) - scores.parts_of(fewer), scores.factors, scores.groups)


def _for_every_subset(scores: TileScores, arm: str) -> FloatArray:
    """(M, T) an arm's scores; those of its one subset in the rows of all subsets with the same seed."""
    parts = scores.parts_of(arm)
    has_score = np.asarray(np.isfinite(parts).any(axis=1))
    subsets = np.unique(scores.subsets[has_score])
    if len(subsets) != 1:
        return parts
    of_seed = {seed: parts[row] for row, seed in enumerate(scores.seeds) if has_score[row]}
    missing = np.full(parts.shape[1], np.nan)
    return np.array([of_seed.get(seed, missing) for seed in scores.seeds])


def _with_ends(found: Estimate) -> str:
    low, high = found.interval(least=-1, most=1)
    return f"{signed(found.mean)} ({signed(low)} … {signed(high)})"
