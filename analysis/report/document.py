"""Says what a report holds, in reading order, whatever it is written as."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")


@dataclass(frozen=True, eq=False)
class TableBlock:
    """A table.

    Args:
        name: File stem, and its id in the page: lower case letters and digits, joined by single `-` or `_`.
        title: A few words without a full stop.
        caption: What the table shows, in sentences.
        frame: A row per line; its columns are named as `analysis.tables.formatting.heading` expects them.
        notes: What a reader must know of single values, a sentence or two each.
    """

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FigureBlock:
    """A drawing.

    Args:
        name: As in `TableBlock`.
        title: A few words without a full stop.
        caption: What the figure shows, in sentences.
        svg: The drawing, as `analysis.figures.drawing.render` makes it for a white background.
        alt: What a person who cannot see it needs to know, in a sentence or two.
    """

    name: str
    title: str
    caption: str
    svg: str
    alt: str


@dataclass(frozen=True)
class Prediction:
    """What one architecture predicts for a tile.

    Args:
        architecture: Its label.
        score: How well it did on the tile, in a few words.
        picture: Its prediction over the image, a PNG or JPEG file.
    """

    architecture: str
    score: str
    picture: bytes

    @property
    def label(self) -> str:
        """Which architecture, and how well it did."""
        return f"{self.architecture}, {self.score}"


@dataclass(frozen=True)
class PicturesBlock:
    """A tile with its truth and several predictions, all of one size and side by side.

    Args:
        name: As in `TableBlock`.
        title: A few words without a full stop.
        caption: Which tile it is, in sentences.
        image: The tile, a PNG or JPEG file; None where no picture can be read.
        truth: The truth over the image; None as `image`.
        predictions: In reading order.
        legend: What the tints mean: (class, colour as `#rrggbb`).
    """

    name: str
    title: str
    caption: str
    image: bytes | None
    truth: bytes | None
    predictions: tuple[Prediction, ...]
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TextBlock:
    """Paragraphs of plain text."""

    paragraphs: tuple[str, ...]


Block = TableBlock | FigureBlock | PicturesBlock | TextBlock


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; `intro` is a paragraph of plain text, or nothing."""

    title: str
    blocks: tuple[Block, ...]
    intro: str = ""


@dataclass(frozen=True)
class Document:
    """A whole report; every text in it is plain.

    Args:
        title: What was asked, in a line.
        subtitle: What was run for it, in a line.
        conclusions: The opening sentences.
        warnings: What limits the whole report, a sentence or two each; empty where nothing does.
        sections: The sections in reading order.
        footer: How the report was made, in lines.
        links: Other pages beside it: (text, address).

    Raises:
        ValueError: If a block's name cannot be a file stem and an id, or two blocks have the same name.
    """

    title: str
    subtitle: str
    conclusions: tuple[str, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    footer: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        names = [block.name for _, block in self.labelled() if not isinstance(block, TextBlock)]
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"a block is called {name!r}, but a name is lower case letters and digits joined by single "
                    "'-' or '_', such as 'iou_by_tiles'"
                )
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"two blocks are called {twice[0]!r}, but each name is a file of its own: rename one")

    def labelled(self) -> Iterator[tuple[str, Block]]:
        """Yields each block with what it is referred to as: "Table 1", "Figure 1", or nothing for text."""
        counts: Counter[str] = Counter()
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, TextBlock):
                    yield "", block
                    continue
                kind = "Table" if isinstance(block, TableBlock) else "Figure"
                counts[kind] += 1
                yield f"{kind} {counts[kind]}", block
