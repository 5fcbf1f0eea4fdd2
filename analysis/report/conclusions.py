"""Draws the three conclusions, as far as the statistics allow: which architecture, how few tiles, at what cost."""

import math
from collections.abc import Sequence

import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.run_configs import ArmFacts
from analysis.report.elsewhere import whether_it_holds
from analysis.report.leader import close_to_leader, lead_words, which_to_trust, with_interval
from analysis.report.words import counted, listed
from analysis.tables import search_results
from analysis.tables.arm_scores import below_trivial, iou_by_arm
from analysis.tables.spread import spread
from analysis.tables.tile_scores import final_split, read_tile_scores

_PREFERRED = ("phase2_tuning", "phase1_comparison", "phase3_data_budget")


def conclusions(studies: Sequence[Logs]) -> tuple[str, ...]:
    """Returns the three conclusions, each plain text."""
    deciding = deciding_study(studies)
    trusted = which_to_trust(deciding, is_one_of_several=len(studies) > 1)
    return (f"{trusted} {whether_it_holds(deciding)}".rstrip(), _how_few(studies), _cost(studies, deciding))


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
        steps.append(f"{with_interval(best)} with {tiles}{unit} ({best['label']})")
    where = f"In {logs.study['study']}, the" if len(studies) > 1 else "The"
    text = f"{where} highest mean {split} IoU is {listed(steps)}"
    text += "" if len(shared) else ", but no architecture was scored with all of these numbers of tiles"
    text += _losses(logs, chosen)
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


def _losses(logs: Logs, chosen: Sequence[pd.Series]) -> str:
    """How much lower the best IoU is with fewer tiles than with most; empty where nothing tells how sure that is."""
    scores, (most, *fewer) = read_tile_scores(logs, final_split(logs)), chosen
    found = []
    for its in fewer:
        gain = None if scores is None else scores.gain(most["arm"], its["arm"])
        if gain is not None:
            low, high = gain.interval()
            loss = f"{lead_words(gain)} less" if gain.mean >= 0 else f"{lead_words(gain, sign=-1)} more"
            how_sure = ", which may be due to chance" if low <= 0 <= high else ""
            found.append(f"{its['tiles']} tiles give {loss} than {most['tiles']}{how_sure}")
    return f"; by paired differences, {listed(found)}" if found else ""


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


def _amount(hours: float) -> str:
    if hours < 1:
        return f"{hours:.2g}"
    return f"{hours:.1f}" if hours < 10 else f"{hours:,.0f}"
