"""Draws the three conclusions, as far as the statistics allow: which architecture, how few tiles, at what cost."""

import math
from collections.abc import Sequence

import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.run_configs import ArmFacts
from analysis.report.words import counted, listed
from analysis.stats.bootstrap import MIN_GROUPS, count_scored
from analysis.stats.ranks import below_leader, clear_winner, ranks
from analysis.tables import search_results
from analysis.tables.arm_scores import below_trivial, comparable_scores, iou_by_arm
from analysis.tables.classes import constant_iou
from analysis.tables.spread import spread
from analysis.tables.tile_scores import final_split, read_tile_scores

_LEVEL = "95 % interval "
_PREFERRED = ("phase2_tuning", "phase1_comparison", "phase3_data_budget")


def conclusions(studies: Sequence[Logs]) -> tuple[str, ...]:
    """Returns the three conclusions, each plain text."""
    deciding = deciding_study(studies)
    return (_which(deciding, is_one_of_several=len(studies) > 1), _how_few(studies), _cost(studies, deciding))


def deciding_study(studies: Sequence[Logs]) -> Logs:
    """Returns the study that says which architecture to trust: tested before sealed, tuned before untuned.

    What varied one hyperparameter alone comes last of those that compare architectures, and phase 3 after it; of equal
    ones it is the first.
    """

    def order(logs: Logs) -> tuple[bool, bool, bool, int]:
        phase = logs.study["phase"]
        varies = bool(logs.study["spec"].get("vary"))
        return (
            logs.models.empty,
            bool(logs.models["test_iou"].isna().all()),
            varies or phase == _PREFERRED[-1],
            _PREFERRED.index(phase),
        )

    return min(studies, key=order)


def close_to_leader(logs: Logs) -> list[str]:
    """Returns the leader among the arms with most tiles, and those that do not clearly differ from it, the best first.

    Empty without final models; the leader alone where the uncertainty of the others is unknown, or where all of them
    are below it (`ranks.below_leader`).
    """
    frame = _largest_budget(logs)
    if frame.empty:
        return []
    leader = str(frame["arm"].iloc[0])
    scores = comparable_scores(logs, list(frame["arm"]))
    if scores is None or leader not in scores.arms:
        return [leader]
    is_below = below_leader(
        scores.replicates(), scores.arms.index(leader), fewest_levels=min(scores.num_levels.values())
    )
    close = {arm for arm, is_its in zip(scores.arms, is_below, strict=True) if not is_its}
    return [arm for arm in frame["arm"] if arm in close]


def _which(logs: Logs, *, is_one_of_several: bool) -> str:
    frame = _largest_budget(logs)
    if frame.empty:
        return _selected_only(logs)
    leader, metric = frame.iloc[0], f"{final_split(logs)} IoU"
    tiles = f"{leader['tiles']} tiles"
    beginning = "This is a smoke run: its scores mean nothing. " if logs.study["profile"] == "smoke" else ""
    if len(frame) == 1:
        return (
            f"{beginning}Only {leader['label']} has final models with {tiles}, with {metric} "
            f"{_with_interval(leader, _LEVEL)}, so there is nothing to compare it with."
        )
    among = f"{beginning}Among {_architectures(logs, set(frame['arm']))}, "
    scores = comparable_scores(logs, list(frame["arm"]))
    if scores is None or leader["arm"] not in scores.arms:
        return (
            f"{among}{leader['label']} has the highest {metric} with {tiles}, {_with_interval(leader)}, but how sure "
            f"that is cannot be said: {_why_unsure(logs, leader)}."
        )
    means = scores.replicates()
    place = scores.arms.index(str(leader["arm"]))
    chance = f"{_percent(ranks(means)[place].best)} of bootstrap replicates"
    levels = scores.num_levels
    single = [row["label"] for _, row in frame.iterrows() if row["arm"] not in scores.arms]
    study = f"{logs.study['study']}: " if is_one_of_several else ""
    tested = counted(len(scores.tiles), f"{scores.split} tile")
    tested += "" if scores.num_groups == len(scores.tiles) else f" in {counted(scores.num_groups, 'place')}"
    basis = f"({study}{tested}, {_models(frame)}{_beside_trivial(logs)})"
    basis += f"; {listed(single)} could not be compared" if single else ""
    if clear_winner(means, fewest_levels=min(levels.values())) == place:
        few = "; with so few places this is less certain than it looks" * (scores.num_groups < MIN_GROUPS)
        return (
            f"{among}{_verdict(logs, leader)} with {tiles}: {metric} {_with_interval(leader, _LEVEL)}, and the best in "
            f"{chance} {basis}{few}."
        )
    close = close_to_leader(logs)
    rivals = [f"{row['label']} ({row['mean']:.3f})" for _, row in frame.iterrows() if row["arm"] in close[1:]]
    lead = f"{leader['label']} leads with {metric} {_with_interval(leader, _LEVEL)}"
    if not rivals:
        return f"{among}there is no clear winner with {tiles}: {lead}, but is the best in only {chance} {basis}."
    scarce = [counted(count, name[:-1]) for name, count in levels.items() if count < MIN_GROUPS]
    others = listed(rivals)
    doubt = f"its lead over {others} may be due to chance"
    if scarce:
        doubt = f"{listed(scarce)} are too few to show a difference from {others}"
    return f"{among}there is no clear winner with {tiles}: {lead} and is the best in {chance}, but {doubt} {basis}."


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


def _verdict(logs: Logs, leader: pd.Series) -> str:
    """What may be said of a clear winner: a real architecture that was tested can be trusted, others are ahead."""
    about = next(arm for arm in logs.study["arms"] if arm["arm"] == leader["arm"])
    if about["is_stand_in"] or final_split(logs) == "val" or logs.study["profile"] == "smoke":
        return f"{leader['label']} is clearly ahead"
    return f"trust {leader['label']}"


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
    return (
        f"Only the search has run so far: the highest val IoU is {best['val_iou']:.3f} ({labels[best['arm']]}), the "
        "best of several trials on the tiles that selected it, which ranks configurations but does not say which "
        "architecture to trust."
    )


def _how_few(studies: Sequence[Logs]) -> str:
    num_budgets = {id(logs): iou_by_arm(logs)["tiles"].nunique() for logs in studies}
    logs = max(studies, key=lambda logs: num_budgets[id(logs)])
    if num_budgets[id(logs)] < 2:
        budgets = sorted({arm["tiles"] for logs in studies for arm in logs.study["arms"]})
        known = (
            f"all models were trained with {budgets[0]}"
            if len(budgets) == 1
            else f"of {listed(budgets)} tiles, no study has scored final models with more than one number"
        )
        return f"How IoU depends on the number of labelled tiles is not known: {known}."
    frame, split = iou_by_arm(logs), final_split(logs)
    budgets = sorted(frame["tiles"].unique(), reverse=True)
    everywhere = frame.groupby("label")["tiles"].nunique() == len(budgets)
    shared = frame[frame["label"].map(everywhere)]
    steps, chosen = [], []
    for tiles in budgets:
        at = shared if len(shared) else frame
        best = at[at["tiles"] == tiles].sort_values("mean", ascending=False, kind="stable").iloc[0]
        unit = " tiles" if tiles == budgets[0] else ""
        chosen.append(best)
        steps.append(f"{_with_interval(best)} with {tiles}{unit} ({best['label']})")
    where = f"In {logs.study['study']}, the" if len(studies) > 1 else "The"
    text = f"{where} highest mean {split} IoU is {listed(steps)}"
    text += "" if len(shared) else ", but no architecture was scored with all of these numbers of tiles"
    ends = pd.DataFrame(chosen)[["low", "high"]].astype("float64")
    if ends.notna().all(axis=None) and ends["low"].max() <= ends["high"].min():
        text += "; these intervals overlap, so the differences may be due to chance"
    deviations = spread(logs)
    known_spread = deviations[deviations["tiles"] == budgets[-1]].dropna(subset="sd_subset")
    if known_spread.empty:
        return f"{text}."
    subset, seed = (known_spread[name].median() for name in ("sd_subset", "sd_seed"))
    return (
        f"{text}; with {budgets[-1]} tiles, the standard deviation of IoU is about {subset:.3f} between tile subsets "
        f"and {seed:.3f} between seeds (estimated from {known_spread['subsets'].max()} subsets and "
        f"{known_spread['seeds'].max()} seeds of {listed(list(known_spread['architecture']))})."
    )


def _cost(studies: Sequence[Logs], deciding: Logs) -> str:
    spent: dict[str, float] = {}
    for logs in studies:
        unit = search_results.hours_word(logs)
        spent[unit] = spent.get(unit, 0.0) + float(search_results.hours(logs, logs.runs["seconds"].sum()))
    num_trials = sum(len(logs.runs) for logs in studies)
    num_epochs = sum(int(logs.runs["epochs"].sum()) for logs in studies)
    hours = " and ".join(f"{_amount(amount)} {unit}" for unit, amount in spent.items())
    total = f"In total, {counted(num_trials, 'trial')} and {counted(num_epochs, 'epoch')} took {hours}"
    close = close_to_leader(deciding)
    if not close:
        return f"{total}."
    arms = {arm["arm"]: arm for arm in deciding.study["arms"]}
    mean_seconds = deciding.models.groupby("arm")["seconds"].mean()
    minutes = {str(arm): float(seconds) / 60 for arm, seconds in mean_seconds.items()}
    small = {arm["arm"] for arm in deciding.study["arms"] if arm["is_stand_in"]}  # the full one costs more
    leader, *others = close
    known = [
        arm for arm in others if not math.isnan(minutes[arm]) and arm not in small | below_trivial(deciding).keys()
    ]
    cheaper = [arm for arm in known if minutes[arm] < minutes[leader] or math.isnan(minutes[leader])]
    of_leader = f"{total}. One model of {arms[leader]['architecture_label']} {_price(arms[leader], minutes)}"
    if cheaper:
        other = arms[min(cheaper, key=minutes.__getitem__)]
        return (
            f"{of_leader}; {other['architecture_label']}, the cheapest that does not clearly differ from it, "
            f"{_price(other, minutes)}."
        )
    if not known:
        return f"{of_leader}."
    labels = listed([arms[arm]["architecture_label"] for arm in known])
    do, train = ("do", "train") if len(known) > 1 else ("does", "trains")
    return f"{of_leader}; {labels}, which {do} not clearly differ from it, {train} no faster."


def _price(arm: ArmFacts, minutes: dict[str, float]) -> str:
    time = minutes[arm["arm"]]
    took = "takes an unknown time" if math.isnan(time) else f"takes {time:.1f} min"
    return f"{took} to train ({arm['num_trainable'] / 1e6:.1f} M trainable parameters)"


def _largest_budget(logs: Logs) -> pd.DataFrame:
    """The arms with most tiles, the best mean first."""
    frame = iou_by_arm(logs)
    largest: pd.DataFrame = frame[frame["tiles"] == frame["tiles"].max()]
    return largest.sort_values("mean", ascending=False, kind="stable")


def _with_interval(row: pd.Series, what: str = "") -> str:
    if not pd.isna(row["low"]):
        return f"{row['mean']:.3f} ({what}{row['low']:.3f} … {row['high']:.3f})"
    count = row["num_models"]
    return f"{row['mean']:.3f} ({'n = 1' if count == 1 else f'n = {count}, no interval'})"


def _models(frame: pd.DataFrame) -> str:
    counts = sorted(set(frame["num_models"]))
    return f"{counts[0]} to {counts[-1]} models each" if len(counts) > 1 else f"{counted(counts[0], 'model')} each"


def _percent(share: float) -> str:
    """A share in whole per cent, but never 0 or 100 where it is not."""
    rounded = round(100 * share)
    if rounded == 100 and share < 1:
        return "over 99 %"
    return "under 1 %" if rounded == 0 and share > 0 else f"{rounded} %"


def _amount(hours: float) -> str:
    if hours < 1:
        return f"{hours:.2g}"
    return f"{hours:.1f}" if hours < 10 else f"{hours:,.0f}"
