"""The overview of a folder of tiles: one sheet with a picture and a caption per tile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
INK, GREY, BLUE, RED = (25, 25, 25), (110, 110, 110), (0, 90, 180), (190, 30, 30)

_CAPTION_PX, _GAP_PX, _SWATCH_PX = 42, 14, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A tile's picture under two lines of text: title and split, note and remark."""

    title: str
    split: str
    picture: Image.Image
    note: str = ""
    note_color: Color = GREY
    remark: str = ""


def draw_sheet(cells: Sequence[Cell], *, per_row: int, legend: Mapping[str, Color] | None = None) -> Image.Image:
    """All cells in a grid, under a legend where there is one.

    Args:
        cells: At least one; all pictures have the same size in pixels.
        per_row: Cells in a row.
        legend: Name to (red, green, blue) from 0 to 255, such as the classes and their colours.
    """
    cell_width, cell_height = cells[0].picture.size
    width, height = cell_width + _GAP_PX, cell_height + _CAPTION_PX + _GAP_PX
    large, small = ImageFont.load_default(size=16), ImageFont.load_default(size=13)
    sheet_width = per_row * width + _GAP_PX
    entries, legend_height = _place_legend(legend or {}, small, sheet_width)
    sheet = Image.new("RGB", (sheet_width, legend_height - (-len(cells) // per_row) * height + _GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for name, color, left, top in entries:
        draw.rectangle((left, top, left + _SWATCH_PX - 1, top + _SWATCH_PX - 1), color, GREY)
        draw.text((left + _SWATCH_PX + 6, top + 13), name, INK, small, anchor="ls")
    for index, cell in enumerate(cells):
        left, top = index % per_row * width + _GAP_PX, legend_height + index // per_row * height + _GAP_PX
        right, below = left + cell_width, top + _CAPTION_PX
        draw.text((left, top + 15), cell.title, INK, large, anchor="ls")
        draw.text((right, top + 15), cell.split, GREY, small, anchor="rs")
        draw.text((left, top + 34), cell.note, cell.note_color, small, anchor="ls")
        draw.text((right, top + 34), cell.remark, BLUE, small, anchor="rs")
        sheet.paste(cell.picture, (left, below))
    return sheet


def _place_legend(
    legend: Mapping[str, Color], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int
) -> tuple[list[tuple[str, Color, int, int]], int]:
    """(name, colour, left, top) of each entry in rows of `width_px`, and the height of all rows in pixels."""
    entries = []
    left = top = _GAP_PX
    for name, color in legend.items():
        entry_width = _SWATCH_PX + 6 + round(font.getlength(name))
        if left > _GAP_PX and left + entry_width + _GAP_PX > width_px:
            left, top = _GAP_PX, top + _SWATCH_PX + 8
        entries.append((name, color, left, top))
        left += entry_width + 2 * _GAP_PX
    return entries, top + _SWATCH_PX if entries else 0
