"""Puts the final models' scores into one array, so that arms can be compared model by model and tile by tile."""

import functools
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.rows import Split
from analysis.stats.arrays import FloatArray, IntArray
from analysis.stats.bootstrap import bootstrap_means, bootstrap_pooled_iou
from analysis.stats.confusion import tile_parts
from analysis.stats.crossed import Estimate, estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class TileScores:
    """The IoU of every final model on every tile of a split.

    Attributes:
        split: Which tiles.
        arms: (A) names, in the study's order; those without any score are left out.
        iou: (A, M, T) in [0, 1]; NaN where an arm lacks a model. Row m has the same tile subset and seed in all
            arms.
        subsets: (M,) the tile subset of each row, from 0.
        seeds: (M,) the seed of each row, from 0.
        tiles: (T) ids.
        groups: (T,) the place of each tile, as a number.
        confusions: (A, M, T, K, K) pixel counts, where a model's IoU is of the pixels of all tiles together (more than
            two classes) and they were logged for all; NaN as in `iou`. None where it is the mean over tiles.
    """

    split: Split
    arms: tuple[str, ...]
    iou: FloatArray
    subsets: IntArray
    seeds: IntArray
    tiles: tuple[str, ...]
    groups: IntArray
    confusions: FloatArray | None = None

    @property
    def factors(self) -> tuple[IntArray, ...]:
        """What the rows differ in; a factor with one level for all adds nothing."""
        return (self.subsets, self.seeds)

    @property
    def num_groups(self) -> int:
        """Places; tiles of one place are not independent."""
        return int(np.unique(self.groups).size)

    @property
    def num_levels(self) -> dict[str, int]:
        """How many there are of whatever the scores vary over: "seeds", "subsets" where there are several, "places"."""
        levels = {"seeds": np.unique(self.seeds).size, "subsets": np.unique(self.subsets).size}
        varied = {name: count for name, count in levels.items() if name == "seeds" or count > 1}
        return varied | {"places": self.num_groups}

    @functools.cached_property
    def parts(self) -> FloatArray:
        """(A, M, T) what each tile adds to a model's IoU: their mean over tiles is that IoU; NaN as in `iou`.

        It is the tile's IoU, or, where the IoU is of the pixels of all tiles, its linear part (`stats.confusion`).
        """
        return self.iou if self.confusions is None else tile_parts(self.confusions)

    def paired(self) -> "TileScores":
        """The same of those models only that every arm has: what an arm lacks would count for it, or against it."""
        shared = np.isfinite(self.iou).any(axis=2).all(axis=0)
        return replace(
            self,
            iou=self.iou[:, shared],
            subsets=self.subsets[shared],
            seeds=self.seeds[shared],
            confusions=None if self.confusions is None else self.confusions[:, shared],
        )

    def of(self, arm: str) -> FloatArray:
        """(M, T) IoU of an arm's models; all NaN where it has none."""
        return self._its(self.iou, arm)

    def parts_of(self, arm: str) -> FloatArray:
        """(M, T) `parts` of an arm; all NaN where it has none."""
        return self._its(self.parts, arm)

    def _its(self, values: FloatArray, arm: str) -> FloatArray:
        return values[self.arms.index(arm)] if arm in self.arms else np.full(self.iou.shape[1:], np.nan)

    def select(self, arms: list[str]) -> "TileScores":
        """The same of some arms only, in that order; those without scores are left out."""
        known = [arm for arm in arms if arm in self.arms]
        places = [self.arms.index(arm) for arm in known]
        confusions = None if self.confusions is None else self.confusions[places]
        return replace(self, arms=tuple(known), iou=self.iou[places], confusions=confusions)

    def replicates(self) -> FloatArray:
        """(B, A) bootstrap replicates of the arms' IoU, paired; see `stats.bootstrap`."""
        if self.confusions is None:
            return bootstrap_means(self.iou, self.factors, self.groups)
        return bootstrap_pooled_iou(self.confusions, self.factors, self.groups)

    def interval(self, arm: str) -> tuple[float, float] | None:
        """The interval of an arm's IoU (`stats.crossed`), in [0, 1]; None with fewer than two models or two places."""
        found = estimate(self.parts_of(arm), self.factors, self.groups)
        return None if found is None else found.interval(least=0, most=1)

    def means(self) -> FloatArray:
        """(A,) the arms' IoU: the mean over their models."""
        return np.asarray(np.nanmean(self.parts, axis=(1, 2)))

    def difference(self, first: str, second: str) -> Estimate | None:
        """The IoU of one arm minus that of another, paired on models and tiles; None as for `interval`."""
        return estimate(self.parts_of(first) - self.parts_of(second), self.factors, self.groups)

    def gain(self, more: str, fewer: str) -> Estimate | None:
        """The IoU of an arm with more tiles minus that of one with fewer, paired on models and tiles; None as above.

        Where the first has one subset, which is all tiles, its models stand beside every subset of the other one.
        """
        first = self.parts_of(more)
        is_there = np.isfinite(first).any(axis=1)
        if np.unique(self.subsets[is_there]).size == 1:
            by_seed = dict(zip(self.seeds[is_there], first[is_there], strict=True))
            first = np.stack([by_seed.get(seed, np.full(len(self.tiles), np.nan)) for seed in self.seeds])
        return estimate(first - self.parts_of(fewer), self.factors, self.groups)


def final_split(logs: Logs) -> Split:
    """Returns the split that final models are compared on: the test tiles, or val as long as these are sealed."""
    return "test" if logs.models["test_iou"].notna().any() else "val"


@functools.lru_cache(maxsize=32)  # a report asks for the same ones again and again
def read_tile_scores(logs: Logs, split: Split) -> TileScores | None:
    """Returns the scores of the final models on a split, or None where there are none.

    Tiles without a pixel that counts have no score and are left out.
    """
    scores = logs.scores[(logs.scores["split"] == split) & logs.scores["iou"].notna()]
    if scores.empty:
        return None
    joined = scores.merge(logs.models[["arm", "number", "subset", "seed"]], on=["arm", "number"])
    tiles = tuple(dict.fromkeys(joined["tile"]))
    rows = pd.MultiIndex.from_frame(joined[["subset", "seed"]].drop_duplicates().sort_values(["subset", "seed"]))
    arms = tuple(arm["arm"] for arm in logs.study["arms"] if (joined["arm"] == arm["arm"]).any())
    iou = np.full((len(arms), len(rows), len(tiles)), np.nan)
    iou[
        _places(joined["arm"], arms),
        rows.get_indexer(pd.MultiIndex.from_frame(joined[["subset", "seed"]])),
        _places(joined["tile"], tiles),
    ] = joined["iou"]
    group_of = dict(zip(joined["tile"], joined["group"], strict=True))
    confusions = _pooled(logs, split, joined, arms, rows, tiles)
    return TileScores(
        split=split,
        arms=arms,
        iou=iou,
        subsets=rows.get_level_values(0).to_numpy(dtype=np.int64),
        seeds=rows.get_level_values(1).to_numpy(dtype=np.int64),
        tiles=tiles,
        groups=pd.factorize(np.array([group_of[tile] for tile in tiles]), sort=True)[0],
        confusions=confusions,
    )


def _pooled(
    logs: Logs, split: Split, joined: pd.DataFrame, arms: tuple[str, ...], rows: pd.MultiIndex, tiles: tuple[str, ...]
) -> FloatArray | None:
    """The confusion matrices as in `TileScores`."""
    num_classes = len(logs.study.get("classes", ()))
    models = joined[["arm", "number", "subset", "seed"]].drop_duplicates().to_dict("records")
    if num_classes <= 2 or any((model["arm"], model["number"], split) not in logs.confusions for model in models):
        return None
    confusions = np.full((len(arms), len(rows), len(tiles), num_classes, num_classes), np.nan)
    of_split = logs.scores[logs.scores["split"] == split]  # with those tiles that have no score, as the matrices
    for model in models:
        its = of_split[(of_split["arm"] == model["arm"]) & (of_split["number"] == model["number"])]
        is_scored = its["iou"].notna().to_numpy()
        row, places = rows.get_loc((model["subset"], model["seed"])), [tiles.index(t) for t in its["tile"][is_scored]]
        matrices = logs.confusions[model["arm"], model["number"], split]
        confusions[arms.index(model["arm"]), row, places] = matrices[is_scored]
    return confusions


def _places(values: pd.Series, order: tuple[str, ...]) -> IntArray:
    places: IntArray = values.map({value: place for place, value in enumerate(order)}).to_numpy(dtype=np.int64)
    return places
