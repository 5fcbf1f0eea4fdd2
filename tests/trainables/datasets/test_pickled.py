"""Arrays in pickle files as tiles: any bands, any type, one mask for each image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.killing import digests
from tests.trainables.made_up_sources import read_all, write_pickles
from trainables.data.dataset import read_dataset
from trainables.data.tiles import IGNORE
from trainables.datasets.pickled import plan_pickled
from trainables.datasets.write import write_tiles

COUNTS = {"num_train": 3, "num_val": 1, "num_test": 1}
CLASSES = ("clear", "thick cloud", "thin cloud", "cloud shadow")


def make_arrays(dtype: str = "uint16", count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """(count, 8, 9, 4) images, whose values name the place, and (count, 8, 9) masks of four classes."""
    images = np.arange(count * 8 * 9 * 4).reshape(count, 8, 9, 4).astype(dtype)
    masks = (np.arange(count)[:, None, None] + np.arange(8)[None, :, None]) % 4 * np.ones((1, 1, 9), np.int64)
    return images, masks.astype(np.int64)


def dump(folder: Path, images: Any, masks: Any) -> tuple[Path, Path]:
    write_pickles(folder, images, masks)
    return folder / "images.pkl", folder / "masks.pkl"


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "uint8", "float32", "int16"])
def test_arrays_become_tiffs_of_their_own_type(tmp_path, dtype):
    images, masks = make_arrays(dtype)
    plan = plan_pickled(
        *dump(tmp_path, images, masks), classes=CLASSES, bands=("red", "green", "blue", "nir"), scale=1e-4, **COUNTS
    )
    counts = write_tiles("pickled", plan, tmp_path / "dst")
    dataset = read_dataset(tmp_path / "dst")
    assert [len(files.tiles) for files in (dataset.train, dataset.val, dataset.test)] == [3, 1, 1]
    assert dataset.info.classes == CLASSES
    assert (dataset.info.bands, dataset.info.scale) == (("red", "green", "blue", "nir"), 1e-4)
    assert dataset.info.ignore_index is None
    train = read_all(tmp_path / "dst").train
    for id_, image, mask in zip(train.ids, train.images, train.masks, strict=True):
        assert image.dtype == np.dtype(dtype).newbyteorder("=")
        assert np.array_equal(image, images[int(id_)])
        assert np.array_equal(mask, masks[int(id_)])
    assert counts["val"].tolist() == [18, 18, 18, 18, 0]


def test_containers_give_the_same_tiles(tmp_path):
    images, masks = make_arrays()
    forms = {
        "array": (images, masks),
        "last axis": (images, masks[..., None]),
        "list": (list(images), tuple(masks.astype(np.uint8))),
        "dict": (dict(enumerate(images)), {str(i): mask for i, mask in enumerate(masks)}),
    }
    found = set()
    for name, arrays in forms.items():
        (tmp_path / name).mkdir()
        plan = plan_pickled(*dump(tmp_path / name, *arrays), classes=CLASSES, **COUNTS)
        write_tiles("pickled", plan, tmp_path / name / "dst")
        files = digests(tmp_path / name / "dst")
        del files["dataset.json"], files["prepared.json"]  # name the pickles' digests
        found.add(tuple(sorted(files.items())))
    assert len(found) == 1
    images = [np.full((4 + number, 5, 2), number, np.uint8) for number in range(5)]  # sizes may differ in a list
    masks = [np.eye(4 + number, 5, dtype=bool) for number in range(5)]
    write_tiles("pickled", plan_pickled(*dump(tmp_path, images, masks), **COUNTS), tmp_path / "dst")
    train = read_all(tmp_path / "dst").train
    assert [image.shape for image in train.images] == [(4 + int(id_), 5, 2) for id_ in train.ids]


@pytest.mark.parametrize(
    ("values", "ignore", "num_classes", "expected"),
    [
        ([0, 1], None, 2, [0, 1]),
        ([0, 255], None, 2, [0, 1]),
        ([0, 1, 255], 255, 2, [0, 1, IGNORE]),
        ([0, 1, 9], 9, 2, [0, 1, IGNORE]),
        ([2, 1, 0], 0, 3, [2, 1, IGNORE]),
    ],
)
def test_mask_values_become_classes(tmp_path, values, ignore, num_classes, expected):
    images, masks = make_arrays()
    masks[:] = values[0]
    masks[:, 0, : len(values)] = values
    plan = plan_pickled(*dump(tmp_path, images, masks), classes=CLASSES[:num_classes], ignore=ignore, **COUNTS)
    assert plan.tiles[0].load_mask()[0, : len(values)].tolist() == expected
    assert plan.info.ignore_index == (None if ignore is None else IGNORE)
    write_tiles("pickled", plan, tmp_path / "dst")
    assert read_all(tmp_path / "dst").val.masks[0][0, : len(values)].tolist() == expected


def test_four_bands_of_8_bits_that_nobody_names_stay_four_and_another_pickle_of_the_same_name_is_told(
    tmp_path, refusal
):
    images, masks = make_arrays("uint8")
    write_tiles("pickled", plan_pickled(*dump(tmp_path, images, masks), classes=CLASSES, **COUNTS), tmp_path / "dst")
    train = read_all(tmp_path / "dst").train
    assert all(np.array_equal(image, images[int(id_)]) for id_, image in zip(train.ids, train.images, strict=True))
    other = plan_pickled(*dump(tmp_path, images + 1, masks), classes=CLASSES, **COUNTS)
    message = refusal(lambda: write_tiles("pickled", other, tmp_path / "dst"))
    assert "was made from other tiles or with other flags (images.pkl (SHA-256 " in message


IMAGES, MASKS = make_arrays()


@pytest.mark.parametrize(
    ("images", "masks", "flags", "words"),
    [
        (IMAGES[..., 0], MASKS, {}, "holds an array of shape (6, 8, 9), but must be (N, H, W, C): reshape"),
        ([IMAGES[0, ..., 0]], MASKS, {}, "0 has the shape (8, 9), but must be (H, W, C): add"),
        (IMAGES, np.eye(4)[MASKS], {}, "must be (N, H, W): reshape"),
        (IMAGES, list(np.eye(4)[MASKS]), {}, "must be (H, W): take argmax over one-hot classes"),
        (IMAGES, MASKS[:5], {}, "--images has 6 arrays and --masks 5, and only one of them has 5: give"),
        ({"a": IMAGES[0]}, {"b": MASKS[0]}, {}, "1 arrays and --masks 1, and only one of them has a: give each"),
        ({1: IMAGES[0], "1": IMAGES[1]}, MASKS, {}, "has two keys that read the same: name each array once"),
        (IMAGES, MASKS / 2, {}, "is of float64, but masks must be whole numbers or booleans: convert them"),
        (IMAGES, MASKS, {"classes": CLASSES[:3]}, "holds the value 3, but --classes names 3, so that 0 to 2 are"),
        (IMAGES, MASKS - 1, {"classes": CLASSES}, "holds the value -1, but --classes names 4, so that 0 to 3"),
        (IMAGES, np.where(MASKS > 1, 255, MASKS), {}, "holds the value 255, but --classes names 2"),  # void or road
        ([IMAGES[0, :0]], [MASKS[0, :0]], {}, "0 has the shape (0, 9, 4), which holds nothing: leave it out"),
        (IMAGES, MASKS, {"classes": ("a",)}, "--classes names 1, but there must be 2 to 254: name every"),
        (IMAGES, MASKS, {"classes": ("a", "A")}, "--classes is 'a A', but a is there twice: name each once"),
        (IMAGES, MASKS, {"bands": ("r", "", "b", "n")}, "--bands is 'r  b n', but each needs a name that is not"),
        (IMAGES, MASKS, {"scale": 0.0}, "--scale is 0.0, but must be above 0: "),
        (IMAGES, MASKS, {"ignore": 256}, "--ignore is 256, but must be 0 to 255: "),
        (IMAGES[:4], MASKS[:4], {"classes": CLASSES}, "ask for 3 + 1 + 1 = 5 tiles, but there are 4: "),
    ],
)
def test_bad_arrays_are_refused(tmp_path, images, masks, flags, words, refusal):
    paths = dump(tmp_path, images, masks)
    assert words in refusal(lambda: plan_pickled(*paths, **COUNTS | flags))
