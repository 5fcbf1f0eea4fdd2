"""Draws the three conclusions, as far as the statistics allow: which architecture, how many labels, at what price."""

import math
from collections.abc import Sequence

from analysis.logs.frames import Logs
from analysis.report.conclude.elsewhere import whether_it_holds
from analysis.report.conclude.labels_needed import labels_needed
from analysis.report.conclude.leader import close_to_leader, is_trusted, largest_budget, which_to_trust
from analysis.report.conclude.tuning import how_to_train
from analysis.report.words import counted, listed
from analysis.tables import search_results
from analysis.tables.arm_scores import below_trivial

_PREFERRED = ("phase2_tuning", "phase1_comparison", "phase3_data_budget")


def conclusions(studies: Sequence[Logs]) -> tuple[str, ...]:
    """Returns the three conclusions, each plain text."""
    deciding = deciding_study(studies)
    trusted = which_to_trust(deciding, is_one_of_several=len(studies) > 1)
    told = f"{trusted} {whether_it_holds(deciding)}".rstrip()
    return (f"{told}{_how_to_train(deciding)}", labels_needed(studies), _price(studies, deciding))


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


def _how_to_train(deciding: Logs) -> str:
    """What tuning bought of the leader, where that is known and the leader can be recommended."""
    frame = largest_budget(deciding)
    if frame.empty or not is_trusted(deciding, frame.iloc[0]):
        return ""
    return how_to_train(deciding, frame.iloc[0]["label"], frame.iloc[0]["tiles"])


def _price(studies: Sequence[Logs], deciding: Logs) -> str:
    spent: dict[str, float] = {}
    for logs in studies:
        unit = search_results.hours_word(logs)
        spent[unit] = spent.get(unit, 0.0) + float(search_results.hours(logs, logs.runs["seconds"].sum()))
    num_trials = sum(len(logs.runs) for logs in studies)
    num_epochs = sum(int(logs.runs["epochs"].sum()) for logs in studies)
    hours = " and ".join(f"{_amount(amount)} {unit}" for unit, amount in spent.items())
    total = f"All of this took {hours} ({counted(num_trials, 'trial')}, {counted(num_epochs, 'epoch')})."
    close = close_to_leader(deciding)
    if not close:
        return total
    arms = {arm["arm"]: arm for arm in deciding.study["arms"]}
    mean_seconds = deciding.models.groupby("arm")["seconds"].mean()
    minutes = {str(arm): float(seconds) / 60 for arm, seconds in mean_seconds.items()}
    small = {arm["arm"] for arm in deciding.study["arms"] if arm["is_stand_in"]}  # the full one costs more
    leader, *others = close
    known = [
        arm for arm in others if not math.isnan(minutes[arm]) and arm not in small | below_trivial(deciding).keys()
    ]
    cheaper = [arm for arm in known if minutes[arm] < minutes[leader] or math.isnan(minutes[leader])]
    of_leader = f"{total} One model of {arms[leader]['architecture_label']} takes {_time(minutes[leader])} to train"
    if cheaper:
        other = min(cheaper, key=minutes.__getitem__)
        label, time = arms[other]["architecture_label"], _time(minutes[other])
        return f"{of_leader}; {label}, the cheapest that may be as good, takes {time}."
    if not known:
        return f"{of_leader}."
    labels = listed([arms[arm]["architecture_label"] for arm in known])
    return f"{of_leader}; {labels}, which may be as good, {'take' if len(known) > 1 else 'takes'} no less."


def _time(minutes: float) -> str:
    return "an unknown time" if math.isnan(minutes) else f"{minutes:.1f} min"


def _amount(hours: float) -> str:
    if hours < 1:
        return f"{hours:.2g}"
    return f"{hours:.1f}" if hours < 10 else f"{hours:,.0f}"
