"""Tiles that are decoded and not kept: all that is known of them is as if they were, in the memory of a few tiles."""

import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_open
from trainables.data.tiles import IGNORE

SIDE = 64


@pytest.fixture
def write(tmp_path, write_rgb, write_bands):
    """Tiles of a kind, of which the first one is void or without data in part, and the second one as a whole."""

    def write(kind):
        if kind == "16 bits":
            return write_bands(tmp_path / kind)
        root = write_rgb(tmp_path / kind, info={"ignore_index": 9})
        for number, share in enumerate((4, SIDE)):
            image, mask = (root / f"train/{name}/train_{number}.png" for name in ("images", "masks"))
            pixels, classes = np.array(Image.open(image)), np.array(Image.open(mask))
            if kind == "void":
                classes[:share] = 9
            opacity = np.full((SIDE, SIDE), 255, np.uint8)
            if kind == "no data":
                opacity[:share] = 0
                pixels = np.dstack([pixels, opacity])
            Image.fromarray(pixels).save(image)
            Image.fromarray(classes).save(mask)
        if kind == "flat":
            for path in root.glob("*/images/*"):
                Image.fromarray(np.array(Image.open(path)) // 200 * np.uint8([0, 1, 1]) + np.uint8(7)).save(path)
        return root

    return write


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("plain", None),
        ("void", "every pixel is void in 1 of 3 train tiles: train_1"),
        ("no data", "2 of 5 train and val tiles have pixels without data by the files' nodata tag"),
        ("no data", "train_1 hold no data at all: remove them"),
        ("flat", "red is 7 all over the train tiles"),
        ("16 bits", None),
    ],
)
def test_all_that_is_known_of_tiles_is_as_if_they_were_kept(write, kind, note):
    dataset = read_dataset(write(kind))
    kept, seen = (decode_open(dataset, keep=keep) for keep in (True, False))
    assert seen.digest == kept.digest == kept.tiles.digest()
    assert seen.tiles.notes == kept.tiles.notes
    assert any(line.startswith(note) for line in seen.tiles.notes) if note else seen.tiles.notes == ()
    assert seen.tiles.info == kept.tiles.info
    for split, one, other in (("train", kept.tiles.train, seen.tiles.train), ("val", kept.tiles.val, seen.tiles.val)):
        assert one.ids == other.ids
        assert seen.thumbnails[split].shape == (len(one), 16, 16)
        assert np.array_equal(kept.thumbnails[split], seen.thumbnails[split])
        for ours, theirs in zip(one.images + one.masks, other.images + other.masks, strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        for ours, theirs in zip(one.masks, other.masks, strict=True):
            assert np.array_equal(ours == IGNORE, theirs == IGNORE)


@pytest.mark.parametrize("num_cores", [1, 3])
def test_memory_of_tiles_that_are_not_kept_is_that_of_a_few(tmp_path, write_rgb, monkeypatch, num_cores):
    """Of a tile and its mask, 4 bytes per pixel; some are being decoded, some wait, and one is looked at."""
    monkeypatch.setattr(os, "cpu_count", lambda: num_cores)
    count, side = 40, 256
    dataset = read_dataset(write_rgb(tmp_path, counts={"train": count, "val": 1, "test": 1}, size_px=(side, side)))
    peaks = []
    for keep in (True, False):
        tracemalloc.start()
        try:
            decoded = decode_open(dataset, keep=keep)
            peaks.append(tracemalloc.get_traced_memory()[1] / (4 * side**2))
        finally:
            tracemalloc.stop()
        assert len(decoded.tiles.train) == count
    assert peaks[0] > count
    assert peaks[1] < 2 * num_cores + 6
