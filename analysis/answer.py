"""Answers the question in three sentences, as far as the statistics allow: which one, how few tiles, what cost."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis import results, search_results
from analysis.logs import Logs
from analysis.ranks import clear_winner, ranks
from analysis.results import replicates
from analysis.scores import Scores, final_split, read_scores
from analysis.stats import interval

_PREFERRED = ("phase2_tuning", "phase1_comparison", "phase3_data_budget")


def answer(studies: Sequence[Logs]) -> tuple[str, ...]:
    """Returns the three sentences (or what stands for one of them), each plain text."""
    deciding = deciding_study(studies)
    return (_which(deciding), _how_few(studies), _cost(studies, deciding))


def deciding_study(studies: Sequence[Logs]) -> Logs:
    """Returns the study that says which architecture to trust: tuned before untuned, tested before sealed."""

    def order(logs: Logs) -> tuple[bool, bool, int]:
        return (logs.models.empty, bool(logs.models["test_iou"].isna().all()), _PREFERRED.index(logs.study["phase"]))

    return min(studies, key=order)


def indistinguishable(logs: Logs) -> list[str]:
    """Returns the arms with most tiles that cannot be told from the leader, the leader first, in order of their mean.

    Empty without final models; the leader alone where nothing is known of the others' uncertainty but that they are
    behind, or where it wins clearly.
    """
    frame = _largest_budget(logs)
    if frame.empty:
        return []
    leader = str(frame["arm"].iloc[0])
    scores = _compared(logs, frame)
    if scores is None:
        return [leader]
    means = replicates(scores)
    first = scores.arms.index(leader)
    close = {
        arm for place, arm in enumerate(scores.arms) if interval(means[:, first] - means[:, place])[0] <= 0
    }  # the leader's difference to itself is zero
    return [arm for arm in frame["arm"] if arm in close]


def _which(logs: Logs) -> str:
    frame = _largest_budget(logs)
    labels = dict.fromkeys(arm["architecture_label"] for arm in logs.study["arms"])
    stand_ins = {arm["architecture_label"] for arm in logs.study["arms"] if arm["is_stand_in"]}
    hedge = f"Of {len(labels)} architectures, {len(stand_ins)} of them stand-ins: " if stand_ins else ""
    if frame.empty:
        return _selected_only(logs)
    tiles, metric = int(frame["tiles"].iloc[0]), f"{final_split(logs)} IoU"
    leader = frame.iloc[0]
    told = f"{leader['label']} with {metric} {_with_interval(leader)}"
    if len(frame) == 1:
        return f"{hedge}{_upper(f'only {told} was run with {tiles} tiles', hedge)}, so there is nothing to choose from."
    scores = _compared(logs, frame)
    if scores is None:
        return (
            f"{hedge}{_upper(f'with {tiles} tiles {told} comes first', hedge)}, but with one model per architecture or "
            "one place of tiles nobody can say how sure that is."
        )
    means = replicates(scores)
    place = scores.arms.index(str(leader["arm"]))
    probability = ranks(means)[place].best
    on = f"{len(scores.tiles)} {scores.split} tiles of {scores.num_groups} places, {_models(frame)}"
    winner = clear_winner(means, num_models=int(frame["num_models"].min()), num_groups=scores.num_groups)
    if winner == place:
        text = f"with {tiles} tiles trust {told}: the best of {len(frame)} with probability {probability:.2f} ({on})."
        return hedge + _upper(text, hedge)
    others = [name for name in indistinguishable(logs) if name != leader["arm"]]
    rivals = frame[frame["arm"].isin(others)]
    behind = ", ".join(f"{row['label']} ({row['mean']:.3f})" for _, row in rivals.iterrows())
    text = (
        f"there is no clear winner with {tiles} tiles: {told} leads, but is the best with probability {probability:.2f}"
    )
    rest = f"; {behind} cannot be told from it" if behind else ""
    return f"{hedge}{_upper(text, hedge)} only{rest} ({on})."


def _selected_only(logs: Logs) -> str:
    known = logs.selection.dropna(subset="val_iou")
    if known.empty:
        return "Nothing can be said yet: no architecture has a trial that ran its course."
    labels = {arm["arm"]: arm["architecture_label"] for arm in logs.study["arms"]}
    best = known.sort_values("val_iou").iloc[-1]
    return (
        f"Tuning alone found val IoU {best['val_iou']:.3f} for {labels[best['arm']]}, the best of several trials: that "
        "ranks settings, and does not say which architecture to trust."
    )


def _how_few(studies: Sequence[Logs]) -> str:
    num_budgets = {id(logs): results.cells(logs)["tiles"].nunique() for logs in studies}
    logs = max(studies, key=lambda logs: num_budgets[id(logs)])
    if num_budgets[id(logs)] < 2:
        budgets = sorted({arm["tiles"] for logs in studies for arm in logs.study["arms"]})
        return f"Nothing is known of other numbers of tiles: only {' and '.join(map(str, budgets))} were tried."
    frame, split = results.cells(logs), final_split(logs)
    steps = []
    for tiles in sorted(frame["tiles"].unique(), reverse=True):
        best = frame[frame["tiles"] == tiles].sort_values("mean", kind="stable").iloc[-1]
        steps.append(f"{_with_interval(best)} with {tiles} ({best['label']})")
    text = f"As tiles get fewer, the best mean {split} IoU goes from {', over '.join(steps[:-1])} to {steps[-1]}"
    spread = results.variances(logs)
    known = spread[spread["tiles"] == frame["tiles"].min()].dropna(subset="sd_subset")
    if known.empty:
        return f"{text}."
    return (
        f"{text}; there, IoU has a standard deviation of {known['sd_subset'].median():.3f} from which tiles were drawn "
        f"and {known['sd_seed'].median():.3f} from the seed (medians over architectures)."
    )


def _cost(studies: Sequence[Logs], deciding: Logs) -> str:
    runs = pd.concat([logs.runs for logs in studies])
    spent = sum(float(search_results.hours(logs, logs.runs["seconds"].sum())) for logs in studies)
    words = " and ".join(sorted({search_results.hours_word(logs) for logs in studies}))
    total = f"All of it took {spent:.2g} {words} for {len(runs)} trials and {int(runs['epochs'].sum())} epochs"
    close = indistinguishable(deciding)
    if not close:
        return f"{total}."
    arms = {arm["arm"]: arm for arm in deciding.study["arms"]}
    minutes = deciding.models.groupby("arm")["seconds"].mean() / 60
    leader, cheapest = close[0], min(close, key=lambda arm: minutes.get(arm, math.inf))
    label = arms[leader]["architecture_label"]
    told = f"{total}; {label} takes {_price(arms[leader], minutes)} trainable parameters) a model"
    if cheapest == leader:
        return f"{told}{', and none that comes close is cheaper' if len(close) > 1 else ''}."
    other = arms[cheapest]["architecture_label"]
    return f"{told}, and the cheapest that cannot be told from it, {other}, {_price(arms[cheapest], minutes)})."


def _price(arm: dict[str, Any], minutes: pd.Series) -> str:
    return f"{minutes[arm['arm']]:.1f} min ({arm['num_trainable'] / 1e6:.1f} M"


def _largest_budget(logs: Logs) -> pd.DataFrame:
    """The cells with most tiles, the best mean first."""
    frame = results.cells(logs)
    largest: pd.DataFrame = frame[frame["tiles"] == frame["tiles"].max()]
    return largest.sort_values("mean", ascending=False, kind="stable")


def _compared(logs: Logs, frame: pd.DataFrame) -> Scores | None:
    """The scores of some arms; None where no uncertainty can be told."""
    scores = read_scores(logs, final_split(logs))
    if scores is None or scores.num_groups < 2 or frame["num_models"].min() < 2:
        return None
    return scores.select(list(frame["arm"]))


def _with_interval(cell: pd.Series) -> str:
    if pd.isna(cell["low"]):
        return f"{cell['mean']:.3f} (n = {cell['num_models']})"
    return f"{cell['mean']:.3f} ({cell['low']:.3f} … {cell['high']:.3f})"


def _models(frame: pd.DataFrame) -> str:
    counts = sorted(set(frame["num_models"]))
    return f"{' or '.join(map(str, counts))} models each"


def _upper(text: str, before: str) -> str:
    return text if before else text[0].upper() + text[1:]
