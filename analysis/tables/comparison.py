"""Compares the arm that leads with all others: how far they are behind, and whether it is a clear winner."""

import functools
from dataclasses import dataclass

import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.rows import Split
from analysis.stats.bootstrap import interval
from analysis.stats.crossed import Estimate
from analysis.stats.ranks import below_leader, ranks
from analysis.tables.arm_scores import comparable_scores, iou_by_arm
from analysis.tables.tile_scores import TileScores, final_split, read_tile_scores


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The leader beside those arms that can be compared with it.

    Attributes:
        leader: The arm with the highest mean.
        scores: Of all compared arms, of the models that all of them have.
        behind: By arm, how far it is behind the leader, by the models that both have; None where nothing tells how
            sure that is.
        below: The arms that lie below the leader by more than chance (`stats.ranks.below_leader`).
    """

    leader: str
    scores: TileScores
    behind: dict[str, Estimate | None]
    below: frozenset[str]

    @property
    def has_clear_winner(self) -> bool:
        """Whether all others lie below the leader."""
        return len(self.below) == len(self.behind)


@functools.lru_cache(maxsize=32)
def compare(logs: Logs, arms: tuple[str, ...], split: Split | None = None) -> Comparison | None:
    """Returns how the first of some arms, which leads, compares with the others; None where that cannot be said.

    It is on the split that models are compared on, unless another one is given.
    """
    scores, whole = comparable_scores(logs, list(arms), split), read_tile_scores(logs, split or final_split(logs))
    leader = arms[0]
    if scores is None or whole is None or leader not in scores.arms:
        return None
    behind = {arm: whole.difference(leader, arm) for arm in scores.arms if arm != leader}
    p_values = [1.0 if found is None or found.mean <= 0 else found.p for found in behind.values()]
    is_below = below_leader(p_values)
    below = frozenset(arm for arm, is_its in zip(behind, is_below, strict=True) if is_its)
    return Comparison(leader=leader, scores=scores, behind=behind, below=below)


def bootstrap_check(logs: Logs) -> pd.DataFrame:
    """Returns what the bootstrap says of the arms that can be compared, beside which the intervals can be checked.

    Returns:
        A frame, most tiles first, then the highest IoU, with `architecture` (its label), `tiles`, `mean` (IoU over the
        models that all compared arms with as many tiles have) with `mean_low` and `mean_high` (percentiles of the
        replicates), `best` (probability of the highest IoU, in [0, 1]) and `rank` (mean over the replicates) with its
        interval.
    """
    frame, rows = iou_by_arm(logs), []
    labels = {arm["arm"]: arm["architecture_label"] for arm in logs.study["arms"]}
    for tiles in sorted(frame["tiles"].unique(), reverse=True):
        group = frame[frame["tiles"] == tiles].sort_values("mean", ascending=False, kind="stable")
        scores = comparable_scores(logs, list(group["arm"]))
        if scores is None:
            continue
        replicates = scores.replicates()
        for place, (arm, rank) in enumerate(zip(scores.arms, ranks(replicates), strict=True)):
            low, high = interval(replicates[:, place])
            row = {"architecture": labels[arm], "tiles": tiles, "mean": scores.means()[place]}
            row |= {"mean_low": low, "mean_high": high, "best": rank.best}
            rows.append(row | {"rank": rank.mean, "rank_low": rank.interval[0], "rank_high": rank.interval[1]})
    columns = ["architecture", "tiles", "mean", "mean_low", "mean_high", "best", "rank", "rank_low", "rank_high"]
    return pd.DataFrame(rows, columns=columns)
