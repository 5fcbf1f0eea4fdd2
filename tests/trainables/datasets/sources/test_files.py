"""Names in a source: the two forms of an ü, endings in any case, and what is no tile."""

import unicodedata

import numpy as np

from tests.trainables.made_up_sources import write_pickles
from trainables.datasets.pickled import plan_pickled
from trainables.datasets.sources.files import files_by_id

NFC, NFD = (unicodedata.normalize(form, "münchen") for form in ("NFC", "NFD"))


def test_keys_of_pickles_in_either_unicode_form_are_the_same(tmp_path):
    images = {f"{NFC} {number}": np.full((8, 8, 3), number, np.uint8) for number in range(3)}
    masks = {f"{NFD} {number}": np.eye(8, dtype=np.uint8) for number in range(3)}
    write_pickles(tmp_path, images, masks)
    plan = plan_pickled(tmp_path / "images.pkl", tmp_path / "masks.pkl", num_train=1, num_val=1, num_test=1)
    assert {tile.id for tile in plan.tiles} == set(images)


def test_files_are_found_by_their_ending_in_any_case_and_two_of_one_id_are_refused(tmp_path, refusal):
    for name in ("b.TIF", "a.tiff", "c.png", ".d.tif"):
        (tmp_path / name).touch()
    assert files_by_id(tmp_path, ".tif", ".tiff") == {"a": tmp_path / "a.tiff", "b": tmp_path / "b.TIF"}
    assert files_by_id(tmp_path / "nowhere", ".tif") == {}
    for name in (NFC, NFD):
        (tmp_path / f"{name}.tif").touch()
    assert f"share the id {NFC}: keep one of them" in refusal(lambda: files_by_id(tmp_path, ".tif"))
