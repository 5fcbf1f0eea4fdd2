"""Says in a sentence per further test set whether the leader leads there as well, by how much, and how sure that is."""

from analysis.logs.frames import Logs
from analysis.report.conclude.leader import lead_words
from analysis.report.words import counted, listed
from analysis.tables.arm_scores import iou_by_arm
from analysis.tables.elsewhere import Standing, standing
from analysis.tables.formatting import signed
from analysis.tables.tile_scores import read_tile_scores


def whether_it_holds(logs: Logs) -> str:
    """Returns whether the ranking of the arms with most tiles holds on further test sets; empty without these."""
    frame = iou_by_arm(logs)
    if frame.empty:
        return ""
    found = [standing(logs, int(frame["tiles"].max()), split) for split in logs.further]
    return " ".join(_sentence(logs, its) for its in found if its is not None)


def _sentence(logs: Logs, its: Standing) -> str:
    labels = {arm["arm"]: arm["architecture_label"] for arm in logs.study["arms"]}
    leader, rival = labels[its.leader], labels[its.rival]
    scores = read_tile_scores(logs, its.split)
    on = f"On {its.split}" + ("" if scores is None else f" ({counted(len(scores.tiles), 'tile')})")
    if its.estimate is None:
        lead, unsure = signed(abs(its.lead)), "but how sure that is cannot be said"
        if its.holds:
            return f"{on}, {leader} leads as well, by {lead} over {rival}, {unsure}."
        return f"{on}, {rival} leads instead, by {lead} over {leader}, {unsure}."
    if not its.holds:
        lead, how_sure = lead_words(its.estimate, sign=-1), "may be due to chance" if its.unclear else "is clear"
        return f"{on}, {rival} leads instead: {leader} is {lead} behind it, which {how_sure}."
    lead = lead_words(its.estimate)
    if its.unclear:
        doubtful = listed([labels[arm] for arm in its.unclear])
        which = "which" if its.unclear == (its.rival,) else f"but its lead over {doubtful}"
        return f"{on}, {leader} leads as well, by {lead} over {rival}, {which} may be due to chance."
    all_others = f"{rival}, the next best, and clearly over all others" if len(its.order) > 2 else f"{rival}, clearly"
    return f"{on}, {leader} leads as well, by {lead} over {all_others}."
