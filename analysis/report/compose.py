"""Composes a report of one or more studies: the conclusions first, then what they are based on, in reading order."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from analysis.logs.frames import Logs
from analysis.report import captions, sections
from analysis.report.blocks import Blocks, made
from analysis.report.conclude.conclusions import conclusions, deciding_study
from analysis.report.document import Document, Section, TextBlock
from analysis.report.limits.several_studies import report_warnings
from analysis.report.predictions import RULE, at_a_glance, predictions
from analysis.stats.bootstrap import NUM_REPLICATES

_FILES = {"models": "models", "runs": "trials", "scores": "scores"}
"""Frames of `Logs` that are too long to be read, and the files that hold them."""


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A report before it is written.

    Attributes:
        document: What is read.
        frames: Every table with all of its numbers, by the name of its block; and tables that are files only.
        figures: Every figure, by the name of its block.
    """

    document: Document
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)


def compose(studies: Sequence[Logs], links: tuple[tuple[str, str], ...] = ()) -> Composed:
    """Returns the report of some studies, at least one, each by another name; `links` are to pages beside it."""
    blocks = Blocks(studies)
    decides = deciding_study(studies)
    pictured = predictions(decides)
    searched = [logs for logs in studies if (logs.runs["stage"] == "search").any()]
    made_sections = [
        *(sections.iou_section(blocks, logs) for logs in studies),
        Section("Predictions side by side", pictured, RULE),
        *(sections.class_section(blocks, logs) for logs in studies),
        Section("Cost", made(*(block for logs in studies for block in sections.cost_blocks(blocks, logs)))),
        *(sections.search_section(blocks, logs) for logs in searched),
        Section("Spread of the scores", made(*(sections.spread_block(blocks, logs) for logs in studies))),
        Section("Check by bootstrap", made(*(sections.bootstrap_block(blocks, logs) for logs in studies))),
        Section("Learning curves", made(*(sections.curves_block(blocks, logs) for logs in studies))),
        _methods(studies),
    ]
    tiles: dict[str, list[str]] = {}
    for logs in studies:
        tiles.setdefault(captions.tiles_words(logs), []).append(logs.study["study"])
    document = Document(
        title="Which architecture to trust with few labelled tiles",
        subtitle="; ".join(f"{', '.join(names)}: {words}" for words, names in tiles.items()) + ".",
        conclusions=conclusions(studies),
        warnings=tuple(report_warnings(studies)),
        sections=tuple(section for section in made_sections if section.blocks),
        footer=("Made by Fewtile from W&B logs alone.",),
        links=links,
    )
    for name, file in _FILES.items():
        frames = [getattr(logs, name).assign(study=logs.study["study"]) for logs in studies]
        blocks.frames[file] = pd.concat(frames, ignore_index=True)
    if (glance := at_a_glance(decides, pictured)) is not None:
        blocks.figures["at_a_glance"] = glance
    return Composed(document=document, frames=blocks.frames, figures=blocks.figures)


def _methods(studies: Sequence[Logs]) -> Section:
    notes = [note for logs in studies for note in logs.notes if "has not ended" not in note]
    paragraphs = (
        "Intervals and p-values are by Student's t of a crossed random-effects analysis: places (where the data set "
        "names them; else tiles), seeds and tile subsets are random factors, each with a variance component by mean "
        "squares, and the degrees of freedom are Satterthwaite's, made fewer where a factor has few levels. "
        "Differences are paired on models and tiles. A clear winner differs from each other architecture at the level "
        "of 5 %, which holds for the leader of any number of equal ones (Gutmann and Maymin 1987). As a check, there "
        f"are percentiles of {NUM_REPLICATES} bootstrap replicates that draw all factors independently and with "
        "replacement (the pigeonhole bootstrap of Owen 2007).",
        "Every number can be traced: tables/models.csv has a row per final model with its scores, seeds, "
        "configuration signature, attempt in the register of test openings, and W&B run; tables/trials.csv has a row "
        "per trial; tables/scores.csv has one per model and tile. The CSV file of each table also has the columns "
        "that it does not show.",
        *_networks(studies),
        *notes,
    )
    return Section("Methods and files", (TextBlock(paragraphs),))


def _networks(studies: Sequence[Logs]) -> list[str]:
    """Returns a sentence per architecture: its papers and libraries, the licence of its weights, and its input."""
    arms = [arm for logs in studies for arm in logs.study["arms"]]
    return list(dict.fromkeys(f"{arm['architecture_label']}: {arm['source']}." for arm in arms if arm.get("source")))
