"""Sets frames as tables for people: headings, rounding, intervals in one column, and Markdown."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from analysis.logs.frames import Logs

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

_SCORES = {"test_iou": "test IoU", "test_f1": "test F1", "val_iou": "val IoU", "val_f1": "val F1"}
_HEADINGS = {
    **_SCORES,
    "ensemble_iou": "ensemble",
    "tta_iou": "TTA",
    "trivial_iou": "trivial IoU",
    "labels": "labels (train, val)",
    "folds_iou": "IoU over folds",
    "nested_iou": "nested IoU over folds",
    "folds_gap": "folds \N{MINUS SIGN} test",
    "tuned_val_iou": "tuned val IoU",
    "iqm": "interquartile mean",
    "sd": "standard deviation (sd)",
    "best": "P(best)",
    "behind": "behind the leader",
    "differs": "clearly differs from the leader",
    "order": "order, the best first",
    "clear": "clearly so",
    "kendall_tau": "Kendall's tau",
    "rank": "mean rank",
    "better": "P(better)",
    "effect": "Cohen's d",
    "what": "what differs",
    "p_holm": "p (Holm)",
    "p_flip": "p (sign flips)",
    "p_places": "p (sign flips by place)",
    "smallest_p": "smallest possible p (sign flips)",
    "allowance": "trials allowed",
    "started": "trials started",
    "stopped": "stopped by ASHA",
    "trainable": "trainable parameters (M)",
    "frozen": "frozen parameters (M)",
    "sd_subset": "sd between tile subsets",
    "sd_seed": "sd between seeds",
    "sd_rest": "residual sd",
    "sd_hyperparameters": "sd between configurations",
    "optimism": "optimism of tuning",
    "gap": "val minus test",
    "best_value": "selected value",
    "at_bound": "at an end of its range",
    "trials": "finished trials",
    "mean_iou": "mean IoU (macro)",
    "mean_f1": "mean F1 (macro)",
    "micro_iou": "micro IoU",
    "accuracy": "pixel accuracy (micro F1)",
    "verdict": "what tuning made it",
    "one_class": "models that predict one class only",
    "train": "share of train pixels",
    "val": "share of val pixels",
    "test": "share of test pixels",
    **{f"published_{name}": f"published {words}" for name, words in _SCORES.items()},
    "published_minutes": "published minutes (T4)",
}
_DIGITS = {
    0: ("seconds",),
    1: ("minutes", "published_minutes", "trainable", "frozen"),
    2: ("best", "better", "effect", "kendall_tau", "importance", "rank", "hours", "lost_hours"),
    3: (
        *(*_SCORES, *(f"published_{name}" for name in _SCORES)),
        *("ensemble_iou", "tta_iou"),
        *("trivial_iou", "tuned_val_iou", "optimism", "gap", "difference"),
        *("folds_iou", "nested_iou", "folds_gap"),
        *("behind", "lead"),
        *("mean", "median", "iqm", "sd", "sd_subset", "sd_seed", "sd_rest", "sd_hyperparameters"),
        *("mean_iou", "mean_f1", "micro_iou", "accuracy", "train", "val", "test"),
    ),
}
OF = "score of "
"""Begins the name of a column that is headed by an architecture's label."""
FURTHER = "test-"
"""Begins the name of a column of a further test set."""
_P_VALUES = ("p", "p_holm", "p_flip", "p_places", "smallest_p")


def trivial_label(logs: Logs) -> str:
    """Returns what the trivial predictor is called in tables and figures."""
    return f"trivial: everything is {logs.study['trivial']['class']}"


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame as it is shown: `x`, `x_low` and `x_high` become one column of text, "0.47 (0.39 … 0.56)".

    Where there is no interval since there is one model (`x_models`, else `models`), the text says `n = 1`.
    """
    columns = [str(column) for column in frame.columns]
    with_ends = [column for column in columns if f"{column}_low" in columns]
    hidden = {f"{column}{ending}" for column in with_ends for ending in ("_low", "_high", "_models")}
    parts: dict[str, pd.Series] = {}
    for column in columns:
        if column in with_ends:
            rows = frame.to_dict("records")
            parts[column] = pd.Series([_with_interval(column, row) for row in rows], frame.index, dtype="str")
        elif column not in hidden:
            parts[column] = frame[column]
    return pd.DataFrame(parts)


def heading(column: str) -> str:
    """Returns a column's name as a person reads it: `epochs_spent` is "epochs spent", `12` is "12 tiles"."""
    if column.isdigit():
        return f"{column} tiles"
    if column.startswith(OF):
        return column.removeprefix(OF)
    if column.startswith(FURTHER):
        split, _, score = column.rpartition("_")
        return f"{split} {_SCORES[f'test_{score}'].removeprefix('test ')}"
    return _HEADINGS.get(column, column if "/" in column else column.replace("_", " "))


def cells(frame: pd.DataFrame) -> list[list[str]]:
    """Returns a table's cells as text, rounded for reading: one list per row, one text per column."""
    return [[cell(column, row[column]) for column in frame.columns] for row in frame.to_dict("records")]


def numeric(frame: pd.DataFrame) -> list[bool]:
    """Returns, per column, whether it holds numbers, which are set flush right."""
    return [
        pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column])
        for column in frame.columns
    ]


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


def cell(column: str, value: Any) -> str:
    """Returns a value as a person reads it: rounded as its column wants, or a dash where it is missing."""
    if pd.isna(value):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else MISSING
    return _rounded(column, value) if isinstance(value, float) else str(value)


def signed(value: float) -> str:
    """Returns a difference of IoU, or an end of its interval, with three decimals."""
    return _rounded("difference", value)


def mean_words(row: pd.Series, what: str = "") -> str:
    """Returns the mean of a row of `iou_by_arm` with its interval, which `what` names, or why it has none."""
    if not pd.isna(row["low"]):
        return f"{row['mean']:.3f} ({what}{row['low']:.3f} … {row['high']:.3f})"
    count = row["num_models"]
    return f"{row['mean']:.3f} ({'n = 1' if count == 1 else f'n = {count}, no interval'})"


def _rounded(column: str, value: float) -> str:
    if column in _P_VALUES:
        return f"{value:.3f}" if value >= 0.001 else "<0.001"
    digits = next((digits for digits, names in _DIGITS.items() if column in names), None)
    if digits is None and (column.isdigit() or "/" in column or column.startswith((OF, FURTHER))):
        digits = 3
    text = f"{value:.3g}" if digits is None else f"{value:.{digits}f}"
    if not text.strip("-0."):  # what rounds to zero has no sign
        text = text.removeprefix("-")
    return f"{MINUS}{text[1:]}" if text.startswith("-") else text


def _with_interval(column: str, row: Mapping[Hashable, Any]) -> str:
    value, low, high = row[column], row[f"{column}_low"], row[f"{column}_high"]
    if pd.isna(value):
        return MISSING
    if pd.isna(low):
        is_single = row.get(f"{column}_models", row.get("models")) == 1
        return f"{cell(column, value)} (n = 1)" if is_single else cell(column, value)
    return f"{cell(column, value)} ({cell(column, low)} … {cell(column, high)})"
