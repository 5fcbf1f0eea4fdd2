"""Image and mask must lie on each other, and tiles of different splits should not."""

from pathlib import Path

import numpy as np
import pytest
from rasterio import Affine
from rasterio.crs import CRS

from tests.trainables.made_up_sources import write_tiff
from trainables.data.dataset import read_dataset

UTM = CRS.from_epsg(32632)
NORTH_UP = Affine(2, 0, 500_000, 0, -2, 5_000_000)


def place(root: Path, split: str, transform: Affine, *, crs: CRS | None = UTM, kind: str = "images") -> Path:
    """Replaces the image or mask of a split's first tile by a georeferenced one."""
    (root / split / kind / f"{split}_0.png").unlink()
    pixels = np.zeros((3 if kind == "images" else 1, 64, 64), np.uint8)
    return write_tiff(root / split / kind / f"{split}_0.tif", pixels, transform=transform, crs=crs)


@pytest.mark.parametrize(
    ("moved", "shift"),
    [
        (Affine(2, 0, 500_096, 0, -2, 5_000_000), "+48.0 px (right) and +0.0 px (down)"),
        (Affine(2, 0, 500_000, 0, -2, 4_999_997), "+0.0 px (right) and +1.5 px (down)"),
        (Affine(2, 0, 500_000, 0, 2, 4_999_872), "+0.0 px (right) and +64.0 px (down)"),  # south up
        (Affine(2.04, 0, 500_000, 0, -2, 5_000_000), "+1.3 px (right) and +0.0 px (down)"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_mask_off_its_image_is_refused(rgb_folder, moved, shift, split, refusal):
    place(rgb_folder, split, NORTH_UP)
    mask = place(rgb_folder, split, moved, kind="masks")
    assert refusal(lambda: read_dataset(rgb_folder)) == (
        f"{mask} lies {shift} off its image by their georeferences, but must lie on it: georeference them alike, or "
        "store the mask without a georeference (as PNG) if its pixels are the image's"
    )


def test_another_coordinate_reference_system_is_refused(rgb_folder, refusal):
    place(rgb_folder, "val", NORTH_UP)
    mask = place(rgb_folder, "val", NORTH_UP, crs=CRS.from_epsg(32633), kind="masks")
    assert refusal(lambda: read_dataset(rgb_folder)).startswith(
        f"{mask} is georeferenced in EPSG:32633, but its image in EPSG:32632: georeference them alike"
    )


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_one_of_the_two_need_not_say_where_it_lies(rgb_folder, kind):
    place(rgb_folder, "train", NORTH_UP, kind=kind)
    assert len(read_dataset(rgb_folder).train.tiles) == 3


@pytest.mark.parametrize("crs", [UTM, None])
def test_rounding_of_a_georeference_is_no_shift(rgb_folder, crs):
    place(rgb_folder, "train", NORTH_UP)
    place(rgb_folder, "train", Affine(2, 0, 500_000.9, 0, -2, 5_000_000.4), crs=crs, kind="masks")
    assert len(read_dataset(rgb_folder).train.tiles) == 3


@pytest.mark.parametrize(
    ("right_px", "crs", "overlaps"),
    [
        (0, UTM, True),
        (62, UTM, True),
        (64, UTM, False),
        (63.5, UTM, False),
        (0, None, False),
        (0, CRS.from_epsg(32633), False),
    ],
)
def test_tiles_of_two_splits_on_the_same_ground_are_said(rgb_folder, right_px, crs, overlaps):
    place(rgb_folder, "train", NORTH_UP)
    place(rgb_folder, "test", Affine(2, 0, 500_000 + 2 * right_px, 0, -2, 5_000_000), crs=crs)
    assert read_dataset(rgb_folder).overlaps == (
        (
            "tiles of different splits cover the same ground by their georeferences (train tile train_0 and test tile "
            "test_0): scores on them are better than on new ground",
        )
        if overlaps
        else ()
    )
