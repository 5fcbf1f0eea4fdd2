"""Preparing the Inria tiles: what is written, what a kill leaves, what a bad source is told."""

import contextlib
import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.trainables.killing import Killed, digests, kill_after
from trainables.common.errors import UserError
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.datasets import inria_crops
from trainables.datasets.inria import SPLITS, Crop, find_sources
from trainables.datasets.inria_crops import prepare_inria
from trainables.prepare import main

SIDE, SIZE = 32, 100
CENTER = (SIZE - SIDE) // 2
LEAST = 52  # 5 % of 32×32 is 51.2
FOLDERS = [("imgs", "msks"), ("images", "gt"), ("train/images", "train/gt")]

prepare_small = partial(prepare_inria, side_px=SIDE)


def small_mask(number: int) -> np.ndarray:
    """Buildings everywhere; far right only in tile 4, two pixels in tile 7, none in tile 22."""
    rng = np.random.default_rng(number)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if number == 7:
        mask[90, 3:5] = 255
    elif number != 22:
        mask[rng.random((SIZE, SIZE)) < 0.3] = 255
    if number == 4:
        mask[:, :80] = 0
    return mask


def small_image(number: int) -> np.ndarray:
    rng = np.random.default_rng([number, 1])
    coarse = rng.integers(60, 200, (10, 10, 3)).astype(np.uint8)
    return cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def rows(dst: Path) -> dict[str, dict[str, str]]:
    with (dst / "crops.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module", autouse=True)
def small_overview() -> Iterator[None]:
    """An overview that is drawn quickly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inria_crops, "_CELL_PX", 16)
        yield


@pytest.fixture(scope="session")
def write_sources(save_tiff) -> Callable[..., Path]:
    def write(root: Path, folders: tuple[str, str] = FOLDERS[0]) -> Path:
        images, masks = (root / folder for folder in folders)
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number in range(1, 37):
            save_tiff(images / f"austin{number}.tif", small_image(number).transpose(2, 0, 1))
            save_tiff(masks / f"austin{number}.tif", small_mask(number)[None])
        return root

    return write


@pytest.fixture(scope="module")
def sources(tmp_path_factory, write_sources) -> Path:
    """36 pairs that no test changes."""
    return write_sources(tmp_path_factory.mktemp("inria"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, sources) -> Path:
    """The folder made of them, which no test changes."""
    dst = tmp_path_factory.mktemp("prepared") / "austin"
    prepare_small(sources, dst)
    return dst


@pytest.fixture
def src(tmp_path, sources) -> Path:
    """Sources that a test may change."""
    return shutil.copytree(sources, tmp_path / "src")


@pytest.fixture
def dst(tmp_path, prepared) -> Path:
    """A finished folder that a test may change."""
    return shutil.copytree(prepared, tmp_path / "dst")


# What is written


def test_splits_are_those_of_record():
    of = {split: [int(tile[6:]) for tile in SPLITS if SPLITS[tile] == split] for split in ("train", "val", "test")}
    assert of["val"] == [1, 6, 11, 16, 21, 26]
    assert of["test"] == [31, 32, 33, 34, 35, 36]
    assert of["train"] == [n for n in range(1, 31) if n % 5 != 1]
    assert list(SPLITS) == [f"austin{n}" for n in range(1, 37)]


def test_prepared_folder_is_a_dataset(prepared):
    dataset = read_dataset(prepared)
    assert [len(files.tiles) for files in (dataset.train, dataset.val, dataset.test)] == [24, 6, 6]
    assert {(tile.height_px, tile.width_px) for tile in dataset.test.tiles} == {(SIDE, SIDE)}
    assert dataset.info.classes == ("background", "building")
    assert dataset.info.metres_per_pixel == 0.3
    assert dataset.info.groups == {}  # every tile is a place of its own
    assert set(decode_train_val(dataset).val.masks[0].ravel()) == {0, 1}


def test_crops_are_the_pixels_that_crops_csv_names(prepared):
    for tile, row in rows(prepared).items():
        number = int(tile[6:])
        top, left = int(row["top_px"]), int(row["left_px"])
        window = slice(top, top + SIDE), slice(left, left + SIDE)
        mask = np.array(Image.open(prepared / row["split"] / "masks" / f"{tile}.png"))
        image = np.array(Image.open(prepared / row["split"] / "images" / f"{tile}.jpg"))
        assert np.array_equal(mask, small_mask(number)[window])
        assert np.abs(image.astype(int) - small_image(number)[window]).mean() < 6  # JPEG
        assert float(row["coverage"]) == round((mask > 0).mean(), 4)
        assert (int(row["moved_right_px"]), int(row["moved_down_px"])) == (left - CENTER, top - CENTER)


def test_crops_csv_says_how_each_crop_was_placed(prepared):
    table = rows(prepared)
    assert list(table) == list(SPLITS)
    assert list(table["austin1"]) == list(Crop.model_fields)
    moved = {tile: row["placed"] for tile, row in table.items() if row["placed"] != "center"}
    assert moved == {"austin4": "slid", "austin7": "best", "austin22": "best"}
    assert table["austin4"]["coverage_center"] == "0.0000"
    assert round(float(table["austin4"]["coverage"]) * SIDE**2) >= LEAST
    assert table["austin22"]["left_px"] == table["austin22"]["top_px"] == str(CENTER)


@pytest.mark.parametrize("folders", FOLDERS[1:])
def test_prepare_reads_inrias_own_layout_and_leaves_other_cities_alone(tmp_path, write_sources, prepared, folders):
    root = write_sources(tmp_path / "AerialImageDataset", folders)
    (root / folders[0] / "chicago1.tif").write_bytes(b"no image")
    prepare_small(root, tmp_path / "dst")
    assert digests(tmp_path / "dst") == digests(prepared)


def test_prepare_finds_the_unpacked_archive(tmp_path, write_sources, prepared):
    write_sources(tmp_path / "AerialImageDataset", FOLDERS[2])
    prepare_small(tmp_path, tmp_path / "dst")
    assert digests(tmp_path / "dst") == digests(prepared)


def test_overview_outlines_the_buildings_of_every_crop(dst, monkeypatch):
    monkeypatch.setattr(inria_crops, "_CELL_PX", 256)
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(dst / "val/masks/austin1.png")
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:24, 8:24] = 255
    Image.fromarray(mask).save(dst / "train/masks/austin2.png")
    prepare_small(dst, dst)
    pixels = np.asarray(Image.open(dst / "overview.png")).astype(int)
    assert pixels.shape == (6 * (256 + 42 + 14) + 14, 6 * (256 + 14) + 14, 3)
    yellow = (pixels[..., 0] > 200) & (pixels[..., 1] > 180) & (pixels[..., 2] < 100)
    bare, square = yellow[56:312, 14:270], yellow[56:312, 284:540]
    assert not bare.any()
    assert square[63, 66:190].all()  # just above the square
    assert not square[64:192, 64:192].any()  # tinted, not filled


@pytest.mark.parametrize(
    ("placed", "moved", "nudge", "note"),
    [
        ("center", (0, 0), (0, 0), ""),
        ("slid", (30, -40), (0, 0), "slid 50 px"),
        ("best", (30, -40), (0, 0), "best, slid 50 px"),
        ("best", (0, 0), (0, 0), "best, not moved"),
        ("nudged", (150, -80), (120, -40), "nudged +120,-40"),
    ],
)
def test_note_says_how_a_crop_moved(placed, moved, nudge, note):
    names = ("moved_right_px", "moved_down_px", "nudge_right_px", "nudge_down_px")
    numbers = dict(zip(names, moved + nudge, strict=True))
    crop = Crop(id="a", split="val", left_px=0, top_px=0, coverage_center=0, coverage=0, placed=placed, **numbers)
    assert inria_crops._note(crop) == note


# Again, and after a kill


def test_prepare_again_changes_no_byte_and_needs_no_source(dst, prepared, tmp_path):
    prepare_small(tmp_path / "gone", dst)
    assert digests(dst) == digests(prepared)


def test_prepare_makes_only_what_is_missing(dst, src, prepared):
    (dst / "val/masks/austin6.png").unlink()
    for path in src.glob("*/*.tif"):
        if path.stem != "austin6":
            path.unlink()
    prepare_small(src, dst)
    assert digests(dst) == digests(prepared)


@given(count=st.integers(0, 400))
@settings(max_examples=25)
def test_prepare_killed_anywhere_finishes_when_started_again(tmp_path_factory, sources, prepared, count):
    root = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, count)
        with pytest.raises(Killed):
            prepare_small(sources, root / "dst")
    prepare_small(sources, root / "dst")
    assert digests(root / "dst") == digests(prepared)


@given(count=st.integers(0, 30))
@settings(max_examples=31)
def test_nudge_killed_anywhere_never_mixes_two_places(tmp_path_factory, sources, prepared, count):
    root = tmp_path_factory.mktemp("killed")
    dst = shutil.copytree(prepared, root / "dst")
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        kill_after(patch, count)
        prepare_small(sources, dst, nudges={"austin2": (9, -8)})
    prepare_small(sources, dst)  # without the flag: the old place or the new one, but whole
    test_crops_are_the_pixels_that_crops_csv_names(dst)


# Nudges


def test_nudge_moves_one_crop_and_is_remembered(src, dst, prepared):
    prepare_small(src, dst, nudges={"austin4": (3, -7)})
    before, after = rows(prepared)["austin4"], rows(dst)["austin4"]
    assert after["placed"] == "nudged"
    assert int(after["left_px"]) == int(before["left_px"]) + 3
    assert int(after["top_px"]) == int(before["top_px"]) - 7
    assert int(after["moved_right_px"]) == int(before["moved_right_px"]) + 3
    test_crops_are_the_pixels_that_crops_csv_names(dst)
    changed = {name for name, _ in digests(dst).items() - digests(prepared).items()}
    assert changed == {"crops.csv", "overview.png", "train/images/austin4.jpg", "train/masks/austin4.png"}

    nudged = digests(dst)
    (dst / "train/masks/austin4.png").unlink()
    prepare_small(src, dst)
    assert digests(dst) == nudged


def test_nudge_of_0_0_undoes_a_nudge(src, dst, prepared):
    prepare_small(src, dst, nudges={"austin5": (3, -7)})
    assert digests(dst) != digests(prepared)
    prepare_small(src, dst, nudges={"austin5": (0, 0)})
    assert digests(dst) == digests(prepared)


def test_nudge_in_a_fresh_folder_gives_the_same_bytes(src, dst, tmp_path):
    prepare_small(src, dst, nudges={"austin5": (3, -7)})
    prepare_small(src, tmp_path / "fresh", nudges={"austin5": (3, -7)})
    assert digests(dst) == digests(tmp_path / "fresh")


@pytest.mark.parametrize("nudge", [(-34, -34), (34, 34)])
def test_nudge_reaches_the_edges(src, dst, nudge):
    prepare_small(src, dst, nudges={"austin5": nudge})
    assert rows(dst)["austin5"]["left_px"] == str(CENTER + nudge[0])


@pytest.mark.parametrize("nudge", [(-35, 0), (35, 0), (0, -35), (0, 35)])
def test_nudge_past_the_edge_is_refused_before_anything_is_written(src, tmp_path, nudge, refusal):
    message = refusal(lambda: prepare_small(src, tmp_path / "dst", nudges={"austin5": nudge}))
    assert message == (
        f"--nudge austin5={nudge[0]:+d},{nudge[1]:+d} leaves the source of 100×100 px: "
        "DX may be -34 to +34, DY -34 to +34"
    )
    assert not (tmp_path / "dst").exists()


# The command line


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., str]:
    """Runs the command with small crops; what it printed, spaces pressed together."""
    monkeypatch.setattr(inria_crops, "SIDE_PX", SIDE)

    def run(*arguments: Any) -> str:
        assert main(["inria", *map(str, arguments)]) == 0
        return " ".join(capsys.readouterr().out.split())

    return run


def test_command_shows_what_moved_and_what_to_look_at(command, src, tmp_path):
    printed = command("--src", src, "--dst", tmp_path / "dst")
    assert "austin4 train 0.0% 5" in printed
    assert "austin22 train 0.0% 0.0% +0 +0 best, not moved (low)" in printed
    assert "warning: austin7 has 0.2% building, less than 5 %: no place has enough" in printed
    assert "least building: 0.0%, in austin22" in printed
    assert str(tmp_path / "dst" / "overview.png") in printed
    assert "--nudge austin17=+120,-40 moves" in printed


def test_command_says_which_nudges_it_keeps(command, src, dst):
    printed = command("--src", src, "--dst", dst, "--nudge", "austin5=3,-7", "austin6=+1,+2", "--nudge", "austin8=-1,0")
    assert "austin5 train" in printed
    assert "keeps its nudge" not in printed
    printed = command("--src", src, "--dst", dst, "--nudge", "austin6=+1,+2", "austin8=0,0")
    assert "austin5 keeps its nudge from crops.csv; --nudge austin5=0,0 undoes it" in printed
    assert "austin6 keeps" not in printed
    assert "austin8" not in printed


@pytest.mark.parametrize("is_terminal", ["1", ""])
def test_command_shows_progress_in_a_terminal_only(command, src, tmp_path, is_terminal, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", is_terminal)
    printed = command("--src", src, "--dst", tmp_path / "dst")
    assert all((step in printed) == bool(is_terminal) for step in ("placing", "cutting"))


def test_command_says_when_nothing_moved(command, src, dst, save_tiff):
    for number in (4, 7, 22):
        save_tiff(src / "msks" / f"austin{number}.tif", small_mask(1)[None])
        (dst / "train/masks" / f"austin{number}.png").unlink()
    assert command("--src", src, "--dst", dst).startswith("none moved")


@pytest.mark.parametrize(
    ("nudges", "words"),
    [
        (["austin5"], "--nudge austin5 is no nudge: write TILE=DX,DY in pixels, such as austin17=+120,-40"),
        (["austin5=1"], "--nudge austin5=1 is no nudge"),
        (["austin5=1.5,2"], "--nudge austin5=1.5,2 is no nudge"),
        (["austin5=1,2,3"], "--nudge austin5=1,2,3 is no nudge"),
        (["austin37=1,2"], "--nudge austin37=1,2 names no tile: use austin1 to austin36"),
        (["chicago1=1,2"], "--nudge chicago1=1,2 names no tile: use austin1 to austin36"),
        (["austin5=1,2", "austin5=0,0"], "--nudge austin5=0,0 is the second for austin5: give one"),
    ],
)
def test_command_refuses_bad_nudges(nudges, words, tmp_path, refusal):
    arguments = ["inria", "--src", str(tmp_path), "--dst", str(tmp_path / "dst"), "--nudge", *nudges]
    assert refusal(lambda: main(arguments)).startswith(words)


def test_command_ends_with_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "trainables.prepare", "inria", "--src", "nowhere", "--dst", "dst"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "error: --src nowhere is no folder, but must hold the Inria tiles: check the path\n"
    assert not (tmp_path / "dst").exists()


# What a bad source is told


def test_prepare_refuses_a_source_of_unknown_layout(tmp_path, refusal):
    (tmp_path / "src" / "images").mkdir(parents=True)
    message = refusal(lambda: prepare_small(tmp_path / "src", tmp_path / "dst"))
    assert message.startswith(f"--src {tmp_path / 'src'} has neither imgs/ and msks/ nor images/ and gt/")
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        ([3], "austin3,"),
        ([3, 7], "austin3 and austin7,"),
        ([3, 7, 9], "austin3, austin7 and austin9,"),
        ([3, 7, 9, 31, 32, 36], "austin3, austin7 and 4 more,"),
    ],
)
@pytest.mark.parametrize("folder", ["imgs", "msks"])
def test_prepare_names_missing_tiles(src, tmp_path, numbers, names, folder, refusal):
    for number in numbers:
        (src / folder / f"austin{number}.tif").unlink()
    message = refusal(lambda: prepare_small(src, tmp_path / "dst"))
    assert f"lacks the image or the mask of {names} but every tile needs both: add austin3.tif" in message
    assert not (tmp_path / "dst").exists()


def bad_files() -> dict[str, tuple[str, np.ndarray, str]]:
    """Per mistake the folder of the file, its (bands, H, W) pixels, and what is said after its path."""
    square = (SIZE, SIZE)
    return {
        "mask of another size": (
            "msks",
            np.zeros((1, 90, 80), np.uint8),
            "is 80×90 px, but its image is 100×100 px: image and mask must have one size",
        ),
        "four bands": (
            "imgs",
            np.zeros((4, *square), np.uint8),
            "has 4 bands of uint8, but must have 3 of uint8: replace it",
        ),
        "deep image": (
            "imgs",
            np.zeros((3, *square), np.uint16),
            "has 3 bands of uint16, but must have 3 of uint8: replace it",
        ),
        "colour mask": (
            "msks",
            np.zeros((3, *square), np.uint8),
            "has 3 bands of uint8, but must have 1 of uint8: replace it",
        ),
        "mask of 0 and 1": (
            "msks",
            np.eye(*square, dtype=np.uint8)[None],
            "holds the value 1, but a mask may hold 0 and 255: replace it",
        ),
    }


@pytest.mark.parametrize("mistake", bad_files())
def test_prepare_refuses_bad_files_before_anything_is_written(src, tmp_path, mistake, save_tiff, refusal):
    folder, pixels, words = bad_files()[mistake]
    path = save_tiff(src / folder / "austin36.tif", pixels)
    assert refusal(lambda: prepare_small(src, tmp_path / "dst")) == f"{path} {words}"
    assert not (tmp_path / "dst").exists()


STORED: dict[str, tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = {
    "white is 0": ({"photometric": "MINISWHITE"}, lambda mask: 255 - mask),
    "1 bit": ({"nbits": 1}, lambda mask: mask // 255),
    "1 bit, white is 0": ({"nbits": 1, "photometric": "MINISWHITE"}, lambda mask: 1 - mask // 255),
    "4 bits": ({"nbits": 4}, lambda mask: mask // 17),
}


@pytest.mark.parametrize("kind", STORED)
def test_prepare_takes_masks_as_viewers_show_them(src, tmp_path, prepared, kind, save_tiff):
    options, stored = STORED[kind]
    for number in (1, 4, 22):
        profile = {"driver": "GTiff", "count": 1, "height": SIZE, "width": SIZE, "dtype": "uint8", **options}
        with rasterio.open(
            src / f"msks/austin{number}.tif", "w", transform=rasterio.Affine(0.3, 0, 0, 0, -0.3, 0), **profile
        ) as file:
            file.write(stored(small_mask(number)), 1)
    prepare_small(src, tmp_path / "dst")
    assert digests(tmp_path / "dst") == digests(prepared)


def test_prepare_refuses_masks_without_building_before_anything_is_written(src, tmp_path, save_tiff, refusal):
    for number in (1, 6, 11, 16, 21, 26):
        save_tiff(src / f"msks/austin{number}.tif", np.zeros((1, SIZE, SIZE), np.uint8))
    message = refusal(lambda: prepare_small(src, tmp_path / "dst"))
    assert message == "all val crops are without building, but a split needs both: check the masks of --src"
    assert not (tmp_path / "dst").exists()


def test_prepare_refuses_sources_smaller_than_a_crop(src, tmp_path, refusal):
    message = refusal(lambda: prepare_inria(src, tmp_path / "dst"))
    path = src / "imgs" / "austin1.tif"
    assert message == f"{path} is 100×100 px, but a crop takes 1024×1024 px: replace it"


@pytest.mark.parametrize("folder", ["imgs", "msks"])
@pytest.mark.parametrize("content", [b"", b"this is no image"])
def test_prepare_refuses_unreadable_files(src, tmp_path, folder, content, refusal):
    path = src / folder / "austin36.tif"
    path.write_bytes(content)
    message = refusal(lambda: prepare_small(src, tmp_path / "dst"))
    assert message == f"{path} is damaged, truncated or no image: replace it"
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("compress", [None, "lzw", "deflate"])
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_images_are_refused_or_not_needed(tmp_path_factory, compress, share):
    root = tmp_path_factory.mktemp("truncated")
    for folder, pixels in (("imgs", small_image(1).transpose(2, 0, 1)), ("msks", small_mask(1)[None])):
        (root / folder).mkdir()
        profile = {"driver": "GTiff", "count": len(pixels), "height": SIZE, "width": SIZE, "dtype": "uint8"}
        transform = rasterio.Affine(0.3, 0, 0, 0, -0.3, 0)
        with rasterio.open(
            root / folder / "austin1.tif", "w", transform=transform, compress=compress, **profile
        ) as file:
            file.write(pixels)
    path = root / "imgs" / "austin1.tif"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    message = None
    try:
        pixels = find_sources(root, ["austin1"], SIDE)["austin1"].read_image(CENTER, CENTER, SIDE, SIDE)
    except UserError as error:
        message = str(error)
    assert message in (None, f"{path} is damaged, truncated or no image: replace it")
    if message is None:
        assert np.array_equal(pixels, small_image(1)[CENTER : CENTER + SIDE, CENTER : CENTER + SIDE])


def test_prepare_that_meets_a_truncated_image_leaves_whole_tiles(src, tmp_path, prepared, refusal):
    path = src / "imgs" / "austin20.tif"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    message = refusal(lambda: prepare_small(src, tmp_path / "dst"))
    assert message == f"{path} is damaged, truncated or no image: replace it"
    expected = digests(prepared)
    left = {name: digest for name, digest in digests(tmp_path / "dst").items() if name != "crops.csv"}
    assert len(left) == 2 * 19
    assert left.items() <= expected.items()


# What a folder of something else is told


def test_prepare_refuses_a_folder_that_holds_other_things(src, tmp_path, refusal):
    (tmp_path / "dst").mkdir()
    (tmp_path / "dst" / "notes.txt").write_text("mine")
    message = refusal(lambda: prepare_small(src, tmp_path / "dst"))
    assert message.startswith(f"--dst {tmp_path / 'dst'} exists and was not made by this command")
    assert digests(tmp_path / "dst").keys() == {"notes.txt"}


def test_prepare_refuses_a_file_as_folder(src, tmp_path, refusal):
    (tmp_path / "dst").write_text("mine")
    assert "was not made by this command" in refusal(lambda: prepare_small(src, tmp_path / "dst"))
    below = tmp_path / "dst" / "below"
    assert refusal(lambda: prepare_small(src, below)).startswith(f"--dst {below} cannot be written (")


def test_prepare_takes_an_empty_folder(src, tmp_path, prepared):
    (tmp_path / "dst").mkdir()
    prepare_small(src, tmp_path / "dst")
    assert digests(tmp_path / "dst") == digests(prepared)


@pytest.mark.parametrize("content", ["", "id,split\nausdin1,val\n", "tile,score\n", "\x00\xff"])
def test_prepare_refuses_a_crops_csv_of_something_else(src, dst, content, refusal):
    (dst / "crops.csv").write_text(content)
    assert str(dst / "crops.csv") in refusal(lambda: prepare_small(src, dst))


@pytest.mark.parametrize(
    ("old", "new"), [("austin1,val,34", "austin1,val,here"), ("austin1,", "boston1,"), ("austin2,train,", "austin2,")]
)
def test_prepare_refuses_a_crops_csv_with_a_wrong_row(src, dst, old, new, refusal):
    text = (dst / "crops.csv").read_text()
    assert old in text
    (dst / "crops.csv").write_text(text.replace(old, new))
    assert str(dst / "crops.csv") in refusal(lambda: prepare_small(src, dst))


def test_prepare_refuses_to_mix_with_other_tiles(src, dst, refusal):
    other = dst / "train/images/chicago1.jpg"
    other.write_bytes(b"")
    message = refusal(lambda: prepare_small(src, dst))
    assert message == f"{other} is no tile of this command's: move it away or name another --dst"


def test_prepare_refuses_a_damaged_tile_of_its_own(src, dst, refusal):
    path = dst / "val/images/austin1.jpg"
    path.write_bytes(b"")
    message = refusal(lambda: prepare_small(src, dst))
    assert message == f"{path} or its mask is damaged: remove both and run again"


# True size


def true_size(number: int) -> tuple[np.ndarray, np.ndarray]:
    """(3, 5000, 5000) image and (1, 5000, 5000) mask; the middle of every fourth tile is empty."""
    rng = np.random.default_rng(number)
    image = cv2.resize(
        rng.integers(60, 160, (20, 20, 3)).astype(np.uint8), (5000, 5000), interpolation=cv2.INTER_NEAREST
    )
    mask = np.zeros((5000, 5000), np.uint8)
    for top, left in rng.integers(0, 4900, (700, 2)).tolist():
        if number % 4 or max(abs(top - 2450), abs(left - 2450)) > 900:
            mask[top : top + 100, left : left + 80] = 255
            image[top : top + 100, left : left + 80] = 220
    return image.transpose(2, 0, 1), mask[None]


@pytest.mark.slow
def test_command_at_true_size_survives_a_kill(tmp_path):
    for folder in ("images", "gt"):
        (tmp_path / "AerialImageDataset/train" / folder).mkdir(parents=True)
    for number in range(1, 37):
        for folder, pixels in zip(("images", "gt"), true_size(number), strict=True):
            path = tmp_path / "AerialImageDataset/train" / folder / f"austin{number}.tif"
            profile = {"driver": "GTiff", "count": len(pixels), "height": 5000, "width": 5000, "dtype": "uint8"}
            transform = rasterio.Affine(0.3, 0, 0, 0, -0.3, 0)
            with rasterio.open(path, "w", transform=transform, compress="lzw", **profile) as file:
                file.write(pixels)
    command = [sys.executable, "-m", "trainables.prepare", "inria", "--src", "AerialImageDataset", "--dst"]
    run = partial(subprocess.run, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    run([*command, "whole"])

    killed = subprocess.Popen([*command, "killed"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    while len(list((tmp_path / "killed").glob("*/images/*.jpg"))) < 12:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "killed" / "overview.png").exists()
    run([*command, "killed"])

    whole = digests(tmp_path / "whole")
    assert digests(tmp_path / "killed") == whole
    shutil.rmtree(tmp_path / "AerialImageDataset")
    (tmp_path / "AerialImageDataset").mkdir()
    run([*command, "whole"])
    assert digests(tmp_path / "whole") == whole
    dataset = read_dataset(tmp_path / "whole")
    assert {(tile.height_px, tile.width_px) for tile in dataset.train.tiles} == {(1024, 1024)}
    table = rows(tmp_path / "whole")
    assert {tile for tile, row in table.items() if row["placed"] == "slid"} == {f"austin{n}" for n in range(4, 37, 4)}
    assert all(float(row["coverage"]) >= 0.05 for row in table.values())
    assert json.loads((tmp_path / "whole/dataset.json").read_text())["bands"] == ["red", "green", "blue"]
