"""Says what a reader must know to trust a study: what is missing, reopened, failed or small, and what was lost."""

from analysis.logs.frames import Logs
from analysis.stats.summaries import MIN_GROUPS
from analysis.tables.classes import constant_iou, of_one_class
from analysis.tables.conditions import conditions, shared_places
from analysis.tables.results import below_trivial
from analysis.tables.scores import final_split, read_scores
from analysis.tables.search_results import FAILED

_MOST_NAMED = 4
_ROUNDING = 0.0005  # of an IoU that is shown with three digits


def warnings(logs: Logs) -> list[str]:
    """Returns what limits the whole study, a sentence or two each, for the top of a report; the gravest first."""
    return [
        *_incomplete(logs),
        *_reopened(logs),
        *shared_places(logs),
        *_small(logs),
        *_stand_ins(logs),
        *_below_trivial(logs),
        *_failed(logs),
        *_without_result(logs),
        *_fewer_models(logs),
        *_sealed(logs),
        *_one_seed(logs),
        *_few_places(logs),
        *conditions(logs),
    ]


def remarks(logs: Logs) -> list[str]:
    """Returns what belongs below a study's tables, a sentence or two each."""
    return [
        *_openings(logs),
        *_of_one_class(logs),
        *_unscored(logs),
        *_pooled(logs),
        *_micro_batches(logs),
        *_losses(logs),
        *_budgets(logs),
    ]


def _incomplete(logs: Logs) -> list[str]:
    is_open = ~logs.runs["state"].isin(["finished", "stopped", "out of memory", *FAILED])
    num_open = int((is_open | (logs.runs["state"] == "interrupted")).sum())
    found = []
    if num_open:
        found.append(f"{_count(num_open, 'trial')} had not ended when this was logged.")
    if logs.runs.empty:
        found.append("No trial has begun.")
    elif logs.models.empty and logs.selection.empty:
        found.append("Nothing was selected and no final model was scored: the study is not complete.")
    if without := _without_models(logs):
        found.append(f"Without a final model so far: {', '.join(without)}.")
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
        f"Test tiles were REOPENED for {arm}: {' '.join(why.split()).rstrip('.')}."
        for arm, why in zip(reopened["arm"], reopened["why"].fillna("no reason is logged"), strict=True)
    ]
    return list(dict.fromkeys(sentences))


def _small(logs: Logs) -> list[str]:
    if logs.study["profile"] == "smoke":
        return ["Profile smoke: a few draws through every step. Its numbers mean nothing."]
    return []


def _stand_ins(logs: Logs) -> list[str]:
    arms = logs.study["arms"]
    labels = list(dict.fromkeys(arm["architecture_label"] for arm in arms if arm["is_stand_in"]))
    found = []
    if labels:
        found.append(
            f"Stand-ins, which say nothing about the architectures that they are named after: {', '.join(labels)}."
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
        found.append(f"Trained from scratch, without the pretrained weights that are usual: {', '.join(scratch)}.")
    return found


def _below_trivial(logs: Logs) -> list[str]:
    arms = {arm["arm"]: arm for arm in logs.study["arms"]}
    names = [
        f"{arms[arm]['architecture_label']} with {arms[arm]['tiles']} tiles ({iou:.3f})"
        for arm, iou in below_trivial(logs).items()
    ]
    split, constant = final_split(logs), logs.study["trivial"]["class"]
    trivial = constant_iou(logs, split)
    if trivial is None:
        return []
    return _named(f"No better than calling every pixel {constant} ({split} IoU {trivial:.3f})", names)


def _failed(logs: Logs) -> list[str]:
    counts = logs.runs["state"].value_counts()
    states = [state for state in (*FAILED, "out of memory") if state in counts and state != "interrupted"]
    if not states:
        return []
    words = ", ".join(f"{counts[state]} {state}" for state in states)
    arms = logs.runs.loc[logs.runs["state"].isin(states), "arm"].value_counts(sort=False)
    where = ", ".join(f"{arm} {count}" for arm, count in arms.items())
    total = _count(len(logs.runs), "trial")
    return [f"{arms.sum()} of {total} came to nothing: {words} (by arm: {where}). They count in what an arm was given."]


def _without_result(logs: Logs) -> list[str]:
    missing = logs.models[logs.models[f"{final_split(logs)}_iou"].isna()]
    rows = zip(missing["arm"], missing["number"], missing["state"].fillna("unknown"), strict=True)
    return _named("Final models without a score", [f"{arm} #{number} ({state})" for arm, number, state in rows])


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
    return _named("Fewer final models than planned", names)


def _sealed(logs: Logs) -> list[str]:
    if logs.models["test_iou"].notna().any():
        return []
    if logs.models["val_iou"].notna().any():
        told = ": all scores are on val, which also chose each model's epoch, so they are optimistic"
    elif logs.selection.empty:
        told = ""
    else:
        told = ": all scores are on val, and each is the best of several trials there, so they are optimistic"
    return [f"The test tiles are still sealed{told}."]


def _one_seed(logs: Logs) -> list[str]:
    scored = logs.models[logs.models[f"{final_split(logs)}_iou"].notna()]
    single = scored.groupby("arm", sort=False).size()
    arms = list(single[single == 1].index)
    return _named("Only one final model, so no interval (n = 1) and no place in the comparison", arms)


def _few_places(logs: Logs) -> list[str]:
    split = final_split(logs)
    scores = read_scores(logs, split)
    scored = dict.fromkeys(logs.models.loc[logs.models[f"{split}_iou"].notna(), "arm"])
    unknown = [arm for arm in scored if scores is None or arm not in scores.arms]
    found = _named(f"No scores on single {split} tiles are logged, so no interval and no comparison", unknown)
    if scores is None or scores.num_groups >= MIN_GROUPS:
        return found
    tiles = _count(len(scores.tiles), f"{split} tile")
    if scores.num_groups == 1:
        return [*found, f"All scores are of one place ({tiles}), so there are no intervals."]
    places = tiles if scores.num_groups == len(scores.tiles) else f"{scores.num_groups} places ({tiles})"
    return [*found, f"Intervals rest on only {places}: with fewer than {MIN_GROUPS} they are too narrow."]


def _openings(logs: Logs) -> list[str]:
    openings = logs.openings
    sentences = []
    if recorded := list(dict.fromkeys(openings.loc[openings["event"] == "recorded", "arm"])):
        sentences.append(f"The recorded result of an earlier opening was used for {', '.join(recorded)}.")
    if openings["num_attempts"].notna().any():
        attempts = _count(int(openings["num_attempts"].max()), "attempt")
        studies = int(openings["num_studies"].max()) if openings["num_studies"].notna().any() else 1
        of = f"{studies} {'study' if studies == 1 else 'studies'}"
        sentences.append(f"So far, these test tiles have been opened by {attempts} of {of}.")
    return sentences


def _of_one_class(logs: Logs) -> list[str]:
    return _named("All that these models predict is one class", of_one_class(logs))


def _unscored(logs: Logs) -> list[str]:
    """Tiles in which no pixel counts, of the splits that final models were scored on."""
    found = []
    for split in ("val", "test"):
        of_split = logs.scores[logs.scores["split"] == split]
        tiles = list(dict.fromkeys(of_split.loc[of_split["iou"].isna(), "tile"]))
        has = "has" if len(tiles) == 1 else "have"
        is_in = "is" if len(tiles) == 1 else "are"
        found += _named(f"{_count(len(tiles), f'{split} tile')} {has} no scored pixel and {is_in} in no mean", tiles)
    return found


def _pooled(logs: Logs) -> list[str]:
    """Says so where a model's IoU is not the mean over tiles, which all intervals are about (more than two classes)."""
    split = final_split(logs)
    scores = read_scores(logs, split)
    by_model = logs.scores[logs.scores["split"] == split].groupby(["arm", "number"])["iou"].mean()
    of_tiles = logs.models.set_index(["arm", "number"])[f"{split}_iou"] - by_model
    if not (of_tiles.abs() > _ROUNDING).any():
        return []
    if scores is not None and scores.confusions is not None:
        return ["A model's IoU is of the pixels of all tiles together, but contrasts are of its mean over tiles."]
    return [
        "A model's IoU is of the pixels of all tiles together, but intervals, P(best) and contrasts are of its mean "
        "over tiles, so an IoU may lie outside its interval."
    ]


def _micro_batches(logs: Logs) -> list[str]:
    small = logs.runs[logs.runs["micro_batch_size"].fillna(0) > 0]
    rows = zip(small["run_arm"], small["number"], small["micro_batch_size"], strict=True)
    names = [f"{arm} #{number} ({size} draws at once)" for arm, number, size in rows]
    return _named("Trained in micro-batches after running out of memory", names)


def _losses(logs: Logs) -> list[str]:
    epochs, seconds = int(logs.runs["lost_epochs"].fillna(0).sum()), float(logs.runs["lost_seconds"].fillna(0).sum())
    if not epochs and not seconds:
        return []
    words = "epoch was" if epochs == 1 else "epochs were"
    return [f"{epochs} {words} trained again after lost workers or interruptions, at a cost of {seconds:.0f} s."]


def _budgets(logs: Logs) -> list[str]:
    """What must be known of a data budget: where settings come from, how subsets overlap, and what val adds."""
    study, sentences = logs.study, []
    budgets = sorted({arm["tiles"] for arm in study["arms"]})
    num_train, num_val = study["num_train_tiles"], len(study["val_tiles"])
    if study["phase"] == "phase3_data_budget":
        if num_train in budgets:
            sentences.append(f"{num_train} of {num_train} tiles have one subset: there, only seeds differ.")
        sentences.append(
            f"Subsets are drawn from the same {num_train} tiles and overlap, so their spread is given this pool; other "
            "tiles would spread more."
        )
        tuned = sorted({arm["chosen"]["tiles"] for arm in study["arms"] if "chosen" in arm})
        origin = list(dict.fromkeys(arm["chosen"]["study"] for arm in study["arms"] if "chosen" in arm))
        if tuned:
            sentences.append(
                f"Settings were tuned with {' and '.join(map(str, tuned))} tiles ({', '.join(origin)}) and carried to "
                "the other budgets as they are."
            )
    elif len(budgets) > 1:
        sentences.append(
            f"The budgets' tiles are nested ({' ⊂ '.join(map(str, budgets))}), so they are not independent."
        )
    sentences.append(
        f"Besides its train tiles, every model used {num_val} labelled val tiles to choose its epoch"
        f"{' and its settings' if study['phase'] != 'phase1_comparison' else ''}."
    )
    return sentences


def _named(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return [f"{what}: {', '.join(names[:_MOST_NAMED])}{more}."]


def _count(count: int, noun: str) -> str:
    return f"{count} {noun if count == 1 else noun + 's'}"
