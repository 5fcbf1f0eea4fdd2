"""The sheet of a folder's tiles."""

import numpy as np
from PIL import Image

from trainables.datasets.overview import Cell, draw_sheet


def cell(value: int) -> Cell:
    return Cell(title=str(value), split="val", picture=Image.new("RGB", (40, 30), (value, value, value)))


def test_sheet_has_every_picture_at_its_place():
    sheet = np.asarray(draw_sheet([cell(value) for value in (10, 20, 30, 40, 50)], per_row=2))
    # cells of 40 + 14 px by 30 + 42 + 14 px after an edge of 14 px
    assert sheet.shape == (3 * 86 + 14, 2 * 54 + 14, 3)
    for index in range(5):
        top, left = 14 + 42 + index // 2 * 86, 14 + index % 2 * 54
        assert (sheet[top : top + 30, left : left + 40] == 10 * (index + 1)).all()


def test_legend_lies_above_in_as_many_rows_as_it_takes():
    colors = {f"class {number}": (255, number, 0) for number in range(12)}
    plain = np.asarray(draw_sheet([cell(10)] * 4, per_row=4))
    sheet = np.asarray(draw_sheet([cell(10)] * 4, per_row=4, legend=colors))
    added = len(sheet) - len(plain)
    assert added > 3 * 16
    assert np.array_equal(sheet[added:], plain)
    for number in range(12):
        swatch = np.argwhere((sheet == (255, number, 0)).all(axis=2))
        assert len(swatch) == 14 * 14  # 16 px with an edge
        assert swatch[:, 0].max() < added
        assert swatch[:, 1].max() < sheet.shape[1] - 14
