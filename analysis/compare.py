"""Compares attempts on the same tiles, by eye, by table and by curve: `python -m analysis.compare ATTEMPT_DIR ...`."""

import argparse
import io
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.text import Text

from analysis.attempts import Attempt, AttemptError, read_attempts
from analysis.figures import figures
from analysis.grids import Panel, grid
from analysis.tables import formatting as tables
from analysis.tables.terminal import fitting
from trainables.common.command import path_argument
from trainables.common.whole_files import write_all

_TYPES = {
    "lr": "float64",
    "decoder_dropout": "float64",
    "best_epoch": "Int64",
    "val_iou": "float64",
    "val_f1": "float64",
    "minutes": "float64",
    "trainable_millions": "float64",
    "published_val_iou": "float64",
    "published_val_f1": "float64",
    "published_test_iou": "float64",
    "published_test_f1": "float64",
    "published_best_epoch": "Int64",
    "published_t4_minutes": "float64",
}
_WORDS = {
    "attempt": "#",
    "decoder_dropout": "dropout",
    "bce_dice": "loss (BCE/Dice)",
    "trainable_millions": "trainable (M)",
    "published_trainable": "published trainable",
    "published_val_iou": "published val IoU",
    "published_val_f1": "published val F1",
    "published_test_iou": "published test IoU",
    "published_test_f1": "published test F1",
    "published_t4_minutes": "published T4 minutes",
}
_GREY = "#666666"
_LEGEND_CHARACTERS = 58  # more than that would push two columns out of the figure


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was written: the files, and the headline table with its caption."""

    paths: tuple[Path, ...]
    caption: str
    frame: pd.DataFrame


def write_comparison(folders: Sequence[Path], out: Path) -> Comparison:
    """Writes the grids, the headline table and the curves of some attempts under `out`: all of them or none.

    Args:
        folders: What `python -m trainables.fit` left behind, in the order in which panels and curves are shown.
        out: A folder; files of the same names in it are replaced.

    Raises:
        AttemptError: The folders hold nothing that can be compared; nothing is written then.
    """
    attempts = read_attempts(folders)
    table, caption = headline(attempts), headline_caption(attempts)
    shown = for_people(table)
    contents = {
        out / "headline.csv": table.to_csv(index=False, lineterminator="\n").encode(),
        out / "headline.md": tables.markdown(shown, caption).encode(),
        out / "curves.png": figures.render(curves(attempts), "png"),
    }
    contents |= {out / "grids" / f"{tile}.jpg": tile_grid(attempts, tile) for tile in attempts[0].about.val_tiles}
    write_all(contents)
    return Comparison(paths=tuple(contents), caption=caption, frame=shown)


def show(comparison: Comparison, console: Console) -> None:
    """Prints the headline table, as many columns as fit, and the paths written."""
    console.print(Text(comparison.caption))
    console.print(fitting(comparison.frame, console))
    for path in comparison.paths:
        console.print(Text(str(path)), soft_wrap=True)


def headline(attempts: Sequence[Attempt]) -> pd.DataFrame:
    """Returns one row per attempt, sorted by its number, and a last row for the trivial predictor.

    Returns:
        A frame with the columns `attempt` (its number as text), `model` (its title, or its label where it was not
        trained as the title says), `lr`, `augmentation`, `decoder_dropout`, `bce_dice` (the two weights of the loss, as
        "0.5/0.5", or the name of another loss), `best_epoch` (from 1), `val_iou` and `val_f1` (in [0, 1]), `minutes`
        (wall clock), `trainable_millions` (of parameters), what the reference study published for the attempt on Inria
        Austin as `published_trainable` (text), `published_val_iou`, `published_val_f1`, `published_test_iou`,
        `published_test_f1`, `published_best_epoch` and `published_t4_minutes`, and `changed_settings` (those that
        differ from the attempt's own, with their values). What is not known is missing.
    """
    trivial = attempts[0].summary.trivial
    last = {
        "model": f"trivial: everything is {trivial.class_}",
        "val_iou": trivial.iou,
        "val_f1": trivial.f1,
    }
    rows = [_row(attempt) for attempt in sorted(attempts, key=_number)]
    return pd.DataFrame([*rows, last]).astype(_TYPES)


def headline_caption(attempts: Sequence[Attempt]) -> str:
    """Returns the caption of `headline`: what the attempts share, and how far their values can be trusted."""
    about = attempts[0].about
    budgets = sorted({attempt.about.settings.tiles for attempt in attempts})
    budget = f"{' or '.join(str(tiles) for tiles in budgets)} labelled tiles"
    devices = " and ".join(dict.fromkeys(attempt.about.device for attempt in attempts))
    smoke = ", ".join(attempt.about.attempt for attempt in sorted(attempts, key=_number) if attempt.about.smoke)
    smoke_words = f"Warning: smoke runs ({smoke}) only show that every step works, and their numbers mean nothing. "
    return (
        f"Attempts on the data {about.data}: {budget}, {len(about.val_tiles)} val tiles. {smoke_words if smoke else ''}"
        "Val chose the best epoch, so its values are optimistic: val ranks, it does not report. "
        "The test tiles are not opened by this command. "
        f"Minutes are wall clock on {devices}. "
        "The published columns are the reference study's own, on Inria Austin: "
        "they can be compared only where the data are the same. "
        "Changed settings are those that differ from the attempt's own; smaller or random variants are named as such."
    )


def for_people(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the headline table with its columns named, and its minutes rounded, for reading."""
    if table["minutes"].max() >= 100:  # three digits are shown, which would make 1234.5 minutes 1.23e+03
        table = table.assign(minutes=table["minutes"].round().astype("Int64"))
    return table.rename(columns=_WORDS)


def tile_grid(attempts: Sequence[Attempt], tile: str) -> bytes:
    """Returns a JPEG of one val tile: its image, its truth, and what each attempt predicts, with the tile's IoU.

    Raises:
        AttemptError: A picture is missing, damaged or of another size than the image.
    """
    image = attempts[0].picture("images", tile)
    panels = [
        Panel(picture=image, name="image"),
        Panel(picture=attempts[0].picture("truth", tile, image.size), name="truth"),
    ]
    for attempt in attempts:
        overlay = attempt.picture("overlays", tile, image.size)
        iou = attempt.summary.tile_iou[tile]
        score = "no pixel counts here" if iou is None else f"IoU {iou:.2f}"
        panels.append(Panel(picture=overlay, name=attempt.name, score=score))
    return grid(tile, panels)


def curves(attempts: Sequence[Attempt]) -> Figure:
    """Draws val IoU by epoch, a line per attempt, with its best epoch as a large marker; the trivial one is dashed."""
    trivial = attempts[0].summary.trivial
    figure = Figure(figsize=(9.0, 4.8 + 0.12 * len(attempts)), layout="constrained")  # the legend needs the room
    axes = figure.subplots()
    for place, attempt in enumerate(attempts):
        colour = figures.COLOURS[place % len(figures.COLOURS)]
        marker = figures.MARKERS[(place + place // len(figures.COLOURS)) % len(figures.MARKERS)]
        best, iou = attempt.summary.best_epoch, attempt.best_iou
        label = textwrap.fill(f"{attempt.name}: {iou:.3f} ({best})", _LEGEND_CHARACTERS)
        every = max(1, len(attempt.history) // 10)
        axes.plot(
            attempt.history["epoch"], attempt.history["judged"], color=colour, marker=marker, markevery=every,
            markersize=4.5, linewidth=1.6, label=label,
        )  # fmt: skip
        axes.plot(best, iou, linestyle="", color=colour, marker=marker, markersize=10, mec="black", zorder=5)
    words = f"trivial: everything is {trivial.class_}: {trivial.iou:.3f}"
    axes.axhline(trivial.iou, color=_GREY, linestyle="--", linewidth=1.2, zorder=1, label=words)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("epoch")
    windows = any(attempt.about.settings.val_center_px is not None for attempt in attempts)
    axes.set_ylabel("val IoU as judged in training (some on centre windows)" if windows else "val IoU")
    about = attempts[0].about
    axes.set_title(f"Val IoU by epoch on {Path(about.data).name}, {len(about.val_tiles)} val tiles", fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    best_epoch = Line2D(
        [], [], linestyle="", color=_GREY, marker="o", markersize=10, mec="black", label="the best epoch"
    )
    handles = [*axes.get_legend_handles_labels()[0], best_epoch]
    title = "best val IoU (and its epoch)"
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9, title=title)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes and prints the comparison of the folders that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.compare", description=__doc__)
    help_folders = "what python -m trainables.fit left behind, in the order to show"
    parser.add_argument("folders", metavar="ATTEMPT_DIR", type=path_argument, nargs="+", help=help_folders)
    parser.add_argument(
        "--out", metavar="DIR", type=path_argument, help="default: compare, beside the first attempt's folder"
    )
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without these letters shows others in their place
        sys.stdout.reconfigure(errors="replace")
    out: Path = options.out or Path(os.path.normpath(options.folders[0] / ".." / "compare"))
    try:
        report = write_comparison(options.folders, out)
    except AttemptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: the comparison cannot be written: {error}\n")
        return 2
    show(report, Console(highlight=False))
    return 0


def _number(attempt: Attempt) -> tuple[int, str]:
    """Orders attempts as people count: 2 before 10, and what is no number behind both."""
    text = attempt.about.attempt
    return (int(text), text) if text.isdecimal() else (sys.maxsize, text)


def _row(attempt: Attempt) -> dict[str, Any]:
    about, settings, summary = attempt.about, attempt.about.settings, attempt.summary
    return {
        "attempt": about.attempt,
        "model": attempt.model,
        "lr": settings.lr,
        "augmentation": settings.augmentation,
        "decoder_dropout": settings.decoder_dropout,
        "bce_dice": f"{settings.bce_weight:g}/{1 - settings.bce_weight:g}"
        if settings.loss == "bce_dice"
        else settings.loss,
        "best_epoch": summary.best_epoch,
        "val_iou": summary.val_iou,
        "val_f1": summary.val_f1,
        "minutes": summary.minutes,
        "trainable_millions": about.num_trainable / 1e6,
        "published_trainable": about.published.trainable,
        "published_val_iou": about.published.val_iou,
        "published_val_f1": about.published.val_f1,
        "published_test_iou": about.published.test_iou,
        "published_test_f1": about.published.test_f1,
        "published_best_epoch": about.published.best_epoch,
        "published_t4_minutes": about.published.minutes_t4,
        "changed_settings": ", ".join(_changed(attempt, name) for name in about.changed) or None,
    }


def _changed(attempt: Attempt, name: str) -> str:
    settings = attempt.about.settings.model_dump()
    return f"{name} {'none' if settings[name] is None else settings[name]}" if name in settings else name


if __name__ == "__main__":
    sys.exit(main())
