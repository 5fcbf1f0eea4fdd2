"""Says what stands below a study's main table: what single values mean, and what was lost on the way."""

from analysis.logs.frames import Logs, opened_splits
from analysis.logs.rows import SPLITS
from analysis.report.words import counted, listed, named
from analysis.tables.classes import of_one_class
from analysis.tables.labels import budget_unit, is_of_labels
from analysis.tables.tile_scores import final_split, read_tile_scores

_ROUNDING = 0.0005  # of an IoU that is shown with three digits


def study_notes(logs: Logs) -> list[str]:
    """Returns what belongs below a study's main table, a sentence or two each."""
    return [
        *_openings(logs),
        *_of_one_class(logs),
        *_unscored(logs),
        *_pooled(logs),
        *_micro_batches(logs),
        *_losses(logs),
        *_more_seeds(logs),
        *_budgets(logs),
    ]


def _openings(logs: Logs) -> list[str]:
    sentences = []
    for split, openings in logs.openings.groupby(opened_splits(logs.openings), sort=False):
        if recorded := list(dict.fromkeys(openings.loc[openings["event"] == "recorded", "arm"])):
            which = str(split).capitalize()
            sentences.append(
                f"{which} scores recorded at an earlier opening were used again for {', '.join(recorded)}."
            )
        if openings["num_attempts"].notna().any():
            attempts = counted(int(openings["num_attempts"].max()), "attempt")
            studies = int(openings["num_studies"].max()) if openings["num_studies"].notna().any() else 1
            of = f"{studies} {'study' if studies == 1 else 'studies'}"
            sentences.append(f"These {split} tiles have been opened by {attempts} of {of} so far.")
    return sentences


def _of_one_class(logs: Logs) -> list[str]:
    return named("These models predict one class everywhere", of_one_class(logs))


def _unscored(logs: Logs) -> list[str]:
    """Tiles in which no pixel counts, of the splits that final models were scored on."""
    found = []
    for split in (*SPLITS, *logs.further):
        of_split = logs.scores[logs.scores["split"] == split]
        tiles = list(dict.fromkeys(of_split.loc[of_split["iou"].isna(), "tile"]))
        has = "has" if len(tiles) == 1 else "have"
        is_in = "is" if len(tiles) == 1 else "are"
        found += named(
            f"{counted(len(tiles), f'{split} tile')} {has} no labelled pixel and {is_in} left out of all scores", tiles
        )
    return found


def _pooled(logs: Logs) -> list[str]:
    """Says so where a model's IoU is not the mean over tiles (more than two classes)."""
    split = final_split(logs)
    scores = read_tile_scores(logs, split)
    by_model = logs.scores[logs.scores["split"] == split].groupby(["arm", "number"])["iou"].mean()
    of_tiles = logs.models.set_index(["arm", "number"])[f"{split}_iou"] - by_model
    if not (of_tiles.abs() > _ROUNDING).any():
        return []
    if scores is not None and scores.confusions is not None:
        return [
            "The IoU of a model is computed from the pixels of all tiles together, in intervals and contrasts, too; "
            "P(better) uses the IoU of each tile."
        ]
    return [
        "The IoU of a model is computed from the pixels of all tiles together; intervals and contrasts use "
        "its mean over tiles, so an IoU may lie outside its interval."
    ]


def _micro_batches(logs: Logs) -> list[str]:
    small = logs.runs[logs.runs["micro_batch_size"].fillna(0) > 0]
    rows = zip(small["run_arm"], small["number"], small["micro_batch_size"], strict=True)
    names = [f"{arm} #{number} ({size} draws at once)" for arm, number, size in rows]
    return named("Ran out of memory and went on in micro-batches", names)


def _losses(logs: Logs) -> list[str]:
    epochs, seconds = int(logs.runs["lost_epochs"].fillna(0).sum()), float(logs.runs["lost_seconds"].fillna(0).sum())
    if not epochs and not seconds:
        return []
    words = "epoch was" if epochs == 1 else "epochs were"
    return [f"{epochs} {words} trained again after lost workers or interruptions, which took {seconds:.0f} s."]


def _more_seeds(logs: Logs) -> list[str]:
    """Says which arms got more seeds, and why, where a study may give more."""
    most, first = logs.study["spec"].get("max_seeds"), int(logs.study["spec"].get("seeds", 0))
    if most is None or logs.models.empty:
        return []
    counts = logs.models.groupby("arm", sort=False)["seed"].nunique()
    more = [f"{arm} ({count})" for arm, count in counts.items() if count > first]
    rule = f"Arms that val told from the leader kept {first} seeds, others got up to {most}"
    return [f"{rule}: {listed(more) or 'none'}. Differences are of the seeds that both arms have."]


def _budgets(logs: Logs) -> list[str]:
    """What must be known of a data budget: where settings come from, how subsets overlap, and what val adds."""
    study, sentences = logs.study, []
    budgets = sorted({arm["tiles"] for arm in study["arms"]})
    num_train, num_val = study["num_train_tiles"], len(study["val_tiles"])
    unit, what = budget_unit(study), "Hyperparameters were"
    if is_of_labels(study):
        what = "Hyperparameters and the number of epochs were"
    if study["phase"] == "phase3_data_budget":
        if num_train in budgets:
            sentences.append(f"With {num_train} {unit} there is one subset, all of them: only seeds differ.")
        sentences.append(
            f"Tile subsets are drawn from the same {num_train} tiles and overlap, so subsets of new tiles would spread "
            "more."
        )
        tuned = sorted({arm["chosen"]["tiles"] for arm in study["arms"] if "chosen" in arm})
        origin = list(dict.fromkeys(arm["chosen"]["study"] for arm in study["arms"] if "chosen" in arm))
        if tuned:
            sentences.append(
                f"{what} tuned with {' and '.join(map(str, tuned))} {unit} ({', '.join(origin)}) and used "
                f"for all numbers of {unit}."
            )
    elif len(budgets) > 1:
        sentences.append(
            f"Smaller sets of tiles are parts of larger ones ({' ⊂ '.join(map(str, budgets))}), so they are not "
            "independent."
        )
    if is_of_labels(study):
        return [*sentences, _no_val(logs)]
    sentences.append(
        f"Besides its train tiles, every model used {num_val} labelled val tiles to choose its epoch"
        f"{' and its hyperparameters' if study['phase'] != 'phase1_comparison' else ''}."
    )
    return sentences


def _no_val(logs: Logs) -> str:
    """Which labels final models learnt from, where there are no val tiles, and what ended their training."""
    ended = {
        "phase1_comparison": "was trained for all epochs of the recipe",
        "phase2_tuning": "was trained for as many epochs as its folds found best in the search",
        "phase3_data_budget": "was trained for as many epochs as folds found best where it was tuned",
    }
    return (
        f"Every final model learnt from all labels of its budget and used no others; without val tiles, it "
        f"{ended[logs.study['phase']]}, and its last weights are scored."
    )
