"""Further test sets in a folder of tiles: which folders they are, and that they are checked as the other splits."""

import json
import shutil

import numpy as np
import pytest
import rasterio
from PIL import Image

from tests.trainables.made_up_sources import read_all
from trainables.common.places import shared_places
from trainables.common.splits import set_name
from trainables.data.dataset import SealedFiles, read_dataset
from trainables.data.duplicates import duplicates, thumbnails
from trainables.data.layout.georeference import overlaps, place_of


@pytest.fixture
def root(tmp_path, write_rgb):
    return write_rgb(tmp_path / "tiles", counts={"train": 1, "val": 1, "test": 1, "test-s2": 2, "test-berlin-2": 1})


def test_every_folder_of_such_a_name_is_a_test_set_that_stays_sealed(root):
    (root / "test-s2").rename(root / "TEST-S2")
    (root / "test_old").mkdir()
    dataset = read_dataset(root)
    ids = {files.split: [tile.id for tile in files.tiles] for files in dataset.test_sets}
    assert ids == {"test": ["test_0"], "test-S2": ["test-s2_0", "test-s2_1"], "test-berlin-2": ["test-berlin-2_0"]}
    assert all(isinstance(files, SealedFiles) for files in dataset.test_sets)
    assert dataset.further == dataset.test_sets[1:]


def test_folder_without_further_sets_has_none(rgb_folder):
    assert read_dataset(rgb_folder).further == ()


def test_places_of_further_tiles_are_known_by_their_ids(root):
    (root / "dataset.json").write_text(json.dumps({"groups": {"test-s2_1": "mitte"}}))
    assert read_dataset(root).info.groups == {"test-s2_1": "mitte"}


@pytest.mark.parametrize(
    ("split", "name"),
    [("test", ""), ("test-a", "a"), ("test-New-York2", "New-York2"), ("test-", None), ("test_a", None), ("val", None)],
)
def test_name_of_a_set_is_letters_digits_and_dashes(split, name):
    assert set_name(split) == name


def test_name_with_other_characters_is_refused_with_the_command_that_mends_it(root, refusal):
    (root / "test-s2").rename(root / "test-new york")
    words = refusal(lambda: read_dataset(root))
    assert words.startswith(
        f"{root / 'test-new york'} is called 'test-new york', but the name of a further test set is "
    )
    assert words.endswith(f": mv '{root / 'test-new york'}' {root / 'test-new-york'}")


def shorten(root, save_tiff):
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(root / "test-s2" / "masks" / "test-s2_0.png")


def lose_a_mask(root, save_tiff):
    (root / "test-s2" / "masks" / "test-s2_0.png").unlink()


def deepen(root, save_tiff):
    """Another sensor of 16 bits: nothing says how its values compare with those of the train tiles."""
    (root / "test-s2" / "images" / "test-s2_0.png").unlink()
    save_tiff(root / "test-s2" / "images" / "test-s2_0.tif", np.ones((3, 64, 64), np.uint16))


def take_an_id(root, save_tiff):
    for kind in ("images", "masks"):
        shutil.copy(root / "train" / kind / "train_0.png", root / "test-s2" / kind)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shorten, "image and mask must have one size"),
        (lose_a_mask, "has no mask"),
        (deepen, "all images must have the same bands and type"),
        (take_an_id, "share the id train_0"),
    ],
)
def test_tiles_are_checked_as_those_of_other_splits(root, refusal, save_tiff, damage, words):
    damage(root, save_tiff)
    assert words in refusal(lambda: read_dataset(root))


def test_test_sets_may_share_a_place_and_an_image_but_not_with_train_or_val(root, tmp_path):
    places = {"a": "here", "b": "here", "c": "there", "d": "there"}
    assert shared_places(places, {"train": ["c"], "test": ["a"], "test-s2": ["b", "d"]}) == {
        "there": ["train", "test-s2"]
    }
    small = thumbnails(read_all(root).train.images)
    looks = dict.fromkeys(("val", "test", "test-s2"), (("x",), small))
    assert duplicates({split: looks[split] for split in ("test", "test-s2")}) == ()
    assert "val tile x and test-s2 tile x" in duplicates(looks)[0]
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=1, height=8, width=8, dtype="uint8",
        crs="EPSG:32633", transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
    ):  # fmt: skip
        pass
    ground = [("x", place_of(tmp_path / "a.tif"))]
    assert overlaps({"test": ground, "test-s2": ground}) == ()
    assert "train tile x and test-s2 tile x" in overlaps({"train": ground, "test-s2": ground})[0]
