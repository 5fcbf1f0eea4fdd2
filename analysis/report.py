"""Writes the tables and figures of a study from its W&B logs: `python -m analysis.report OUT`."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import figures, tables
from analysis.wandb_logs import LogsError, read_logs

# What a terminal shows first; the other columns follow from left to right as far as they fit. The files have them all.
_ESSENTIAL = (
    *("architecture", "tiles", "val_iou", "test_iou", "test_iou_sd", "seeds", "trivial_iou"),
    *("started", "finished", "stopped", "failed"),
    *("#", "model", "published val IoU", "changed_settings"),
)
_GAP = 2  # characters between two columns


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written.

    Attributes:
        paths: The files, tables first.
        captions: Per table, by its file's name without ending, what it shows and how far it can be trusted.
        frames: The tables, by the same names.
        notes: What the reader should know about the logs, each a sentence.
    """

    paths: tuple[Path, ...]
    captions: dict[str, str]
    frames: dict[str, pd.DataFrame]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The tables with their captions in Markdown, and the notes."""
        parts = [tables.markdown(frame, self.captions[name]) for name, frame in self.frames.items()]
        return "\n".join([*parts, *(f"Note: {note}\n" for note in self.notes)])


def write_report(out: Path) -> Report:
    """Writes the tables and figures of a study under `out/report`, each file whole or not at all.

    Args:
        out: The study's folder. Only the W&B files in it are read.

    Raises:
        LogsError: The folder holds no study that can be read; nothing is written then.
    """
    logs = read_logs(out)
    frames = {"iou_by_architecture": tables.iou_by_architecture(logs), "iou_by_tiles": tables.iou_by_tiles(logs)}
    captions = {"iou_by_architecture": tables.architecture_caption(logs), "iou_by_tiles": tables.tiles_caption(logs)}
    contents: dict[Path, bytes] = {}
    for name, frame in frames.items():
        path = out / "report" / "tables" / name
        contents[path.with_suffix(".csv")] = frame.to_csv(index=False, lineterminator="\n").encode()
        contents[path.with_suffix(".md")] = tables.markdown(frame, captions[name]).encode()
    for name, figure, kinds in (
        ("iou_by_architecture", figures.iou_by_architecture(logs), ("png", "svg")),
        ("iou_by_tiles", figures.iou_by_tiles(logs), ("png", "svg")),
        ("predictions", figures.predictions(logs), ("jpg",)),
    ):
        if figure is not None:
            files = {out / "report" / "figures" / f"{name}.{kind}": figures.render(figure, kind) for kind in kinds}
            contents.update(files)
    for path, content in contents.items():
        _write(path, content)
    return Report(paths=tuple(contents), captions=captions, frames=frames, notes=logs.notes)


def show(report: Report, console: Console) -> None:
    """Prints the tables, as many columns as fit, then the notes and the paths written."""
    for name, frame in report.frames.items():
        console.print(Text(report.captions[name]))
        console.print(_fitting(frame, console))
    for note in report.notes:
        console.print(Text(f"Note: {note}"))
    for path in report.paths:
        console.print(Text(str(path)), soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes and prints the report of the folder that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of a study, the one that holds wandb/")
    out: Path = parser.parse_args(arguments).out
    try:
        report = write_report(out)
    except LogsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: the report cannot be written: {error}\n")
        return 2
    show(report, Console(highlight=False))
    return 0


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _fitting(frame: pd.DataFrame, console: Console) -> Table:
    """Returns a table of the columns that fit the terminal, and says how many do not."""
    rows = [[tables.heading(str(column)) for column in frame.columns], *tables.cells(frame)]
    texts = dict(zip(frame.columns, zip(*rows, strict=True), strict=True))
    unbroken = {column: max(len(text) for text in texts[column]) for column in texts}
    widths = {column: max(len(word) for text in texts[column] for word in text.split()) for column in texts}
    if sum(width + _GAP for width in unbroken.values()) <= console.width:
        widths = unbroken
    shown = sorted(texts, key=lambda column: _ESSENTIAL.index(column) if column in _ESSENTIAL else len(_ESSENTIAL))
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


if __name__ == "__main__":
    sys.exit(main())
