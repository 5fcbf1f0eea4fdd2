"""Decoding test tiles, the digests of their files, and the proof that there is one door to their pixels."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import trainables.data.decode as decode_module
from trainables.data.dataset import SealedFiles, read_dataset
from trainables.data.decode import decode, decode_open
from trainables.data.masks import MaskRule
from trainables.data.sealed import check_sealed, decode_sealed, file_digests, tiles_digest

ROOT = Path(__file__).parents[3]
COUNTS = {"train": 1, "val": 1, "test": 2, "test-b": 2}
ROOMS = ("trainables", "searchspace", "studies", "analysis", "benchmarks")


@pytest.fixture
def folder(tmp_path, write_rgb) -> Path:
    return write_rgb(tmp_path / "tiles", counts=COUNTS)


def taken(take, root, split="test"):
    dataset = read_dataset(root)
    files = next(files for files in dataset.test_sets if files.split == split)
    return take(dataset, files, decode_open(dataset, keep=False).rule)


def flip_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


# Decoding


def test_decode_sealed_gives_the_test_tiles_as_written(folder):
    for split in ("test", "test-b"):
        tiles = taken(decode_sealed, folder, split)
        assert tiles.ids == (f"{split}_0", f"{split}_1")
        for tile, image, mask in zip(tiles.ids, tiles.images, tiles.masks, strict=True):
            assert np.array_equal(image, np.array(Image.open(folder / split / f"images/{tile}.png")))
            assert np.array_equal(mask * 255, np.array(Image.open(folder / split / f"masks/{tile}.png")))


@pytest.mark.parametrize("split", ["test", "test-b"])
@pytest.mark.parametrize("take", [check_sealed, decode_sealed])
def test_damaged_test_tiles_and_values_of_no_class_are_refused(folder, refusal, take, split):
    path = folder / split / "images" / f"{split}_1.png"
    content = path.read_bytes()
    path.write_bytes(content[:500])
    assert refusal(lambda: taken(take, folder, split)) == f"{path} is damaged or truncated: replace it"
    path.write_bytes(content)
    path = folder / split / "masks" / f"{split}_0.png"
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(path)
    assert refusal(lambda: taken(take, folder, split)).startswith(f"{path} holds the value 7, but a mask of 2")


# Digests


def test_file_digests_are_of_both_files_and_decode_nothing(folder, monkeypatch, refusal):
    dataset = read_dataset(folder)
    monkeypatch.setattr(decode_module, "read_pixels", lambda path: pytest.fail(f"{path} was decoded"))
    files = [folder / "test" / kind / "test_1.png" for kind in ("images", "masks")]
    parts = "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    digests = file_digests(dataset.test)
    assert list(digests) == ["test_0", "test_1"]
    assert digests["test_1"] == hashlib.sha256(parts.encode()).hexdigest()
    files[0].unlink()
    assert refusal(lambda: file_digests(dataset.test)).startswith(
        f"{files[0]} cannot be read (No such file or directory)"
    )


def test_file_digests_notice_one_byte_of_a_test_file_alone(folder):
    before = file_digests(read_dataset(folder).test)
    for path in (folder / "train/images/train_0.png", folder / "val/masks/val_0.png"):
        flip_last_byte(path)
        assert file_digests(read_dataset(folder).test) == before
    for kind in ("images", "masks"):
        flip_last_byte(folder / "test" / kind / "test_1.png")
        after = file_digests(read_dataset(folder).test)
        assert before["test_0"] == after["test_0"]
        assert before["test_1"] != after["test_1"]
        assert tiles_digest(before) != tiles_digest(after)
        flip_last_byte(folder / "test" / kind / "test_1.png")


def test_tiles_digest_is_of_ids_and_files_in_any_order():
    assert tiles_digest({"a": "1", "b": "2"}) == tiles_digest({"b": "2", "a": "1"})
    others = [{"a": "2", "b": "1"}, {"a": "1", "c": "2"}, {"a": "1"}, {"a": "1", "b": "2", "c": "3"}]
    assert len({tiles_digest(digests) for digests in [{"a": "1", "b": "2"}, *others]}) == 5


def test_test_tiles_without_a_pixel_that_counts_are_refused(tmp_path, write_rgb, refusal):
    root = write_rgb(tmp_path / "tiles", counts=COUNTS, foreground=1, info={"ignore_index": 9})
    taken(check_sealed, root)
    first, second = sorted((root / "test" / "masks").iterdir())
    for path in (first, second):
        Image.fromarray(np.full((64, 64), 9, np.uint8)).save(path)
        if path == first:
            taken(check_sealed, root)
    assert refusal(lambda: taken(check_sealed, root)).startswith("all test tiles are void or without data in ")


# One door

BEING_MADE = "reads and writes images while a data set is made, before there is a test set"
ALLOWED = {
    "studies/seal/seal.py": (
        {"decode_sealed", "check_sealed", "data.sealed"},
        "opens test tiles, after the opening is on record; asks before a study whether they are whole",
    ),
    "trainables/data/sealed.py": ({"decode_sealed", "check_sealed", "decode_files"}, "decodes test tiles for the seal"),
    "trainables/data/decode.py": ({"decode_files", "read_pixels", "OpenFiles"}, "decodes train and val tiles"),
    "trainables/data/dataset.py": ({"OpenFiles", "data.sealed"}, "declares train and val open, and nothing else"),
    "trainables/data/formats/raster.py": (
        {"read_pixels", "read_image", "rasterio", "Image.open"},
        "reads headers of all splits, and the pixels of files that its callers choose",
    ),
    "benchmarks/draws.py": ({"imread"}, "reads its own made-up train tiles, as a naive data set does"),
    "trainables/data/formats/orientation.py": ({"Image.open"}, "reads the EXIF data in headers"),
    "trainables/data/formats/png_chunks.py": ({"rasterio"}, "reads bytes, and says why"),
    "trainables/data/formats/mask.py": ({"Image.open"}, "shows a command that mends masks"),
    "trainables/data/layout/folder.py": ({"rasterio"}, "shows a command that mends images"),
    "trainables/data/layout/georeference.py": ({"rasterio"}, "reads headers of all splits"),
    "trainables/attention/maps.py": ({"read_image"}, "shows where a model looks in an image that a person names"),
    **{
        f"trainables/datasets/{name}.py": ({"read_image"}, BEING_MADE)
        for name in ("cityscapes", "landcover", "sources/plan")
    },
    "trainables/datasets/inria.py": ({"read_image", "rasterio"}, BEING_MADE),
    "trainables/datasets/inria_crops.py": ({"read_image", "Image.open"}, BEING_MADE),
    "trainables/datasets/write.py": ({"read_image", "rasterio"}, BEING_MADE),
    "trainables/datasets/sources/masks.py": ({"Image.open"}, BEING_MADE),
    "analysis/browse.py": ({"Image.open"}, "looks at the size of pictures that a page shows"),
    "analysis/figures/prediction_figures.py": ({"Image.open"}, "draws pictures of predictions that W&B logged"),
    "analysis/report/page.py": ({"Image.open"}, "looks at the size of the report's own pictures"),
    "analysis/report/predictions.py": ({"Image.open"}, "cuts panels out of pictures that W&B logged"),
    "studies/models/evaluation.py": (
        {"Image.open"},
        "reads pictures of predictions that were saved while the tiles were open",
    ),
}
"""Module to the names by which it comes to pixels, and why it may; tuning code is not among them."""

DOORS = r"decode_sealed|check_sealed|data\.sealed|data import sealed|decode_files|read_pixels|read_image|OpenFiles"
READERS = r"rasterio|imageio|skimage|tifffile|osgeo|torchvision(?:\.| import )io|im(?:read|decode)(?:multi)?"
WAYS = re.compile(rf"\b({DOORS}|{READERS}|Image\.open|PIL\.Image import open)\b")
"""What a module's text has to hold to come to the pixels of image files, by whatever name it imports them."""


def test_one_door_leads_to_test_pixels():
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    found = {path.relative_to(ROOT).as_posix(): set(WAYS.findall(path.read_text())) for path in files}
    assert len(files) > 40
    assert {path: ways for path, ways in found.items() if ways} == {path: ways for path, (ways, _) in ALLOWED.items()}


def test_decode_has_no_way_around_for_test_files(folder):
    dataset = read_dataset(folder)
    assert isinstance(dataset.test, SealedFiles)
    with pytest.raises(TypeError, match=r"^SealedFiles cannot be decoded: only train and val tiles are open to tuning"):
        decode(dataset.test, [], dataset, MaskRule(dataset.info))
