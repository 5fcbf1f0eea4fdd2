"""Prints tables as wide as the terminal is, and says what did not fit."""

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.tables import formatting as tables

# What a terminal shows first; the other columns follow from left to right as far as they fit. The files have them all.
_ESSENTIAL = (
    *("architecture", "contrast", "tiles", "test_iou", "difference", "val_iou", "differs", "p_holm"),
    *("published_test_iou", "better", "models", "minutes"),
)
_GAP = 2  # characters between two columns


def fitting(frame: pd.DataFrame, console: Console) -> Table:
    """Returns a table of the columns that fit the terminal, and says how many do not."""
    rows = [[tables.heading(str(column)) for column in frame.columns], *tables.cells(frame)]
    texts = dict(zip(frame.columns, zip(*rows, strict=True), strict=True))
    unbroken = {column: max(len(text) for text in texts[column]) for column in texts}
    widths = {column: max(_least(text) for text in texts[column]) for column in texts}
    if sum(width + _GAP for width in unbroken.values()) <= console.width:
        widths = unbroken
    shown = sorted(texts, key=_place)
    while len(shown) > 1 and sum(widths[column] + _GAP for column in shown) > console.width:
        shown.pop()
    spare = console.width - sum(widths[column] + _GAP for column in shown)
    widths[shown[0]] = min(unbroken[shown[0]], widths[shown[0]] + max(0, spare))
    hidden = len(texts) - len(shown)
    caption = f"{hidden} more columns in the files" if hidden else None
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), caption=caption, caption_justify="left")
    for column, is_right in zip(texts, tables.numeric(frame), strict=True):
        if column in shown:
            table.add_column(texts[column][0], justify="right" if is_right else "left", width=widths[column])
    for row in zip(*(texts[column][1:] for column in texts if column in shown), strict=True):
        table.add_row(*(Text(text) for text in row))
    return table


def _place(column: str) -> int:
    """Where a column comes among those that are shown first; further test sets behind the three scores."""
    if column.startswith(tables.FURTHER):
        return _ESSENTIAL.index("differs")
    return _ESSENTIAL.index(column) if column in _ESSENTIAL else len(_ESSENTIAL)


def _least(text: str) -> int:
    """Characters that a cell needs: those of its longest word, but intervals are not broken."""
    return len(text) if "…" in text or "(n = " in text else max((len(word) for word in text.split()), default=0)
