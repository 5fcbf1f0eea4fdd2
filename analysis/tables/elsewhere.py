"""Says whether the ranking of the arms holds on further test sets: their order there, and the leader's difference."""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.rows import Split
from analysis.stats.crossed import Estimate
from analysis.stats.ranks import order_agreement
from analysis.tables.arm_scores import iou_by_arm
from analysis.tables.comparison import compare
from analysis.tables.tile_scores import final_split, read_tile_scores

_DECIMALS = 12  # of scores around 1: what differs less is equal but for rounding


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How arms with the same number of tiles stand on a test set, beside their order on the split that decides.

    Attributes:
        split: The test set.
        tiles: Of the arms.
        order: The arms, the best on the set first.
        leader: The arm that leads on the split that decides.
        rival: The best other arm on the set.
        lead: IoU of `leader` minus that of `rival` on the set: below 0 where the rival leads there. It is of the models
            that both have; the difference of the means where nothing tells how sure it is.
        estimate: `lead` with its uncertainty; None where nothing tells it.
        unclear: Where `leader` leads on the set as well, the arms that it does not clearly lead over; else `leader`
            itself where it is not clearly behind (`stats.ranks.below_leader`).
        tau: Kendall's tau of the means here and on the split that decides; None where all means are equal.
    """

    split: Split
    tiles: int
    order: tuple[str, ...]
    leader: str
    rival: str
    lead: float
    estimate: Estimate | None
    unclear: tuple[str, ...]
    tau: float | None

    @property
    def holds(self) -> bool:
        """Whether the leader leads on the set as well."""
        return self.order[0] == self.leader


@functools.lru_cache(maxsize=32)
def standing(logs: Logs, tiles: int, split: Split) -> Standing | None:
    """Returns how the arms with as many tiles stand on a test set.

    None with fewer than two arms there, or where the leader has no score there.
    """
    frame, there = iou_by_arm(logs), iou_by_arm(logs, split)
    decided = frame[frame["tiles"] == tiles].sort_values("mean", ascending=False, kind="stable")
    means = {str(arm): round(float(mean), _DECIMALS) for arm, mean in zip(there["arm"], there["mean"], strict=True)}
    arms = [str(arm) for arm in decided["arm"] if arm in means]
    if len(arms) < 2 or arms[0] != decided["arm"].iloc[0]:
        return None
    leader = arms[0]
    order = sorted(arms, key=lambda arm: -means[arm])
    comparison = compare(logs, tuple(order), split)
    rival = next(arm for arm in order if arm != leader)
    others = [arm for arm in order if arm != leader] if order[0] == leader else [leader]
    found = None if comparison is None else comparison.behind.get(others[0])
    if found is not None and found.mean < 0:  # the models that both have say otherwise than all models
        found = None
    if found is not None and order[0] != leader:
        found = replace(found, mean=-found.mean)
    before = dict(zip(decided["arm"], decided["mean"], strict=True))
    return Standing(
        split=split,
        tiles=tiles,
        order=tuple(order),
        leader=leader,
        rival=rival,
        lead=means[leader] - means[rival] if found is None else found.mean,
        estimate=found,
        unclear=tuple(arm for arm in others if comparison is None or arm not in comparison.below),
        tau=order_agreement(np.array([before[arm] for arm in arms]), np.array([means[arm] for arm in arms])),
    )


def elsewhere(logs: Logs) -> pd.DataFrame:
    """Returns whether the ranking holds elsewhere; empty without further test sets.

    Returns:
        A frame, most tiles first, with a row for the split that decides and one per further test set: `test_set`,
        `tiles` (of the arms), `order` (architectures, the best first), `leader` (on the split that decides), `over`
        (the best other one on the set), `lead` (IoU of the one minus that of the other, paired, with its interval of
        `stats.crossed`; below 0 where the other one leads there), `clear` (whether the leader is clearly ahead of all
        others there, or clearly behind: yes or no; missing where that cannot be said), `kendall_tau` (of both orders),
        `scored_tiles` and `places`.
    """
    labels = {arm["arm"]: arm["architecture_label"] for arm in logs.study["arms"]}
    decides, rows = final_split(logs), []
    for tiles in sorted({arm["tiles"] for arm in logs.study["arms"]}, reverse=True) if logs.further else ():
        for split in (decides, *logs.further):
            its, scores = standing(logs, tiles, split), read_tile_scores(logs, split)
            if its is None:
                continue
            low, high = (math.nan, math.nan) if its.estimate is None else its.estimate.interval(least=-1, most=1)
            rows.append(
                {
                    "test_set": split,
                    "tiles": tiles,
                    "order": " > ".join(labels[arm] for arm in its.order),
                    "leader": labels[its.leader],
                    "over": labels[its.rival],
                    "lead": its.lead,
                    "lead_low": low,
                    "lead_high": high,
                    "clear": None if its.estimate is None else "no" if its.unclear else "yes",
                    "kendall_tau": math.nan if split == decides or its.tau is None else its.tau,
                    "scored_tiles": 0 if scores is None else len(scores.tiles),
                    "places": 0 if scores is None else scores.num_groups,
                }
            )
    return pd.DataFrame(rows)
