"""Makes the tables of a study from its logs, and writes them as Markdown."""

from pathlib import PurePath
from typing import Any

import pandas as pd

from analysis.logs import Logs
from analysis.remarks import confirmation_words, final_metric, remarks

FAILED = ("failed", "diverged", "out of memory", "interrupted")
HYPERPARAMETERS = ("lr", "augmentation", "decoder_dropout", "bce_weight")  # shown even where no arm searches over them
MISSING = "\N{EN DASH}"
_HEADINGS = {
    "val_iou": "val IoU",
    "val_f1": "val F1",
    "val_iou_confirmed": "confirmed val IoU",
    "test_iou": "test IoU",
    "test_iou_sd": "test IoU sd",
    "test_f1": "test F1",
    "trivial_iou": "trivial IoU",
}
_PUBLISHED = ("published val IoU", "published val F1", "published test IoU", "published test F1")
_IOU_COLUMNS = (
    *("val_iou", "val_f1", "val_iou_confirmed", "test_iou", "test_iou_sd", "test_f1", "trivial_iou"),
    *_PUBLISHED,
)


def iou_by_architecture(logs: Logs) -> pd.DataFrame:
    """Returns one row per arm: its trials, its cost, and the trial that was selected.

    Returns:
        A frame sorted by `tiles`, then `val_iou`, both descending, with the columns `architecture` (its label),
        `tiles` (count), `started`, `finished`, `stopped`, `failed` (trials; diverged and interrupted ones and those
        out of memory count as failed, those without a logged end only as started), `epochs_spent` (over all trials of
        the arm), `val_iou` and `val_f1` (full resolution, in [0, 1]), `best_epoch`, the judged metric under its own
        name where it is not `val/iou`, the hyperparameters, `seconds` (over all trials) and `trivial_iou` (of calling
        every pixel the best single class). Where an arm has no selected trial, what would describe it is missing.

        Where selected trials were confirmed, `tiles` is followed by `test_iou` and `test_f1` (means over the models
        with new seeds), `test_iou_sd` (sample standard deviation, n - 1), `seeds` (models with a result) and
        `val_iou_confirmed` (mean); those of the test are left out as long as the test tiles are sealed.
    """
    rows = [_arm_row(logs, arm) for arm in logs.study["arms"]]
    frame = pd.DataFrame(rows).astype({"best_epoch": "Int64", "epochs_spent": "int64"})
    return frame.sort_values(
        ["tiles", "val_iou", "architecture"], ascending=[False, False, True], na_position="last", ignore_index=True
    )


def iou_by_tiles(logs: Logs) -> pd.DataFrame:
    """Returns the best val IoU of each architecture for each number of tiles.

    Returns:
        A frame with the column `architecture` (its label; the last row is the trivial predictor) and one column per
        budget, named by its number of tiles, ascending: the full-resolution val IoU, in [0, 1].
    """
    by_arm = iou_by_architecture(logs)
    budgets = sorted(by_arm["tiles"].unique())
    labels = dict.fromkeys(arm["architecture_label"] for arm in logs.study["arms"])
    best = by_arm.groupby(["architecture", "tiles"])["val_iou"].max()
    rows: list[dict[str, Any]] = [
        {"architecture": label} | {str(tiles): best.get((label, tiles)) for tiles in budgets} for label in labels
    ]
    trivial = {"architecture": trivial_label(logs)} | {str(tiles): logs.study["trivial"]["iou"] for tiles in budgets}
    return pd.DataFrame([*rows, trivial]).astype({str(tiles): "float64" for tiles in budgets})


def trivial_label(logs: Logs) -> str:
    """Returns what the trivial predictor is called in tables and figures."""
    return f"trivial: everything is {logs.study['trivial']['class']}"


def architecture_caption(logs: Logs) -> str:
    """Returns the caption of `iou_by_architecture`: what was run, and how far its values can be trusted."""
    states = logs.runs["state"].value_counts()
    failed = ", ".join(f"{states[state]} {state}" for state in FAILED if state in states) or "none"
    return (
        f"Best val IoU by architecture. {_study_words(logs)} {_optimism(logs)} "
        f"Smaller variants are named in the label. Failed trials: {failed}."
        f"{_after_space(confirmation_words(logs))}{_after_space(remarks(logs))}"
    )


def tiles_caption(logs: Logs) -> str:
    """Returns the caption of `iou_by_tiles`."""
    budgets = sorted({arm["tiles"] for arm in logs.study["arms"]})
    nested = " ⊂ ".join(str(tiles) for tiles in budgets)
    nesting = f" The budgets' tiles are nested ({nested}), so a row's values are not independent." * (len(budgets) > 1)
    return (
        f"Best val IoU by number of labelled tiles. {_study_words(logs)} {_optimism(logs)}{nesting}"
        f"{_after_space(remarks(logs))}"
    )


def heading(column: str) -> str:
    """Returns a column's name as a person reads it: `epochs_spent` is "epochs spent", `12` is "12 tiles"."""
    if column.isdigit():
        return f"{column} tiles"
    return _HEADINGS.get(column, column if "/" in column else column.replace("_", " "))


def cells(frame: pd.DataFrame) -> list[list[str]]:
    """Returns a table's cells as text, rounded for reading: one list per row, one text per column."""
    return [[_cell(column, row[column]) for column in frame.columns] for row in frame.to_dict("records")]


def numeric(frame: pd.DataFrame) -> list[bool]:
    """Returns, per column, whether it holds numbers, which are set flush right."""
    return [pd.api.types.is_numeric_dtype(frame[column]) for column in frame.columns]


def markdown(frame: pd.DataFrame, caption: str) -> str:
    """Returns a table in Markdown below its caption, with its columns aligned in the source too."""
    right = numeric(frame)
    rows = [[heading(str(column)) for column in frame.columns], *cells(frame)]
    texts = [[text.replace("|", "\\|") for text in row] for row in rows]
    widths = [max(3, *(len(text) for text in column)) for column in zip(*texts, strict=True)]
    rule = ["-" * (width - 1) + (":" if is_right else "-") for width, is_right in zip(widths, right, strict=True)]
    lines = [
        " | ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        )
        for row in [texts[0], rule, *texts[1:]]
    ]
    return "\n".join([caption, "", *(f"| {line} |" for line in lines), ""])


def _arm_row(logs: Logs, arm: dict[str, Any]) -> dict[str, Any]:
    trials = logs.runs[logs.runs["arm"] == arm["arm"]]
    selection = logs.selection[logs.selection["arm"] == arm["arm"]].to_dict("records")
    selected = selection[0] if selection else {}
    chosen = trials[trials["number"] == selected.get("number")].to_dict("records")
    values = chosen[0] if chosen else {}
    metric = logs.study["judged_metric"]
    return {
        "architecture": arm["architecture_label"],
        "tiles": arm["tiles"],
        **_confirmed(logs, arm["arm"]),
        "started": len(trials),
        "finished": int((trials["state"] == "finished").sum()),
        "stopped": int((trials["state"] == "stopped").sum()),
        "failed": int(trials["state"].isin(FAILED).sum()),
        "epochs_spent": trials["epochs"].sum(),
        "val_iou": selected.get("val_iou", float("nan")),
        "val_f1": selected.get("val_f1", float("nan")),
        "best_epoch": selected.get("best_epoch"),
        **({} if metric == "val/iou" else {metric: selected.get("judged", float("nan"))}),
        **{name: values.get(f"hyperparameters/{name}") for name in _hyperparameters(logs)},
        "seconds": trials["seconds"].sum(),
        "trivial_iou": logs.study["trivial"]["iou"],
    }


def _confirmed(logs: Logs, arm: str) -> dict[str, Any]:
    """Returns the columns of an arm's confirmation; none where the study has none."""
    if logs.confirmations.empty:
        return {}
    metric = final_metric(logs)
    models = logs.confirmations[logs.confirmations["arm"] == arm].dropna(subset=metric)
    test: dict[str, float] = {}
    if metric == "test_iou":
        scores = models["test_iou"]
        test = {"test_iou": scores.mean(), "test_iou_sd": scores.std(ddof=1), "test_f1": models["test_f1"].mean()}
    return test | {"seeds": len(models), "val_iou_confirmed": models["val_iou"].mean()}


def _hyperparameters(logs: Logs) -> list[str]:
    searched = {name for arm in logs.study["arms"] for name in arm["space"]}
    return [*HYPERPARAMETERS, *sorted(searched - set(HYPERPARAMETERS))]


def _cell(column: str, value: Any) -> str:
    if pd.isna(value):
        return MISSING
    if not isinstance(value, float):
        return str(value)
    if column == "seconds":
        return f"{value:.0f}"
    return f"{value:.3f}" if column in _IOU_COLUMNS or column.isdigit() or "/" in column else f"{value:.3g}"


def _after_space(sentences: str) -> str:
    return f" {sentences}" if sentences else ""


def _study_words(logs: Logs) -> str:
    study, num_tiles = logs.study, len(logs.study["val_tiles"])
    weights = ", ".join(_weights_words(choice) for choice in study.get("spec", {}).get("weights", []))
    return (
        f"Study {study['study']}, profile {study['profile']}, seed {study['seed']}, {num_tiles} val tiles, encoder "
        f"weights: {weights or 'none'}."
    )


def _weights_words(choice: str) -> str:
    """Returns a choice of weights without the folder of its file: `resnet34=a/b.pth` is "resnet34 b.pth"."""
    encoder, _, weights = choice.rpartition("=")
    return f"{encoder} {PurePath(weights).name}".strip()


def _optimism(logs: Logs) -> str:
    counts = sorted({arm["trials"] for arm in logs.study["arms"]})
    allowance = " or ".join(str(count) for count in counts)
    return f"Each is the best of {allowance} trials on val, so it is optimistic: val ranks, it does not report."
