"""Names in a source: clutter of macOS and Windows, and the two forms of an ü."""

import pickle
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.killing import digests
from tests.trainables.made_up_sources import photo, save, write_cityscapes, write_deepglobe, write_massachusetts
from trainables.data.dataset import read_dataset
from trainables.datasets.cityscapes import plan_cityscapes
from trainables.datasets.deepglobe import plan_deepglobe
from trainables.datasets.landcover import plan_landcover
from trainables.datasets.massachusetts import plan_massachusetts
from trainables.datasets.pickled import plan_pickled
from trainables.datasets.sources.files import files_by_id
from trainables.datasets.sources.plan import Plan
from trainables.datasets.write import write_tiles

NFC, NFD = (unicodedata.normalize(form, "münchen") for form in ("NFC", "NFD"))


def write_landcover(root: Path) -> Path:
    mapping = '{"road": {"id": 0, "color_rgb": [255, 0, 0]}, "roof": {"id": 1, "color_rgb": [0, 0, 255]}}'
    for folder, names in (("TRAIN_VAL_SET", ("a_1", "a_2", "b_1", "b_2")), ("TEST_SET", ("c_1",))):
        for number, name in enumerate(names):
            mask = np.zeros((16, 16, 3), np.uint8)
            mask[:, :8, 0] = mask[:, 8:, 2] = 255
            save(root / folder / "IMAGES" / f"{name}.jpg", photo(number), quality=90)
            save(root / folder / "MASKS" / f"{name}.png", mask)
    (root / "label_mapping.json").write_text(mapping)
    return root


SOURCES: dict[str, tuple[Any, Any]] = {
    "deepglobe": (write_deepglobe, lambda src: plan_deepglobe(src, num_train=5, num_val=2, num_test=2, side_px=16)),
    "massachusetts": (write_massachusetts, lambda src: plan_massachusetts(src, side_px=16)),
    "cityscapes": (write_cityscapes, lambda src: plan_cityscapes(src, size_px=(32, 64))),
    "landcover": (write_landcover, plan_landcover),
}


def make(name: str, src: Path, dst: Path) -> dict[str, str]:
    plan: Plan = SOURCES[name][1](src)
    write_tiles(name, plan, dst)
    read_dataset(dst)
    return digests(dst)


@pytest.mark.parametrize("name", SOURCES)
def test_clutter_in_a_source_changes_nothing(tmp_path, name):
    src = SOURCES[name][0](tmp_path / "src")
    expected = make(name, src, tmp_path / "clean")
    for path in [*src.rglob("*")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7 of macOS")
        for clutter in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (path.parent / clutter).write_bytes(b"clutter")
    assert make(name, src, tmp_path / "dst") == expected


def test_clutter_in_the_folder_to_make_is_no_one_elses_work(tmp_path):
    src, dst = write_massachusetts(tmp_path / "src"), tmp_path / "dst"
    expected = make("massachusetts", src, tmp_path / "clean")
    dst.mkdir()
    for _ in range(2):
        (dst / ".DS_Store").write_bytes(b"clutter")
        make("massachusetts", src, dst)
        (dst / "val/images/Thumbs.db").write_bytes(b"clutter")
    assert {name: found for name, found in digests(dst).items() if name in expected} == expected


@pytest.mark.parametrize("name", ["deepglobe", "massachusetts", "cityscapes", "landcover"])
@pytest.mark.parametrize("forms", [(NFD, NFD), (NFC, NFD), (NFD, NFC)])
def test_names_in_either_unicode_form_are_the_same(tmp_path, name, forms):
    for folder, (of_image, of_mask) in (("as_written", (NFC, NFC)), ("other", forms)):
        src = SOURCES[name][0](tmp_path / folder)
        for path in sorted(src.rglob("*"), reverse=True):  # files before their folders
            is_mask = any(word in f"{path.relative_to(src)}" for word in ("mask", "labels", "gtFine", "MASKS"))
            new = of_mask if is_mask else of_image
            if name == "cityscapes":
                renamed = path.name.replace("aachen", new)
            elif path.suffix in (".tif", ".tiff", ".png", ".jpg"):
                renamed = f"{new}_{path.name}" if name != "landcover" else path.name.replace("_", f"{new}_")
            else:
                continue
            path.rename(path.with_name(renamed))
    written = make(name, tmp_path / "as_written", tmp_path / "a")
    other = make(name, tmp_path / "other", tmp_path / "b")
    assert other.keys() == written.keys()
    assert any("münchen" in key for key in written)
    changed = {key for key in written if written[key] != other[key]}
    assert changed <= ({"dataset.json", "prepared.json"} if name == "landcover" else set())  # they name its folder


def test_keys_of_pickles_in_either_unicode_form_are_the_same(tmp_path):
    images = {f"{NFC} {number}": np.full((8, 8, 3), number, np.uint8) for number in range(3)}
    masks = {f"{NFD} {number}": np.eye(8, dtype=np.uint8) for number in range(3)}
    for name, arrays in (("images", images), ("masks", masks)):
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(arrays))
    plan = plan_pickled(tmp_path / "images.pkl", tmp_path / "masks.pkl", num_train=1, num_val=1, num_test=1)
    assert {tile.id for tile in plan.tiles} == set(images)


def test_two_files_of_one_id_are_refused(tmp_path, refusal):
    save(tmp_path / f"{NFC}.tif", photo(1))
    save(tmp_path / f"{NFD}.tif", photo(1))
    assert f"share the id {NFC}: keep one of them" in refusal(lambda: files_by_id(tmp_path, ".tif"))
    assert files_by_id(tmp_path / "nowhere", ".tif") == {}


def test_files_are_found_by_their_ending_in_any_case(tmp_path):
    for name in ("b.TIF", "a.tiff", "c.png", ".d.tif"):
        (tmp_path / name).touch()
    assert files_by_id(tmp_path, ".tif", ".tiff") == {"a": tmp_path / "a.tiff", "b": tmp_path / "b.TIF"}
