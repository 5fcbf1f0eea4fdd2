"""Which files are tiles: other names of folders and masks, what is left out, and what is told to mend it."""

import json
import shlex
import shutil
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables.data.dataset import Dataset, read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.layout.folder import named

IDS = {"train": ["train_0", "train_1", "train_2"], "val": ["val_0", "val_1"], "test": ["test_0"]}


def ids_of(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [tile.id for tile in getattr(dataset, split).tiles] for split in IDS}


def describe(root: Path, **info: Any) -> None:
    (root / "dataset.json").write_text(json.dumps(info))


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


# Names that are taken


@pytest.mark.parametrize("val", ["valid", "validation", "VAL"])
@pytest.mark.parametrize(
    ("images", "masks"), [("image", "labels"), ("img", "gt"), ("Images", "mask"), ("images", "label")]
)
def test_other_names_of_folders_are_taken(rgb_folder, val, images, masks):
    expected = decode_train_val(read_dataset(rgb_folder)).digest()
    for split in IDS:
        rename(rgb_folder / split / "images", images)
        rename(rgb_folder / split / "masks", masks)
    rename(rgb_folder / "val", val)
    dataset = read_dataset(rgb_folder)
    assert ids_of(dataset) == IDS
    assert dataset.notes == ()
    assert decode_train_val(dataset).digest() == expected


@pytest.mark.parametrize("ending", ["_mask", "_label", "-labels", "_GT", "_seg"])
def test_masks_may_have_an_ending(rgb_folder, ending):
    for mask in sorted(rgb_folder.glob("*/masks/*.png")):
        rename(mask, f"{mask.stem}{ending}.png")
    dataset = read_dataset(rgb_folder)
    assert ids_of(dataset) == IDS
    assert dataset.train.tiles[1].mask.name == f"train_1{ending}.png"


def test_an_image_may_end_like_a_mask(rgb_folder):
    for kind in ("images", "masks"):
        rename(rgb_folder / "train" / kind / "train_0.png", "train_1_mask.png")
    assert ids_of(read_dataset(rgb_folder))["train"] == ["train_1", "train_1_mask", "train_2"]


@pytest.mark.parametrize(("of_image", "of_mask"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_in_other_unicode_forms_are_the_same(rgb_folder, of_image, of_mask):
    rename(rgb_folder / "train/images/train_0.png", unicodedata.normalize(of_image, "Zürich.png"))
    rename(rgb_folder / "train/masks/train_0.png", unicodedata.normalize(of_mask, "Zürich.png"))
    describe(rgb_folder, groups={unicodedata.normalize(of_image, "Zürich"): "north"})
    dataset = read_dataset(rgb_folder)
    tile = unicodedata.normalize("NFC", "Zürich")
    assert ids_of(dataset)["train"] == [tile, "train_1", "train_2"]
    assert dataset.info.groups == {tile: "north"}


# What could be two things


def test_two_folders_of_one_split_are_refused_unless_one_is_of_other_things(rgb_folder, refusal):
    (rgb_folder / "train/labels").mkdir()
    (rgb_folder / "train/labels/train_0.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert ids_of(read_dataset(rgb_folder)) == IDS
    shutil.copytree(rgb_folder / "val", rgb_folder / "valid")
    assert refusal(lambda: read_dataset(rgb_folder)) == (
        f"{rgb_folder} has both val/ and valid/, which mean the same: keep one of them"
    )


def test_two_masks_of_one_image_are_refused(rgb_folder, refusal):
    masks = rgb_folder / "train/masks"
    shutil.copy(masks / "train_0.png", masks / "train_0_mask.png")
    assert refusal(lambda: read_dataset(rgb_folder)) == (
        f"{masks / 'train_0_mask.png'} and train_0.png could both be the mask of train_0: keep one of them"
    )


# What mends it


@pytest.mark.parametrize("name", ["Train_0.png", "train_O.png", "train_0_mask_v2.png"])
def test_a_mask_of_nearly_the_name_is_named_with_a_command_that_mends_it(rgb_folder, name, refusal):
    mask = rename(rgb_folder / "train/masks/train_0.png", name)
    words, _, command = refusal(lambda: read_dataset(rgb_folder)).partition(
        f"(if {name}, which has no image, is its mask: "
    )
    assert words.startswith(f"{rgb_folder / 'train/images/train_0.png'} has no mask: add ")
    assert not mask.with_name("train_0.png").exists()
    subprocess.run(shlex.split(command.removesuffix(")")), check=True)
    assert ids_of(read_dataset(rgb_folder)) == IDS


def test_a_split_of_nearly_the_name_is_named_with_a_command_that_mends_it(rgb_folder, refusal):
    rename(rgb_folder / "train", "trian")
    message = refusal(lambda: read_dataset(rgb_folder))
    command = message.partition("(if trian is train: ")[2].removesuffix(")")
    subprocess.run(shlex.split(command), check=True)
    assert ids_of(read_dataset(rgb_folder)) == IDS


# What is left out


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".gif", ".WEBP"])
def test_a_pair_in_another_format_is_refused_with_a_command(rgb_folder, suffix, refusal):
    images = rgb_folder / "train/images"
    for path in (images / "train_1.png", rgb_folder / "train/masks/train_1.png"):
        Image.open(path).save(path.with_suffix(suffix))
        path.unlink()
    assert refusal(lambda: read_dataset(rgb_folder)) == (
        f"{images} holds train_1{suffix}, but tiles are read from .jpg, .jpeg, .png, .tif, .tiff only: store it as PNG "
        f"or TIFF (rio convert {images}/train_1{suffix} {images}/train_1.tif) and move it elsewhere"
    )


def test_many_files_in_other_formats_are_counted(rgb_folder, refusal):
    assert [named(its) for its in ("a", "abc", range(5))] == ["a", "a, b, c", "0, 1, 2 and 2 more"]
    for number in range(5):
        (rgb_folder / "val/masks" / f"a{number}.heic").write_bytes(b"")
    assert refusal(lambda: read_dataset(rgb_folder)) == (
        f"{rgb_folder / 'val/masks'} holds a0.heic, a1.heic, a2.heic and 2 more, but tiles are read from .jpg, .jpeg, "
        ".png, .tif, .tiff only: store them as PNG or TIFF and move them elsewhere"
    )


def test_other_things_are_named_and_side_files_are_not(rgb_folder):
    images = rgb_folder / "train/images"
    for name in ("train_0.png.aux.xml", "train_0.pgw", "train_0.png.ovr", "Thumbs.db", "desktop.ini", "._train_0.png"):
        (images / name).write_text("no image")
    assert read_dataset(rgb_folder).notes == ()
    (images / "more").mkdir()
    (images / "notes.txt").write_text("no image")
    (images / "train_0.bmp").write_text("a preview of a tile that is there")
    (rgb_folder / "val" / "sheet.jpg").write_text("beside the folders")
    dataset = read_dataset(rgb_folder)
    assert ids_of(dataset) == IDS
    assert dataset.notes == (
        "not read, since no tiles: train/images/train_0.bmp, train/images/more, train/images/notes.txt and 1 more",
    )


# Groups


@pytest.mark.parametrize("name", ["{}", "{}.png", "{}.TIF", "{}_mask.png", "train/images/{}.png"])
def test_groups_may_name_files(rgb_folder, name):
    describe(rgb_folder, groups={name.format(tile): "north" for tile in IDS["train"]})
    dataset = read_dataset(rgb_folder)
    assert dataset.info.groups == dict.fromkeys(IDS["train"], "north")
    assert dataset.notes == ()


def test_groups_of_other_tiles_are_named(rgb_folder, refusal):
    describe(rgb_folder, groups={"train_0": "north", "a": "north", "b.png": "south"})
    dataset = read_dataset(rgb_folder)
    assert dataset.info.groups == {"train_0": "north"}
    assert dataset.notes == ("groups in dataset.json names what is no tile: a, b.png",)
    describe(rgb_folder, groups={"a": "north", "b.png": "south"})
    assert refusal(lambda: read_dataset(rgb_folder)) == (
        f"{rgb_folder / 'dataset.json'}: groups names a, b.png, but the tiles are test_0, train_0, train_1 and 3 more: "
        "name tiles by their file names"
    )
    describe(rgb_folder, groups={"train_0": "north", "train_0.png": "south"})
    assert "groups puts tile train_0 in north and in south: name it once" in refusal(lambda: read_dataset(rgb_folder))


# dataset.json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_dataset_json_may_have_a_byte_order_mark(rgb_folder, encoding):
    (rgb_folder / "dataset.json").write_text('{"classes": ["Straße", "Dächer"]}', encoding=encoding)
    assert read_dataset(rgb_folder).info.classes == ("Straße", "Dächer")


def test_a_tile_id_may_be_as_long_as_a_file_name(rgb_folder):
    for kind in ("images", "masks"):
        rename(rgb_folder / "train" / kind / "train_0.png", "x" * 251 + ".png")
    assert "x" * 251 in decode_train_val(read_dataset(rgb_folder)).train.ids
    assert np.shape(decode_train_val(read_dataset(rgb_folder)).train.images[0]) == (64, 64, 3)
