"""The folder of Inria's crops: what is written, and from which sources."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trainables.killing import digests
from tests.trainables.made_up_sources import INRIA_SIDE as SIDE
from tests.trainables.made_up_sources import INRIA_SIZE as SIZE
from tests.trainables.made_up_sources import SOME_INRIA, inria_image, inria_mask, write_inria, write_tiff
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.datasets import inria_crops
from trainables.datasets.inria import SPLITS, Crop
from trainables.datasets.inria_crops import prepare_inria

CENTER = (SIZE - SIDE) // 2
LEAST = 52  # 5 % of 32×32 is 51.2
TRAIN = ("train/images", "train/gt")

pytestmark = pytest.mark.usefixtures("small_inria")
prepare_small = partial(prepare_inria, side_px=SIDE)


def rows(dst: Path) -> dict[str, dict[str, str]]:
    with (dst / "crops.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def check_crops(dst: Path) -> None:
    """The crops of a folder are the pixels that its crops.csv names."""
    for tile, row in rows(dst).items():
        number = int(tile[6:])
        top, left = int(row["top_px"]), int(row["left_px"])
        window = slice(top, top + SIDE), slice(left, left + SIDE)
        mask = np.array(Image.open(dst / row["split"] / "masks" / f"{tile}.png"))
        image = np.array(Image.open(dst / row["split"] / "images" / f"{tile}.jpg"))
        assert np.array_equal(mask, inria_mask(number)[window])
        assert np.abs(image.astype(int) - inria_image(number)[window]).mean() < 6  # JPEG
        assert float(row["coverage"]) == round((mask > 0).mean(), 4)
        assert (int(row["moved_right_px"]), int(row["moved_down_px"])) == (left - CENTER, top - CENTER)


def test_prepared_folder_is_a_dataset_with_the_splits_of_record(prepared):
    of = {split: [int(tile[6:]) for tile in SPLITS if SPLITS[tile] == split] for split in ("train", "val", "test")}
    assert of["val"] == [1, 6, 11, 16, 21, 26]
    assert of["test"] == [31, 32, 33, 34, 35, 36]
    assert of["train"] == [n for n in range(1, 31) if n % 5 != 1]
    assert list(SPLITS) == [f"austin{n}" for n in range(1, 37)]
    dataset = read_dataset(prepared)
    assert [len(files.tiles) for files in (dataset.train, dataset.val, dataset.test)] == [6, 2, 2]
    assert {(tile.height_px, tile.width_px) for tile in dataset.test.tiles} == {(SIDE, SIDE)}
    assert dataset.info.classes == ("background", "building")
    assert dataset.info.metres_per_pixel == 0.3
    assert dataset.info.groups == {}  # every tile is a place of its own
    assert set(decode_train_val(dataset).val.masks[0].ravel()) == {0, 1}


def test_crops_are_the_pixels_that_crops_csv_names_and_it_says_how_each_was_placed(prepared):
    check_crops(prepared)
    table = rows(prepared)
    assert list(table) == list(SOME_INRIA)
    assert list(table["austin1"]) == list(Crop.model_fields)
    moved = {tile: row["placed"] for tile, row in table.items() if row["placed"] != "center"}
    assert moved == {"austin4": "slid", "austin7": "best", "austin22": "best"}
    assert table["austin4"]["coverage_center"] == "0.0000"
    assert round(float(table["austin4"]["coverage"]) * SIDE**2) >= LEAST
    assert table["austin22"]["left_px"] == table["austin22"]["top_px"] == str(CENTER)


@pytest.mark.parametrize(
    ("folders", "src"),
    [(("images", "gt"), "its folder"), (TRAIN, "its folder"), (TRAIN, ".")],
    ids=["flat", "train", "above"],
)
def test_prepare_reads_inrias_own_layouts_and_leaves_other_cities_alone(tmp_path, prepared, folders, src):
    root = write_inria(tmp_path / "AerialImageDataset", *folders)
    (root / folders[0] / "chicago1.tif").write_bytes(b"no image")
    prepare_small(tmp_path if src == "." else root, tmp_path / "dst")
    assert digests(tmp_path / "dst") == digests(prepared)


def test_overview_outlines_the_buildings_of_every_crop(dst, monkeypatch):
    monkeypatch.setattr(inria_crops, "_CELL_PX", 256)
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(dst / "val/masks/austin1.png")
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:24, 8:24] = 255
    Image.fromarray(mask).save(dst / "train/masks/austin2.png")
    prepare_small(dst, dst)
    pixels = np.asarray(Image.open(dst / "overview.png")).astype(int)
    assert pixels.shape == (2 * (256 + 42 + 14) + 14, 6 * (256 + 14) + 14, 3)
    yellow = (pixels[..., 0] > 200) & (pixels[..., 1] > 180) & (pixels[..., 2] < 100)
    bare, square = yellow[56:312, 14:270], yellow[56:312, 284:540]
    assert not bare.any()
    assert square[63, 66:190].all()  # just above the square
    assert not square[64:192, 64:192].any()  # tinted, not filled


def test_finished_folder_needs_no_source_and_a_missing_tile_its_own_alone(dst, src, prepared, tmp_path):
    prepare_small(tmp_path / "gone", dst)
    assert digests(dst) == digests(prepared)
    (dst / "val/masks/austin6.png").unlink()
    for path in src.glob("*/*.tif"):
        if path.stem != "austin6":
            path.unlink()
    prepare_small(src, dst)
    assert digests(dst) == digests(prepared)


STORED: dict[str, tuple[dict[str, Any], Any]] = {
    "white is 0": ({"photometric": "MINISWHITE"}, lambda mask: 255 - mask),
    "1 bit": ({"nbits": 1}, lambda mask: mask // 255),
    "1 bit, white is 0": ({"nbits": 1, "photometric": "MINISWHITE"}, lambda mask: 1 - mask // 255),
    "4 bits": ({"nbits": 4}, lambda mask: mask // 17),
}


@pytest.mark.parametrize("kind", STORED)
def test_prepare_takes_masks_as_viewers_show_them(src, tmp_path, prepared, kind):
    options, stored = STORED[kind]
    for number in (1, 4, 22):
        write_tiff(src / f"msks/austin{number}.tif", stored(inria_mask(number))[None], **options)
    prepare_small(src, tmp_path / "dst")
    assert digests(tmp_path / "dst") == digests(prepared)
