"""Where the crop of an Inria tile lies."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.datasets.inria import find_place


def reader(mask: np.ndarray, windows: list[tuple[int, int, int, int]] | None = None) -> Any:
    """Reads windows of a mask as a file would: never past its edges."""

    def read(top: int, left: int, height: int, width: int) -> np.ndarray:
        assert top >= 0
        assert left >= 0
        assert top + height <= mask.shape[0]
        assert left + width <= mask.shape[1]
        if windows is not None:
            windows.append((top, left, height, width))
        return mask[top : top + height, left : left + width]

    return read


def brute_force(mask: np.ndarray, side: int) -> tuple[int, int]:
    """The rule, place by place."""
    last_top, last_left = mask.shape[0] - side, mask.shape[1] - side
    places = []
    for top in range(last_top + 1):
        for left in range(last_left + 1):
            building = int((mask[top : top + side, left : left + side] > 0).sum())
            squared = (top - last_top // 2) ** 2 + (left - last_left // 2) ** 2
            places.append((building, squared, top, left))
    enough = [place for place in places if 20 * place[0] >= side**2]
    most = max(place[0] for place in places)
    return min(place[1:] for place in enough or [place for place in places if place[0] == most])[1:]


@st.composite
def masks_and_sides(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    side = draw(st.integers(1, 14))
    height, width = (side + draw(st.integers(0, 26)) for _ in range(2))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 5))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[top : top + draw(st.integers(1, 4)), left : left + draw(st.integers(1, 4))] = 255
    return mask, side


@settings(max_examples=400)
@given(masks_and_sides())
def test_find_place_is_what_brute_force_finds(mask_and_side):
    mask, side = mask_and_side
    assert find_place(reader(mask), *mask.shape, side) == brute_force(mask, side)


def test_find_place_keeps_the_centre_with_exactly_5_percent_and_reads_no_more():
    mask, windows = np.zeros((60, 80), np.uint8), []
    mask[20:30, 30] = mask[20:30, 31] = 255  # 20 of 400
    mask[0, 0:40] = 255
    assert find_place(reader(mask, windows), 60, 80, 20) == (20, 30)
    assert windows == [(20, 30, 20, 20)]


@pytest.mark.parametrize(("left", "place", "sides"), [(163, (140, 144), [20, 30]), (173, (140, 154), [20, 30, 40, 60])])
def test_find_place_reads_around_the_centre_twice_as_far_each_time_until_it_is_enough(left, place, sides):
    mask, windows = np.zeros((300, 300), np.uint8), []
    mask[140:160, left : left + 7] = 255
    assert find_place(reader(mask, windows), 300, 300, 20) == place
    assert windows == [(150 - side // 2, 150 - side // 2, side, side) for side in sides]
