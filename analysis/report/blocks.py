"""Collects a report's tables and figures, each under the name that its files have."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.drawing import render
from analysis.logs.frames import Logs
from analysis.report.document import Block, FigureBlock, TableBlock
from analysis.tables import formatting

_IN_FILES_ONLY = {"trivial_iou", "effect", "p", "p_places", "smallest_p"}
"""Columns that a table shows in its file alone: others say the same, or no decision needs them."""
_SHOWN_IF_ANY = {
    "stopped",
    "failed",
    "out_of_memory",
    "lost_epochs",
    "lost_hours",
    "saved_epochs",
    "frozen",
    "one_class",
}
"""Columns that a table shows where any of their values is above zero."""


class Blocks:
    """The tables and figures of some studies; where there are several, each name ends in the study's place, from 1.

    Attributes:
        labels: Of the architectures of all studies, so that each looks the same in all figures.
        frames: Every table with all of its numbers, by its name.
        figures: Every figure, by its name.
    """

    def __init__(self, studies: Sequence[Logs]):
        self._studies = studies
        self.labels = list(dict.fromkeys(arm["architecture_label"] for logs in studies for arm in logs.study["arms"]))
        self.frames: dict[str, pd.DataFrame] = {}
        self.figures: dict[str, Figure] = {}

    def table(
        self, name: str, logs: Logs, title: str, frame: pd.DataFrame, caption: str, notes: Sequence[str] = ()
    ) -> TableBlock | None:
        """Returns a table of a study, or None where it has no row; columns without a value are not shown."""
        if frame.empty:
            return None
        name = self._name(name, logs)
        self.frames[name] = frame
        empty = {str(column) for column in frame.columns if frame[column].isna().all()}
        hidden = {column for column in empty if column.removesuffix("_low").removesuffix("_high") in empty}
        hidden |= {name for name in _SHOWN_IF_ANY & {*frame.columns} if not (frame[name] > 0).any()}
        # An empty pair of ends is kept beside its value, which then says n = 1
        hidden |= {name for name in map(str, frame) if name.startswith(formatting.FURTHER) and name.endswith("_f1")}
        known = frame.drop(columns=[*hidden, *_IN_FILES_ONLY], errors="ignore")
        return TableBlock(name=name, title=title, caption=caption, frame=formatting.shown(known), notes=tuple(notes))

    def figure(
        self, name: str, logs: Logs, title: str, figure: Figure | None, caption: str, alt: str = ""
    ) -> FigureBlock | None:
        """Returns a figure of a study, or None where nothing was drawn; `alt` is its caption where it is left out."""
        if figure is None:
            return None
        name = self._name(name, logs)
        self.figures[name] = figure
        svg = render(figure, "svg").decode()
        return FigureBlock(name=name, title=title, caption=caption, svg=svg, alt=alt or caption)

    def _name(self, name: str, logs: Logs) -> str:
        place = next(place for place, other in enumerate(self._studies, start=1) if other is logs)
        return name if len(self._studies) == 1 else f"{name}_{place}"


def made(*blocks: Block | None) -> tuple[Block, ...]:
    """Returns the blocks that there are."""
    return tuple(block for block in blocks if block is not None)
