"""Simulates studies of known truth, and counts how often today's and the former rule are right about them.

`python -m tests.analysis.stats.simulated` prints the table that `test_comparison_odds` quotes.
"""

import itertools
import sys
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from analysis.stats.bootstrap import bootstrap_means
from analysis.stats.crossed import error_of_mean, mean_squares
from analysis.stats.ranks import below_leader, ranks

SEEDS, TILES = (2, 3, 5, 10), (4, 6, 12, 24)
TILE_SD, SEED_SD = 0.12, 0.02
"""Of what all arms share: how hard a tile is, and how lucky a seed. It is in the mean of an arm, not in differences."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations of what is an arm's own, in units of IoU: by seed, by tile, and the residual."""

    seed: float
    tile: float
    rest: float


SPREADS = {
    "tiles": Spread(seed=0.02, tile=0.08, rest=0.03),
    "both": Spread(seed=0.04, tile=0.05, rest=0.045),
    "seeds": Spread(seed=0.06, tile=0.03, rest=0.03),
    "rest": Spread(seed=0.02, tile=0.03, rest=0.06),
}


def studies(rng, num_studies: int, means: list[float], num_seeds: int, num_tiles: int, spread: Spread):
    """(N, A, M, T) scores around the arms' true means."""
    size = (num_studies, len(means), num_seeds, num_tiles)
    shared = rng.normal(0, SEED_SD, (num_studies, 1, num_seeds, 1)) + rng.normal(0, TILE_SD, (*size[:1], 1, 1, size[3]))
    own = rng.normal(0, spread.seed, (*size[:3], 1)) + rng.normal(0, spread.tile, (*size[:2], 1, size[3]))
    return np.array(means)[:, None, None] + shared + own + rng.normal(0, spread.rest, size)


def confusions(rng, num_seeds: int, num_tiles: int):
    """(2, M, T, 3, 3) pixel counts of two equal arms; a third class is on half of the tiles, and rare."""
    shares = rng.dirichlet([4.0, 2.0, 0.5], num_tiles) * (1, 1, 0.5)
    size = (2, num_seeds, num_tiles, 3)
    logit = 1.2 + rng.normal(0, 0.2, (2, num_seeds, 1, 1)) + rng.normal(0, 0.3, (2, 1, num_tiles, 1))
    right = 1 / (1 + np.exp(-logit - rng.normal(0, 0.2, size)))[..., None] * np.eye(3)
    wrong = (1 - right.sum(axis=-1, keepdims=True)) / 2 * (1 - np.eye(3))
    return 1e4 * shares[:, :, None] * (right + wrong)


def fitted(scores):
    """The mean, standard error and degrees of freedom of each table of (..., M, T) scores."""
    levels = scores.shape[-2:]
    error, freedom = error_of_mean(mean_squares(scores, 2), levels, [count - 1 for count in levels])
    return scores.mean(axis=(-2, -1)), error, freedom


def coverage(scores, truth: float = 0.0) -> float:
    """How many of (N, M, T) studies have an interval around the truth."""
    mean, error, freedom = fitted(scores)
    return float((np.abs(mean - truth) <= stdtrit(freedom, 0.975) * error).mean())


def verdicts(scores):
    """Per study of (N, A, M, T): the leader, and (N, A) which arms lie below it."""
    leaders = scores.mean(axis=(2, 3)).argmax(axis=1)
    ahead, error, freedom = fitted(scores[np.arange(len(scores)), leaders][:, None] - scores)
    p_values = 2 * stdtr(freedom, -np.abs(ahead / error))
    below = np.zeros(p_values.shape, dtype=bool)
    for study, leader in enumerate(leaders):
        others = np.arange(p_values.shape[1]) != leader
        below[study, others] = below_leader(p_values[study, others].tolist())
    return leaders, below


def clear_winners(scores):
    """Per study, the arm that wins clearly, or -1."""
    leaders, below = verdicts(scores)
    return np.where(below.sum(axis=1) == below.shape[1] - 1, leaders, -1)


def former_winners(scores):
    """The same by the former rule: best in 95 % of replicates, and ahead by t of the scarcest factor's levels."""
    found = np.full(len(scores), -1)
    fewest = min(scores.shape[2:])
    margin = stdtrit(fewest - 1, 0.975) * np.sqrt(fewest / (fewest - 1))
    for place, study in enumerate(scores):
        design = ([np.arange(study.shape[1])], np.arange(study.shape[2]))
        means = bootstrap_means(study, *design, num_replicates=200)
        best = [rank.best for rank in ranks(means)]
        leader = int(np.argmax(best))
        ahead = means[:, [leader]] - means
        is_ahead = ahead.mean(axis=0) > margin * ahead.std(axis=0)
        if best[leader] >= 0.95 and is_ahead.sum() == len(best) - 1:
            found[place] = leader
    return found


def row(rng, num_seeds: int, num_tiles: int, spread: Spread, *, num_studies: int, num_former: int) -> dict[str, float]:
    """Rates of one cell: false winners of equal arms, coverage, and power to name the best of three by a lead of .1."""
    design = (num_seeds, num_tiles, spread)
    two, three, four = (studies(rng, num_studies, [0.6] * count, *design) for count in (2, 3, 4))
    lead = studies(rng, num_studies, [0.7, 0.6, 0.6], *design)
    return {
        "false of 2": float((clear_winners(two) >= 0).mean()),
        "false of 3": float((clear_winners(three) >= 0).mean()),
        "best ruled out of 4": float(verdicts(four)[1][:, 0].mean()),
        "former false of 2": float((former_winners(two[:num_former]) >= 0).mean()),
        "coverage": coverage(two[:, 0] - two[:, 1]),
        "coverage of an arm": coverage(two[:, 0], 0.6),
        "power": float((clear_winners(lead) == 0).mean()),
        "former power": float((former_winners(lead[:num_former]) == 0).mean()),
    }


def cells():
    """Every number of seeds and tiles with every spread."""
    return list(itertools.product(SEEDS, TILES, SPREADS))


def main(num_studies: int, num_former: int) -> None:
    rng = np.random.default_rng(0)
    for place, (num_seeds, num_tiles, name) in enumerate(cells()):
        found = row(rng, num_seeds, num_tiles, SPREADS[name], num_studies=num_studies, num_former=num_former)
        lines = ["\t".join(["seeds", "tiles", "spread", *found])] if place == 0 else []
        lines.append("\t".join([str(num_seeds), str(num_tiles), name, *(f"{100 * its:.1f}" for its in found.values())]))
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
