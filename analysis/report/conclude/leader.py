"""Says which architecture to trust by one study: the leader beside all others, and what would make it sure."""

from dataclasses import replace

import pandas as pd

from analysis.logs.frames import Logs
from analysis.report.words import counted, listed
from analysis.stats.bootstrap import count_scored
from analysis.stats.crossed import MOST_LEVELS, Estimate, needed_levels
from analysis.tables.arm_scores import below_trivial, iou_by_arm
from analysis.tables.classes import constant_iou
from analysis.tables.comparison import Comparison, compare
from analysis.tables.formatting import mean_words, signed
from analysis.tables.labels import budget_unit, is_of_labels
from analysis.tables.tile_scores import final_split, read_tile_scores

_LEVEL = "95 % interval "
_NO_LEAD = 1e-6


def close_to_leader(logs: Logs) -> list[str]:
    """Returns the leader among the arms with most tiles, and those that do not clearly differ from it, the best first.

    Empty without final models; the leader alone where the uncertainty of the others is unknown, or where all of them
    are below it (`stats.ranks.below_leader`).
    """
    arms = tuple(largest_budget(logs)["arm"])
    comparison = compare(logs, arms) if arms else None
    if comparison is None:
        return list(arms[:1])
    return [arm for arm in arms if arm in comparison.scores.arms and arm not in comparison.below]


def which_to_trust(logs: Logs, *, is_one_of_several: bool) -> str:
    """Returns which architecture to trust by one study, plain text; with its name where it is one of several."""
    frame = largest_budget(logs)
    if frame.empty:
        return _selected_only(logs)
    leader, metric = frame.iloc[0], f"{final_split(logs)} IoU"
    tiles = f"{leader['tiles']} {budget_unit(logs.study)}"
    beginning = "This is a smoke run: its scores mean nothing. " if logs.study["profile"] == "smoke" else ""
    if len(frame) == 1:
        return (
            f"{beginning}Only {leader['label']} has final models with {tiles}: {metric} "
            f"{mean_words(leader, _LEVEL)}, and nothing to compare it with."
        )
    among = _architectures(logs, set(frame["arm"]))
    comparison = compare(logs, tuple(frame["arm"]))
    if comparison is None:
        return (
            f"{beginning}{leader['label']} leads {among} with {tiles}, {metric} {mean_words(leader)}, but how sure "
            f"that is cannot be said: {_why_unsure(logs, leader)}."
        )
    scores = comparison.scores
    single = [row["label"] for _, row in frame.iterrows() if row["arm"] not in scores.arms]
    study = f"{logs.study['study']}: " if is_one_of_several else ""
    tested = counted(len(scores.tiles), f"{scores.split} tile")
    tested += "" if scores.num_groups == len(scores.tiles) else f" in {counted(scores.num_groups, 'place')}"
    basis = f"({study}{tested}, {_models(frame)}{_beside_trivial(logs)})"
    basis += f"; {listed(single)} could not be compared" if single else ""
    labels = {str(row["arm"]): str(row["label"]) for _, row in frame.iterrows()}
    reached = f"{metric} {mean_words(leader, _LEVEL)}"
    if comparison.has_clear_winner:
        said = "Trust {}" if is_trusted(logs, leader) else "{} is clearly ahead"
        return (
            f"{beginning}{said.format(leader['label'])}: with {tiles} it has {reached}, "
            f"{_ahead(comparison, labels)} of {among} {basis}."
        )
    said = "Take {}, but it is no clear winner" if is_trusted(logs, leader) else "{} leads, but is no clear winner"
    return (
        f"{beginning}{said.format(leader['label'])} among {among}: with {tiles} it has {reached}, and "
        f"{_as_good(comparison, labels)} {basis}.{_forecasts(comparison, labels)}"
    )


def _ahead(comparison: Comparison, labels: dict[str, str]) -> str:
    """How far a clear winner is ahead of what comes closest to it."""
    known = {arm: found for arm, found in comparison.behind.items() if found is not None}
    closest = min(known, key=lambda arm: known[arm].mean)
    return f"{lead_words(known[closest])} ahead of {labels[closest]}, the next best"


def _as_good(comparison: Comparison, labels: dict[str, str]) -> str:
    """Which arms may be as good as the leader, and how far each is behind, the best first."""
    leads = []
    for arm in _rivals(comparison, labels):
        found = comparison.behind[arm]
        lead = labels[arm] if found is None else f"{labels[arm]}, {lead_words(found)} behind"
        if found is not None and found.mean < 0:  # where the leader has more models
            lead = f"{labels[arm]}, not behind by the models that both have"
        is_clear_alone = found is not None and found.interval()[0] > 0
        leads.append(f"{lead} (as one of {len(comparison.behind)} comparisons)" if is_clear_alone else lead)
    return f"{'; and '.join(leads)}, may be as good"


def _forecasts(comparison: Comparison, labels: dict[str, str]) -> str:
    """What it would take to show leads of this size; empty where there is none."""
    scores = comparison.scores
    found: list[tuple[str, str]] = []
    place = "place" if scores.num_groups < len(scores.tiles) else f"{scores.split} tile"
    seeds, places = len(scores.factors) - 1, len(scores.factors)
    for arm in _rivals(comparison, labels):
        behind = comparison.behind[arm]
        if behind is None or behind.mean <= _NO_LEAD:
            continue
        needed = {"seed": needed_levels(behind, seeds), place: needed_levels(behind, places)}
        enough = " or ".join(counted(count, name) for name, count in needed.items() if count is not None)
        enough = f"about {enough}" if enough else f"more than {MOST_LEVELS} seeds or {place}s"
        found.append((enough, f"{enough} for {labels[arm]}"))
    if not found:
        return ""
    takes = found[0][0] if len(found) == 1 else listed([words for _, words in found])
    return f" To tell them apart in 80 % of studies takes {takes}, by the spread in this one."


def _rivals(comparison: Comparison, labels: dict[str, str]) -> list[str]:
    """The arms that do not lie clearly below the leader, the best first."""
    return [arm for arm in labels if arm in comparison.behind and arm not in comparison.below]


def lead_words(found: Estimate, *, sign: int = 1) -> str:
    """Returns a difference of IoU with its interval; of the negative difference where `sign` is -1."""
    its = replace(found, mean=sign * found.mean)
    low, high = its.interval(least=-1, most=1)
    return f"{signed(its.mean)} ({signed(low)} … {signed(high)})"


def _architectures(logs: Logs, names: set[str]) -> str:
    arms = [arm for arm in logs.study["arms"] if arm["arm"] in names]
    labels = dict.fromkeys(arm["architecture_label"] for arm in arms)
    small = {arm["architecture_label"] for arm in arms if arm["is_stand_in"]}
    count = counted(len(labels), "architecture")
    if not small:
        return count
    return f"{count} ({counted(len(small), 'small or random-encoder variant')} among them)"


def _beside_trivial(logs: Logs) -> str:
    trivial = constant_iou(logs, final_split(logs))
    return "" if trivial is None else f"; predicting {logs.study['trivial']['class']} everywhere scores {trivial:.3f}"


def is_trusted(logs: Logs, leader: pd.Series) -> bool:
    """Returns whether the leader can be recommended: a real architecture that was tested and learnt something can."""
    about = next(arm for arm in logs.study["arms"] if arm["arm"] == leader["arm"])
    is_tested = final_split(logs) == "test" and logs.study["profile"] != "smoke"
    return is_tested and not about["is_stand_in"] and about["arm"] not in below_trivial(logs)


def _why_unsure(logs: Logs, leader: pd.Series) -> str:
    """Why nothing is known of the leader's uncertainty, or of the others'."""
    scores = read_tile_scores(logs, final_split(logs))
    if scores is None or leader["arm"] not in scores.arms:
        return "its scores by tile are not in the logs"
    if scores.num_groups < 2:
        return "all scored tiles are from one place"
    num_models, *_ = count_scored(scores.of(leader["arm"]), scores.groups)
    return "it has a single model" if num_models < 2 else "no other architecture has two scored models"


def _selected_only(logs: Logs) -> str:
    known = logs.selection.dropna(subset="val_iou")
    if known.empty:
        return "There is no result yet: no model has been scored."
    labels = {arm["arm"]: arm["architecture_label"] for arm in logs.study["arms"]}
    best = known.sort_values("val_iou", ascending=False, kind="stable").iloc[0]
    begun = "Only the search has run so far: the highest val IoU is"
    if is_of_labels(logs.study):
        begun = "No final model has been tested: the highest IoU over folds is"
    return (
        f"{begun} {best['val_iou']:.3f} ({labels[best['arm']]}), the "
        "best of several trials on the tiles that selected it, which ranks configurations but does not say which "
        "architecture to trust."
    )


def largest_budget(logs: Logs) -> pd.DataFrame:
    """Returns the arms with most tiles of `iou_by_arm`, the best mean first."""
    frame = iou_by_arm(logs)
    largest: pd.DataFrame = frame[frame["tiles"] == frame["tiles"].max()]
    return largest.sort_values("mean", ascending=False, kind="stable")


def _models(frame: pd.DataFrame) -> str:
    counts = sorted(set(frame["num_models"]))
    return f"{counts[0]} to {counts[-1]} models each" if len(counts) > 1 else f"{counted(counts[0], 'model')} each"
