"""What `prepare` keeps for every data set, over the whole table: a new one is tested as soon as it has a line here."""

import contextlib
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables import made_up_sources as made_up
from tests.trainables.killing import Killed, digests, kill_after
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.datasets import inria_crops, write
from trainables.datasets.adapters import ADAPTERS
from trainables.datasets.cityscapes import plan_cityscapes
from trainables.datasets.deepglobe import plan_deepglobe
from trainables.datasets.inria_crops import prepare_inria
from trainables.datasets.landcover import plan_landcover
from trainables.datasets.massachusetts import plan_massachusetts
from trainables.datasets.pickled import plan_pickled
from trainables.datasets.sources.plan import Plan
from trainables.datasets.write import write_tiles

NFC, NFD = (unicodedata.normalize(form, "münchen") for form in ("NFC", "NFD"))


class Source(NamedTuple):
    """A data set: writes a small source, makes a folder of it; where images and masks lie ("" where in no files)."""

    write: Callable[[Path], Path]
    make: Callable[[Path, Path], object]
    images: str = ""
    masks: str = ""


def planned(name: str, plan: Callable[[Path], Plan]) -> Callable[[Path, Path], object]:
    return lambda src, dst: write_tiles(name, plan(src), dst)


def of_pickles(src: Path) -> Plan:
    counts = {"num_train": 3, "num_val": 1, "num_test": 1}
    return plan_pickled(src / "images.pkl", src / "masks.pkl", classes=("a", "b", "c", "d"), **counts)


SOURCES = {
    "deepglobe": Source(
        made_up.write_deepglobe,
        planned("deepglobe", lambda src: plan_deepglobe(src, num_train=5, num_val=2, num_test=2, side_px=16)),
        *("train/*_sat.jpg", "train/*_mask.png"),
    ),
    "massachusetts": Source(
        made_up.write_massachusetts,
        planned("massachusetts", lambda src: plan_massachusetts(src, side_px=16)),
        *("tiff/*/*.tiff", "tiff/*_labels/*.tif"),
    ),
    "cityscapes": Source(
        made_up.write_cityscapes,
        planned("cityscapes", lambda src: plan_cityscapes(src, size_px=(32, 64))),
        *("leftImg8bit/*/*/*.png", "gtFine/*/*/*_labelIds.png"),
    ),
    "landcover": Source(
        made_up.write_landcover, planned("landcover", plan_landcover), *("*/IMAGES/*.jpg", "*/MASKS/*.png")
    ),
    "pickled": Source(made_up.write_pickles, planned("pickled", of_pickles)),
    "inria": Source(
        lambda root: made_up.write_inria(root, tiles=made_up.FEW_INRIA),
        lambda src, dst: prepare_inria(src, dst, side_px=made_up.INRIA_SIDE),
        *("imgs/*.tif", "msks/*.tif"),
    ),
}
OF_FILES = [name for name, source in SOURCES.items() if source.images]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Overviews that are drawn quickly, and few of Inria's tiles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inria_crops, "SPLITS", made_up.FEW_INRIA)
        for module in (write, inria_crops):
            patch.setattr(module, "_CELL_PX", 16)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """A data set's source and the folder made of it, which no test changes."""
    found: dict[str, tuple[Path, Path]] = {}

    def of(name: str) -> tuple[Path, Path]:
        if name not in found:
            root = tmp_path_factory.mktemp(name)
            SOURCES[name].write(root / "src")
            SOURCES[name].make(root / "src", root / "dst")
            found[name] = root / "src", root / "dst"
        return found[name]

    return of


def test_every_data_set_has_a_source_here():
    assert set(SOURCES) == {*ADAPTERS, "inria"}


@pytest.mark.parametrize("name", SOURCES)
def test_source_becomes_a_dataset_the_same_each_time_and_only_what_is_missing_is_made(name, made, tmp_path):
    src, dst = made(name)
    dataset, expected = read_dataset(dst), digests(dst)
    assert all(files.tiles for files in (dataset.train, dataset.val, dataset.test))
    assert dataset.info.source
    decode_train_val(dataset)
    assert "overview.png" in expected
    SOURCES[name].make(src, tmp_path / "other")
    assert digests(tmp_path / "other") == expected
    whole = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "other").glob("*/*/*"))}
    lost = [path for path in whole if "val" in path.parts][-1]  # a mask
    lost.unlink()
    for _ in range(2):
        SOURCES[name].make(src, tmp_path / "other")
        assert digests(tmp_path / "other") == expected
    kept = {path for path, at in whole.items() if path.stat().st_mtime_ns == at}
    assert {path.stem for path in whole.keys() - kept} == {lost.stem}


@pytest.mark.faults
@pytest.mark.parametrize("name", ["deepglobe", "pickled", "inria"])  # files that are copied, arrays, and crops
def test_killed_anywhere_it_finishes_when_started_again(name, made, tmp_path_factory):
    src, dst = made(name)
    expected = digests(dst)

    @settings(max_examples=25 if name == "inria" else 12)
    @given(count=st.integers(0, 8 * len(expected)))  # changes of the disk, and some more
    def killed(count: int) -> None:
        root = tmp_path_factory.mktemp("killed")
        with pytest.MonkeyPatch.context() as patch:
            kill_after(patch, count)
            with contextlib.suppress(Killed):
                SOURCES[name].make(src, root / "dst")
        left = {
            file: found for file, found in digests(root / "dst").items() if not file.endswith((".part", "crops.csv"))
        }
        assert left.items() <= expected.items()  # whole files only
        SOURCES[name].make(src, root / "dst")
        assert digests(root / "dst") == expected

    killed()


# Names


@pytest.mark.parametrize("name", OF_FILES)
def test_clutter_in_source_and_folder_changes_nothing(name, made, tmp_path):
    src, dst = shutil.copytree(made(name)[0], tmp_path / "src"), tmp_path / "dst"
    for path in [*src.rglob("*")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7 of macOS")
        for clutter in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (path.parent / clutter).write_bytes(b"clutter")
    dst.mkdir()
    for _ in range(2):
        (dst / ".DS_Store").write_bytes(b"clutter")
        SOURCES[name].make(src, dst)
        (dst / "val/images/Thumbs.db").write_bytes(b"clutter")
    expected = digests(made(name)[1])
    assert {file: found for file, found in digests(dst).items() if file in expected} == expected


@pytest.mark.parametrize("name", [name for name in OF_FILES if name != "inria"])  # whose names are known
@pytest.mark.parametrize("forms", [(NFD, NFD), (NFC, NFD), (NFD, NFC)])
def test_names_in_either_unicode_form_are_the_same(name, forms, tmp_path):
    made_of = []
    for folder, (of_image, of_mask) in (("as_written", (NFC, NFC)), ("other", forms)):
        src = SOURCES[name].write(tmp_path / folder / "src")
        masks = set(src.glob(SOURCES[name].masks))
        for path in sorted(src.rglob("*"), reverse=True):  # files before their folders
            new = of_mask if path in masks or "gtFine" in path.parts else of_image
            if name == "cityscapes":
                path.rename(path.with_name(path.name.replace("aachen", new)))
            elif path.suffix in (".tif", ".tiff", ".png", ".jpg"):
                path.rename(path.with_name(path.name.replace("_", f"{new}_", 1)))
        SOURCES[name].make(src, tmp_path / folder / "dst")
        made_of.append(digests(tmp_path / folder / "dst"))
    assert made_of[0] == made_of[1]
    assert any("münchen" in file for file in made_of[0])


# Refusals


@pytest.mark.parametrize("name", OF_FILES)
def test_source_of_something_else_is_refused(name, tmp_path, refusal):
    src, dst = tmp_path / "src", tmp_path / "dst"
    rule = f"--src {src} is no folder, but must hold "
    assert refusal(lambda: SOURCES[name].make(src, dst)).startswith(rule)
    (src / "other").mkdir(parents=True)
    assert str(src) in refusal(lambda: SOURCES[name].make(src, dst))
    assert not dst.exists()


@pytest.mark.parametrize("name", OF_FILES)
def test_damaged_images_are_refused_and_masks_of_another_size_before_anything_is_written(name, made, tmp_path, refusal):
    wrong, damaged, dst = tmp_path / "wrong", tmp_path / "damaged", tmp_path / "dst"
    for path in shutil.copytree(made(name)[0], wrong).glob(SOURCES[name].masks):
        made_up.save(path, np.zeros((8, 9), np.uint8))
    message = refusal(lambda: SOURCES[name].make(wrong, dst))
    assert "is 9×8 px, but its image is " in message
    assert message.endswith("image and mask must have one size")
    assert not dst.exists()
    for path in shutil.copytree(made(name)[0], damaged).glob(SOURCES[name].images):
        path.write_bytes(path.read_bytes()[:-40])
    message = refusal(lambda: SOURCES[name].make(damaged, dst))
    assert message.startswith(str(damaged))
    assert "replace " in message
    assert not (dst / "dataset.json").exists()


@pytest.mark.parametrize("name", SOURCES)
def test_folder_of_something_else_is_refused_and_left_alone(name, made, tmp_path, refusal):
    src, dst, file = made(name)[0], tmp_path / "dst", tmp_path / "file"
    dst.mkdir()
    for path in (dst / "notes.txt", file):
        path.write_text("mine")
    before = digests(tmp_path)
    for other in (dst, file):
        message = refusal(lambda its=other: SOURCES[name].make(src, its))
        assert message.startswith(f"--dst {other} exists and was not made by this command (no ")
    assert refusal(lambda: SOURCES[name].make(src, file / "below")).startswith(f"--dst {file / 'below'} cannot be wr")
    assert digests(tmp_path) == before


@pytest.mark.parametrize("name", SOURCES)
def test_tiles_of_others_and_damaged_ones_in_the_folder_are_refused(name, made, tmp_path, refusal):
    src, dst = made(name)[0], shutil.copytree(made(name)[1], tmp_path / "dst")
    other = made_up.save(dst / "train/images/chicago1.png", made_up.photo(1))
    message = refusal(lambda: SOURCES[name].make(src, dst))
    assert message == f"{other} is no tile of this command's: move it away or name another --dst"
    other.unlink()
    damaged = sorted((dst / "val/images").iterdir())[0]
    damaged.write_bytes(b"")
    message = refusal(lambda: SOURCES[name].make(src, dst))
    assert message.startswith(f"{damaged} ")
    assert "damaged: remove " in message
