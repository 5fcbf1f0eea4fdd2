"""Compares two arms that a plan names: difference, interval, p-values, effect size, and Holm over the plan."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.arrays import FloatArray, IntArray
from analysis.stats.bootstrap import count_scored
from analysis.stats.crossed import LEVEL, estimate

_EXACT_TILES = 16  # 2**16 sign patterns are all tried; for more tiles about as many are drawn
_NUM_DRAWN = 2**16 - 1
_CHUNK_PATTERNS = 2**12
_TOLERANCE = 1e-12  # relative: sums that differ by rounding alone count as equal


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """How far one arm is above another, on the models and tiles that both have.

    Attributes:
        difference: Mean of the paired differences over all cells (model, tile).
        interval: By the crossed analysis (`stats.crossed`); None with fewer than two models or two tile groups.
        p: Two-sided, of the same analysis: whether newly trained models would differ on other tiles like these. None
            where there is no interval.
        effect: Cohen's d_z over tiles: the mean of the tiles' differences (each a mean over models) over their sample
            standard deviation; None for a single tile or where all tiles differ by the same.
        p_flip: Two-sided, of the sign-flip test over tiles. It assumes less, and says less: whether these models differ
            on tiles like these, not whether newly trained ones would.
        p_flip_by_group: The same with the tiles of a group flipped together: what remains if they are one observation.
        smallest_p: What `p_flip` is at least, however clear the difference.
        num_models: Pairs of models.
        num_tiles: Pairs of tiles.
        num_groups: Tile groups.
    """

    difference: float
    interval: tuple[float, float] | None
    p: float | None
    effect: float | None
    p_flip: float
    p_flip_by_group: float
    smallest_p: float
    num_models: int
    num_tiles: int
    num_groups: int


def contrast(
    a: FloatArray,
    b: FloatArray,
    model_factors: Sequence[IntArray],
    tile_groups: IntArray,
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> Contrast | None:
    """Returns how far `a` is above `b`, paired on models and tiles, or None where no cell is in both.

    Args:
        a: (M, T) scores in [0, 1] of M models (row m has the same seed and tile subset in both) on T tiles; NaN where
            missing. Of an IoU of all tiles together, what each tile adds to it (`stats.confusion.tile_parts`).
        b: (M, T).
        model_factors: Each (M,), as for `stats.crossed.estimate`.
        tile_groups: (T,).
        level: Of the interval, in (0, 1).
        seed: Of the sign flips where not all patterns are tried.

    Source: Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988, chapter 2 (d_z).
    """
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    num_models, num_tiles, num_groups = count_scored(differences, tile_groups)
    if num_models == 0:
        return None
    tiles = np.isfinite(differences).any(axis=0)
    by_tile = np.nanmean(differences[:, tiles], axis=0)
    places = np.unique(np.asarray(tile_groups)[tiles], return_inverse=True)[1]
    by_group: FloatArray = np.bincount(places, weights=by_tile).astype(np.float64)
    found = estimate(differences, model_factors, tile_groups)
    return Contrast(
        difference=float(np.nanmean(differences)),
        interval=None if found is None else found.interval(level, least=-1, most=1),
        p=None if found is None else found.p,
        effect=_effect(by_tile),
        p_flip=sign_flip_p(by_tile, seed=seed),
        p_flip_by_group=sign_flip_p(by_group, seed=seed),
        smallest_p=smallest_p(num_tiles),
        num_models=num_models,
        num_tiles=num_tiles,
        num_groups=num_groups,
    )


def _effect(by_tile: FloatArray) -> float | None:
    sd = float(by_tile.std(ddof=1)) if by_tile.size > 1 else 0.0
    return float(by_tile.mean()) / sd if sd > _TOLERANCE * float(np.abs(by_tile).max()) else None


def sign_flip_p(differences: FloatArray, *, seed: int = 0) -> float:
    """Returns the two-sided p-value of the sign-flip permutation test that the differences are symmetric about zero.

    Up to 16 differences, all sign patterns are tried; beyond, 2**16 - 1 are drawn and the observed one is counted with
    them. A difference of zero changes nothing.

    Args:
        differences: (n,) finite, n >= 1.
        seed: Of the drawn patterns.

    Source: Fisher, The Design of Experiments, 1935, chapter III; Phipson and Smyth, Permutation P-values Should Never
    Be Zero, Statistical Applications in Genetics and Molecular Biology 9(1), 2010, for (b + 1) / (B + 1).
    """
    least = abs(float(differences.sum())) - _TOLERANCE * float(np.abs(differences).sum())
    if differences.size <= _EXACT_TILES:
        return float((np.abs(_all_flips(differences)) >= least).mean())
    rng = np.random.default_rng(seed)
    num_extreme = sum(int((np.abs(sums) >= least).sum()) for sums in _drawn_flips(differences, rng))
    return (num_extreme + 1) / (_NUM_DRAWN + 1)


def _all_flips(differences: FloatArray) -> FloatArray:
    """(2**n,) the sum under every pattern of signs."""
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    return sums


def _drawn_flips(differences: FloatArray, rng: np.random.Generator) -> Iterator[FloatArray]:
    total = differences.sum()
    for start in range(0, _NUM_DRAWN, _CHUNK_PATTERNS):
        size = (min(_CHUNK_PATTERNS, _NUM_DRAWN - start), differences.size)
        yield total - 2 * (rng.integers(0, 2, size, dtype=np.int8) @ differences)


def smallest_p(num_tiles: int) -> float:
    """Returns the smallest p-value that `sign_flip_p` can give for this number of differences (1 or more)."""
    return 2.0 / float(2 ** min(num_tiles, _EXACT_TILES + 1))  # beyond 16 it is that of the drawn patterns, 2**-16


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Returns the p-values adjusted so that the chance of any false positive among them keeps its level, in order.

    Args:
        p_values: Of the contrasts that were planned, each in [0, 1]: all of them, not the interesting ones.

    Raises:
        ValueError: One is not in [0, 1].

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2),
    1979.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values are {list(p_values)}, but must be in [0, 1]: leave out contrasts without one")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return tuple(adjusted)
