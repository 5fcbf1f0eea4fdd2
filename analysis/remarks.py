"""Says below a study's tables what a reader must know to trust them: tests, reopenings, micro-batches, lost work."""

import pandas as pd

from analysis.logs import Logs


def remarks(logs: Logs) -> str:
    """Returns the sentences that belong below every table of the study; empty where there is nothing to say."""
    return " ".join([*_openings(logs), *_missing_seeds(logs), *_micro_batches(logs), *_losses(logs)])


def confirmation_words(logs: Logs) -> str:
    """Returns what the columns of the confirmation are; empty where there is none."""
    if logs.confirmations.empty:
        return ""
    metric = final_metric(logs)
    counts = sorted(set(logs.confirmations.dropna(subset=metric).groupby("arm").size()))
    noun = "model" if counts == [1] else "models"
    models = f"{' or '.join(map(str, counts)) or 'no'} {noun} per row, trained again with new seeds"
    if metric == "val_iou":
        return f"Confirmed val IoU is the mean over {models}."
    is_reopened = (logs.openings["event"] == "reopened").any()
    once = "" if is_reopened or logs.openings.empty else ", on test tiles that were opened once for them"
    return f"Test values and the confirmed val IoU are means over {models}{once} (sd: between the seeds)."


def final_metric(logs: Logs) -> str:
    """Returns what a confirmation is about: `test_iou`, or `val_iou` as long as the test tiles are sealed."""
    return "test_iou" if logs.confirmations["test_iou"].notna().any() else "val_iou"


def _openings(logs: Logs) -> list[str]:
    openings = logs.openings
    sentences = []
    reopened = openings[openings["event"] == "reopened"].drop_duplicates(["arm", "why"])
    for arm, why in zip(reopened["arm"], reopened["why"].fillna("no reason is logged"), strict=True):
        sentences.append(f"Test tiles were REOPENED for {arm}: {' '.join(why.split()).rstrip('.')}.")
    if recorded := list(dict.fromkeys(openings.loc[openings["event"] == "recorded", "arm"])):
        sentences.append(f"The recorded result of an earlier opening was used for {', '.join(recorded)}.")
    if openings["num_attempts"].notna().any():
        attempts, studies = _count(openings["num_attempts"], "attempt"), _count(openings["num_studies"], "study")
        sentences.append(f"So far, {attempts} of {studies} ever opened these test tiles.")
    return sentences


def _missing_seeds(logs: Logs) -> list[str]:
    missing = logs.confirmations[logs.confirmations[final_metric(logs)].isna()]
    rows = zip(missing["arm"], missing["number"], missing["state"].fillna("unknown"), strict=True)
    seeds = ", ".join(f"{arm} seed {number} ({state})" for arm, number, state in rows)
    return [f"Without a result are {seeds}."] if seeds else []


def _micro_batches(logs: Logs) -> list[str]:
    names = _small(logs.runs)
    trials = [f"{arm} trial {number} ({size} draws at once)" for (arm, number), size in names.items()]
    seeds = [
        f"{arm} seed {number} ({size} draws at once)" for (arm, number), size in _small(logs.confirmations).items()
    ]
    if not trials + seeds:
        return []
    selected = names.keys() & set(zip(logs.selection["arm"], logs.selection["number"], strict=True))
    chosen = ", ".join(f"{arm} trial {number}" for arm, number in names if (arm, number) in selected)
    return [
        f"Trained in micro-batches after running out of memory: {', '.join(trials + seeds)}; selected of them: "
        f"{chosen or 'none'}."
    ]


def _small(frame: pd.DataFrame) -> dict[tuple[str, int], int]:
    """Returns the size of the micro-batches of each trial or seed that had some."""
    small = frame[frame["micro_batch_size"].fillna(0) > 0]
    return dict(zip(zip(small["arm"], small["number"], strict=True), small["micro_batch_size"], strict=True))


def _losses(logs: Logs) -> list[str]:
    epochs, seconds = int(logs.runs["lost_epochs"].fillna(0).sum()), float(logs.runs["lost_seconds"].fillna(0).sum())
    if not epochs and not seconds:
        return []
    words = "epoch was" if epochs == 1 else "epochs were"
    return [f"{epochs} {words} trained again after lost workers or interruptions, at a cost of {seconds:.0f} s."]


def _count(values: pd.Series, noun: str) -> str:
    count = int(values.max()) if values.notna().any() else 1
    plural = noun[:-1] + "ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
