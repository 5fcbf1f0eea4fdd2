"""Says how many labelled tiles are needed: what fewer of them cost, by paired differences, and how sure that is."""

from collections.abc import Sequence

import pandas as pd

from analysis.logs.frames import Logs
from analysis.report.words import listed
from analysis.stats.crossed import Estimate
from analysis.tables.arm_scores import below_trivial, iou_by_arm
from analysis.tables.formatting import mean_words, signed
from analysis.tables.labels import budget_unit
from analysis.tables.spread import spread
from analysis.tables.tile_scores import final_split, read_tile_scores

SMALL_LOSS = 0.02
"""IoU that nobody would label twice as many tiles for; ours."""


def labels_needed(studies: Sequence[Logs]) -> str:
    """Returns how many labelled tiles are needed, by the study with most data budgets, plain text."""
    num_budgets = {id(logs): iou_by_arm(logs)["tiles"].nunique() for logs in studies}
    logs = max(studies, key=lambda logs: num_budgets[id(logs)])
    if num_budgets[id(logs)] < 2:
        return _unknown(studies)
    frame = iou_by_arm(logs)
    everywhere = frame.groupby("label")["tiles"].nunique() == frame["tiles"].nunique()
    shared = frame[frame["label"].map(everywhere)]
    most, *fewer = _best_by_tiles(shared if len(shared) else frame)
    scores = read_tile_scores(logs, final_split(logs))
    losses = {
        str(row["arm"]): None if scores is None else scores.gain(str(most["arm"]), str(row["arm"])) for row in fewer
    }
    metric = f"{final_split(logs)} IoU"
    steps = [_step(row, losses[str(row["arm"])]) for row in fewer]
    verdict = _verdict(fewer, losses)
    if str(most["arm"]) in below_trivial(logs):
        trivial = logs.study["trivial"]["class"]
        verdict = f"How many labelled tiles are needed cannot be said, as none beats predicting {trivial} everywhere"
    where = f"{logs.study['study']}: " if len(studies) > 1 else ""
    return (
        f"{where}{verdict}: the best {metric} is {mean_words(most)} with {most['tiles']} "
        f"{budget_unit(logs.study)} ({most['label']}), {listed(steps)}"
        f"{'' if len(shared) else '; no architecture has all of these numbers'}."
        f"{_draws(logs, fewer[-1]['tiles'])}"
    )


def _best_by_tiles(frame: pd.DataFrame) -> list[pd.Series]:
    """The arm with the highest mean of each number of tiles, most tiles first."""
    ordered = frame.sort_values(["tiles", "mean"], ascending=False, kind="stable")
    return [of_tiles.iloc[0] for _, of_tiles in ordered.groupby("tiles", sort=False)]


def _verdict(fewer: Sequence[pd.Series], losses: dict[str, Estimate | None]) -> str:
    """What the losses come to: the least number of tiles that loses nothing clear."""
    known = [(row["tiles"], loss) for row in fewer if (loss := losses[str(row["arm"])]) is not None]
    if len(known) < len(fewer):
        return "How many labelled tiles are needed cannot be said for sure"
    enough = {tiles: loss.interval()[1] for tiles, loss in known if loss.interval()[0] <= 0}
    if not enough:
        return "Every labelled tile pays"
    is_plain = enough[least := min(enough)] <= SMALL_LOSS
    return f"{least} labelled tiles {'are' if is_plain else 'may be'} enough"


def _step(row: pd.Series, loss: Estimate | None) -> str:
    """What is lost with fewer tiles: `0.100 (0.080 … 0.120) less with 12 (unet)`."""
    tiles = f"with {row['tiles']} ({row['label']})"
    if loss is None:
        return f"{mean_words(row)} {tiles}"
    low, high = loss.interval(least=-1, most=1)
    size, words = loss.mean, "less"
    if size < 0:
        size, low, high, words = -size, -high, -low, "more"
    return f"{signed(size)} ({signed(low)} … {signed(high)}) {words} {tiles}"


def _draws(logs: Logs, tiles: int) -> str:
    """How much the draw of so few tiles and the seeds move IoU; empty where that is not known."""
    deviations = spread(logs)
    known = deviations[deviations["tiles"] == tiles].dropna(subset="sd_subset")
    if known.empty:
        return ""
    subset, seed = (known[name].median() for name in ("sd_subset", "sd_seed"))
    return (
        f" With {tiles}, which tiles they are moves IoU by about {subset:.3f} and the seed by {seed:.3f} (standard "
        f"deviations over {known['subsets'].max()} subsets and {known['seeds'].max()} seeds)."
    )


def _unknown(studies: Sequence[Logs]) -> str:
    budgets = sorted({arm["tiles"] for logs in studies for arm in logs.study["arms"]})
    if len(budgets) == 1:
        return f"How many labelled tiles are needed is not known: all models were trained with {budgets[0]}."
    return (
        f"How many labelled tiles are needed is not known: of {listed(budgets)} tiles, no study has scored final "
        "models with more than one number."
    )
