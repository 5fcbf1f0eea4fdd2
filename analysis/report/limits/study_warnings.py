"""Warns of what limits a whole study: what is missing, reopened, failed or small."""

import math

from analysis.logs.frames import Logs, opened_splits
from analysis.logs.run_configs import competing
from analysis.report.limits.conditions import conditions, on_shared_places
from analysis.report.words import counted, named
from analysis.tables.arm_scores import below_trivial, iou_by_arm
from analysis.tables.classes import constant_iou
from analysis.tables.labels import budget_unit, folds_iou, is_of_labels, nested_iou
from analysis.tables.search_results import FAILED
from analysis.tables.tile_scores import final_split, read_tile_scores

_LARGE_OPTIMISM = 0.02
"""IoU. Less is within what another seed does to a score, and is in the tables alone."""

_FEW_PLACES = 8
"""With fewer than this, a study of a few places is told from one that can speak of many."""


def study_warnings(logs: Logs) -> list[str]:
    """Returns what limits the whole study, a sentence or two each, for the top of a report; the gravest first."""
    return [
        *_incomplete(logs),
        *_reopened(logs),
        *on_shared_places(logs),
        *_small(logs),
        *_small_variants(logs),
        *_below_trivial(logs),
        *_recipe_ahead(logs),
        *_failed(logs),
        *_optimistic_folds(logs),
        *_without_result(logs),
        *_fewer_models(logs),
        *_sealed(logs),
        *_one_seed(logs),
        *_few_places(logs),
        *conditions(logs),
    ]


def _incomplete(logs: Logs) -> list[str]:
    is_open = ~logs.runs["state"].isin(["finished", "stopped", "out of memory", *FAILED])
    num_open = int((is_open | (logs.runs["state"] == "interrupted")).sum())
    found = []
    if num_open:
        found.append(f"{counted(num_open, 'trial')} had not ended when this was logged.")
    if logs.runs.empty:
        found.append("No trial has started.")
    elif logs.models.empty and logs.selection.empty:
        found.append("No trial was selected and no final model was scored.")
    if without := _without_models(logs):
        found.append(f"No final model yet: {', '.join(without)}.")
    found += [note for note in logs.notes if "has not ended" in note]
    return [f"INCOMPLETE: {' '.join(found)}"] if found else []


def _without_models(logs: Logs) -> list[str]:
    """Arms without a final model where others have some; those without anything to select are named elsewhere."""
    if logs.models.empty:
        return []
    waiting = set(logs.selection["arm"]) if (logs.runs["stage"] == "search").any() else {*_arms(logs)}
    return [arm for arm in _arms(logs) if arm in waiting - set(logs.models["arm"])]


def _arms(logs: Logs) -> list[str]:
    return [arm["arm"] for arm in logs.study["arms"]]


def _reopened(logs: Logs) -> list[str]:
    reopened = logs.openings[logs.openings["event"] == "reopened"]
    sentences = [
        f"The {split} tiles were REOPENED for {arm}: {' '.join(why.split()).rstrip('.')}."
        for arm, why, split in zip(
            reopened["arm"], reopened["why"].fillna("no reason is logged"), opened_splits(reopened), strict=True
        )
    ]
    return list(dict.fromkeys(sentences))


def _small(logs: Logs) -> list[str]:
    if logs.study["profile"] == "smoke":
        return ["This is a smoke run: it trains on a few draws only, and its scores mean nothing."]
    return []


def _small_variants(logs: Logs) -> list[str]:
    arms = competing(logs.study["arms"])
    labels = list(dict.fromkeys(arm["architecture_label"] for arm in arms if arm["is_stand_in"]))
    found = []
    if labels:
        found.append(
            "Small or random-encoder variants, which say nothing about the full architectures of these names: "
            f"{', '.join(labels)}."
        )
    scratch = list(
        dict.fromkeys(
            arm["architecture_label"]
            for arm in arms
            if arm.get("has_encoder", arm["architecture"] != "unet")
            and arm["weights"] == "none"
            and not arm["is_stand_in"]
        )
    )
    if scratch:
        found.append(f"Trained from scratch, although pretrained weights are usual: {', '.join(scratch)}.")
    return found


def _below_trivial(logs: Logs) -> list[str]:
    arms = {arm["arm"]: arm for arm in logs.study["arms"]}
    names = [
        f"{arms[arm]['architecture_label']} with {arms[arm]['tiles']} {budget_unit(logs.study)} ({iou:.3f})"
        for arm, iou in below_trivial(logs).items()
    ]
    split, constant = final_split(logs), logs.study["trivial"]["class"]
    trivial = constant_iou(logs, split)
    if trivial is None:
        return []
    return named(f"No better than predicting {constant} everywhere ({split} IoU {trivial:.3f})", names)


def _recipe_ahead(logs: Logs) -> list[str]:
    """Says so where the recipe of another architecture than the leader is above it: only what was tuned competes."""
    recipe_of = {arm["arm"]: arm.get("recipe_of", "") for arm in logs.study["arms"]}
    found = []
    for tiles, group in iou_by_arm(logs, with_recipes=True).groupby("tiles"):
        rows = group.to_dict("records")
        tuned = [row for row in rows if not recipe_of[row["arm"]]]
        leader = max(tuned, key=lambda row: row["mean"], default={"arm": "", "mean": math.inf})
        others = [row for row in rows if recipe_of[row["arm"]] not in ("", leader["arm"])]
        found += [
            f"{row['label']} with {tiles} {budget_unit(logs.study)} ({row['mean']:.3f})"
            for row in others
            if row["mean"] > leader["mean"]
        ]
    return named("Recipes above the architecture that leads once all are tuned, which alone are compared", found)


def _failed(logs: Logs) -> list[str]:
    counts = logs.runs["state"].value_counts()
    states = [state for state in (*FAILED, "out of memory") if state in counts and state != "interrupted"]
    if not states:
        return []
    words = ", ".join(f"{counts[state]} {state}" for state in states)
    arms = logs.runs.loc[logs.runs["state"].isin(states), "arm"].value_counts(sort=False)
    where = ", ".join(f"{arm} {count}" for arm, count in arms.items())
    total = counted(len(logs.runs), "trial")
    has_allowance = bool((logs.runs.loc[logs.runs["state"].isin(states), "stage"] == "search").any())
    cost = " They count against the trials allowed." if has_allowance else ""
    return [f"{arms.sum()} of {total} gave no result: {words} ({where}).{cost}"]


def _optimistic_folds(logs: Logs) -> list[str]:
    """Says so where much of the IoU over folds is the luck of the selected trial on the folds that selected it."""
    found = []
    for arm in competing(logs.study["arms"]):
        over_folds, nested = folds_iou(logs, arm["arm"]), nested_iou(logs, arm["arm"])
        if over_folds - nested >= _LARGE_OPTIMISM:
            words = f"{arm['architecture_label']} with {arm['tiles']} labels"
            found.append(f"{words} ({over_folds:.3f}, but about {nested:.3f})")
    return named(
        "IoU over folds is partly the luck of the trial that was best on these labels, and less where each fold is "
        "scored by what the other folds select",
        found,
    )


def _without_result(logs: Logs) -> list[str]:
    missing = logs.models[logs.models[f"{final_split(logs)}_iou"].isna()]
    rows = zip(missing["arm"], missing["number"], missing["state"].fillna("unknown"), strict=True)
    return named("Final models without a score", [f"{arm} #{number} ({state})" for arm, number, state in rows])


def _fewer_models(logs: Logs) -> list[str]:
    """Arms that have fewer final models than were planned, since the study was ended before."""
    spec, study = logs.study["spec"], logs.study
    names = []
    for arm in study["arms"]:
        has_subsets = study["phase"] == "phase3_data_budget" and arm["tiles"] < study["num_train_tiles"]
        planned = spec.get("seeds", 0) * (spec.get("subsets", 1) if has_subsets else 1)
        count = int((logs.models["arm"] == arm["arm"]).sum())
        if 0 < count < planned:
            names.append(f"{arm['arm']} {count} of {planned}")
    return named("Fewer final models than planned", names)


def _sealed(logs: Logs) -> list[str]:
    if logs.models["test_iou"].notna().any():
        return []
    if logs.models["val_iou"].notna().any():
        reason = ": all scores are on the val tiles, which also chose the epoch of each model, so they are optimistic"
    elif logs.selection.empty:
        reason = ""
    else:
        where = "labels that selected it" if is_of_labels(logs.study) else "val tiles"
        reason = f": each score is the best of several trials on the {where}, so all are optimistic"
    return [f"This study has no test score{reason}."]


def _one_seed(logs: Logs) -> list[str]:
    scored = logs.models[logs.models[f"{final_split(logs)}_iou"].notna()]
    single = scored.groupby("arm", sort=False).size()
    arms = list(single[single == 1].index)
    return named("Only one final model, so neither an interval (n = 1) nor a comparison", arms)


def _few_places(logs: Logs) -> list[str]:
    split = final_split(logs)
    scores = read_tile_scores(logs, split)
    scored = dict.fromkeys(logs.models.loc[logs.models[f"{split}_iou"].notna(), "arm"])
    unknown = [arm for arm in scored if scores is None or arm not in scores.arms]
    found = named(f"No scores by {split} tile are logged, so neither an interval nor a comparison", unknown)
    if scores is None or scores.num_groups >= _FEW_PLACES:
        return found
    tiles = counted(len(scores.tiles), f"{split} tile")
    if scores.num_groups == 1:
        return [*found, f"All scores are from one place ({tiles}), so there are no intervals."]
    places = tiles if scores.num_groups == len(scores.tiles) else f"{scores.num_groups} places ({tiles})"
    return [*found, f"All scores are from only {places}: intervals are wide for it, and say nothing of unlike places."]
