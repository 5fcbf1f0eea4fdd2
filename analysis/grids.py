"""Sets pictures of one tile side by side, large enough to judge roof edges by eye, each with a caption below."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

_PER_ROW = 4
_LEAST_PX, _MOST_PX = 450, 640  # widths at which a picture is shown as it is
_SHRUNK_PX = 512  # half of the usual 1024, so that shrinking these averages whole pixels
_MARGIN, _GAP, _CAPTION_GAP = 32, 28, 10
_TITLE_PX, _TEXT_PX = 40, 26
_LINE = 1.25  # times the size of the letters
_INK, _PAPER = "#1a1a1a", "#ffffff"
_JPEG_QUALITY = 92


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A picture with its caption: `name` in bold letters, and below it `score`, which may be empty."""

    picture: Image.Image
    name: str
    score: str = ""


def grid(title: str, panels: Sequence[Panel]) -> bytes:
    """Returns a JPEG of the panels, from left to right and in rows of equal length: the same bytes for the same panels.

    Args:
        title: What stands above them.
        panels: RGB pictures of one size. Small ones are enlarged by a whole factor without smoothing, large ones are
            shrunk by averaging areas, so that no edge looks smoother or rougher than it is.
    """
    num_rows = math.ceil(len(panels) / _PER_ROW)
    num_columns = math.ceil(len(panels) / num_rows)
    pictures = [_for_the_eye(panel.picture) for panel in panels]
    width, height = pictures[0].size
    bold, regular = _font(_TEXT_PX, bold=True), _font(_TEXT_PX, bold=False)
    captions = [
        [(line, bold) for line in _wrap(panel.name, bold, width)] + [(panel.score, regular)] * bool(panel.score)
        for panel in panels
    ]
    rows = [range(start, min(start + num_columns, len(panels))) for start in range(0, len(panels), num_columns)]
    line_px, title_line_px = round(_LINE * _TEXT_PX), round(_LINE * _TITLE_PX)
    full_width = 2 * _MARGIN + num_columns * width + (num_columns - 1) * _GAP
    titles = _wrap(title, _font(_TITLE_PX, bold=True), full_width - 2 * _MARGIN)
    row_heights = [height + _CAPTION_GAP + line_px * max(len(captions[place]) for place in row) for row in rows]
    top = _MARGIN // 2 + title_line_px * len(titles) + _MARGIN // 2
    sheet = Image.new("RGB", (full_width, top + sum(row_heights) + _GAP * (num_rows - 1) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, text in enumerate(titles):
        draw.text((_MARGIN, _MARGIN // 2 + number * title_line_px), text, _INK, _font(_TITLE_PX, bold=True))
    for row, row_height in zip(rows, row_heights, strict=True):
        for column, place in enumerate(row):
            left = _MARGIN + column * (width + _GAP)
            sheet.paste(pictures[place], (left, top))
            for number, (text, font) in enumerate(captions[place]):
                draw.text((left, top + height + _CAPTION_GAP + number * line_px), text, _INK, font)
        top += row_height + _GAP
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)  # tints keep their edges
    return buffer.getvalue()


def _for_the_eye(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    if width < _LEAST_PX:
        factor = math.ceil(_LEAST_PX / width)
        return picture.resize((factor * width, factor * height), Image.Resampling.NEAREST)
    if width > _MOST_PX:
        return picture.resize((_SHRUNK_PX, max(1, round(height * _SHRUNK_PX / width))), Image.Resampling.BOX)
    return picture


@cache
def _font(size_px: int, *, bold: bool) -> ImageFont.FreeTypeFont:
    # Matplotlib's own copy and the basic layout are the same on every machine, and so are the bytes of a grid.
    path = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Returns the text in lines that fit: broken between words, and within one only where it is too long for a line."""
    lines = [""]
    for word in text.split():
        if font.getlength(f"{lines[-1]} {word}".strip()) <= width:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        lines[-1] += " " if lines[-1] else ""
        for piece in _pieces(word, font, width):
            if font.getlength(lines[-1] + piece) <= width:
                lines[-1] += piece
            else:
                lines.append(piece)
    return [line.rstrip() for line in lines]


def _pieces(word: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Returns a word's parts: itself where it fits, else what its marks join, else its letters."""
    if font.getlength(word) <= width:
        return [word]
    parts = re.split(r"(?<=[_/+.-])", word)
    return [piece for part in parts for piece in ([part] if font.getlength(part) <= width else list(part))]
