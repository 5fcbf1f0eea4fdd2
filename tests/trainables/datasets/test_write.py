"""Folders made of a plan: what is written, what a kill leaves, what is refused before anything is written."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.killing import digests
from tests.trainables.made_up_sources import photo, pixels, save
from trainables.common.whole_files import write_whole
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.formats.raster import read_image
from trainables.data.tiles import IGNORE, DatasetInfo
from trainables.datasets import write as write_module
from trainables.datasets.sources.plan import Plan, SourceTile
from trainables.datasets.write import write_tiles

INFO = DatasetInfo(classes=("a", "b", "c"), bands=("red", "green", "blue"), ignore_index=IGNORE, source="seed 42")


def mask_of(number: int) -> np.ndarray:
    mask = np.full((16, 16), number % 3, np.uint8)
    mask[0, :5] = IGNORE
    return mask


def make_plan(root: Path, info: DatasetInfo = INFO, **changes: Callable[[], np.ndarray]) -> Plan:
    """Four train, two val and one test tile; the even ones are JPEGs that are copied, t1 is loaded by `changes`."""
    tiles = []
    for number, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"]):
        path = root / f"{number}.jpg"
        if not path.exists():
            save(path, photo(number), quality=85)
        is_copied = number % 2 == 0
        tile = SourceTile(
            id=f"t{number}",
            split=split,
            suffix=".jpg" if is_copied else ".png",
            copy_of=path if is_copied else None,
            load_image=(lambda path=path: read_image(path)) if is_copied else (lambda number=number: photo(number)),
            load_mask=lambda number=number: mask_of(number),
            group=f"place{number // 2}",
        )
        tiles.append(replace(tile, **changes) if number == 1 else tile)
    return Plan(tiles=tuple(tiles), info=info)


@pytest.fixture(scope="module", autouse=True)
def small_overview():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_module, "_CELL_PX", 16)
        yield


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def plan(sources) -> Plan:
    return make_plan(sources)


@pytest.fixture(scope="module")
def written(tmp_path_factory, plan) -> Path:
    """A folder that no test changes."""
    dst = tmp_path_factory.mktemp("written") / "dst"
    write_tiles("toy", plan, dst)
    return dst


@pytest.fixture
def dst(tmp_path, written) -> Path:
    """A finished folder that a test may change."""
    return shutil.copytree(written, tmp_path / "dst")


def test_written_folder_is_a_dataset(written):
    dataset = read_dataset(written)
    assert [len(files.tiles) for files in (dataset.train, dataset.val, dataset.test)] == [4, 2, 1]
    assert dataset.info.groups == {f"t{number}": f"place{number // 2}" for number in range(7)}
    assert (dataset.info.classes, dataset.info.ignore_index, dataset.info.source) == (INFO.classes, IGNORE, INFO.source)
    tiles = decode_train_val(dataset)
    assert np.array_equal(tiles.train.images[1], photo(1))
    assert all(np.array_equal(tiles.train.masks[number], mask_of(number)) for number in range(4))


def test_counts_are_pixels_per_class_and_ignored(plan, tmp_path):
    expected = {"train": [2 * 251, 251, 251, 20], "val": [0, 251, 251, 10], "test": [251, 0, 0, 5]}
    for _ in range(2):
        counts = write_tiles("toy", plan, tmp_path / "dst")
        assert {split: count.tolist() for split, count in counts.items()} == expected


@pytest.mark.parametrize(("ignore", "values"), [(None, {0, 255}), (IGNORE, {0, 1, 255})])
def test_two_classes_are_0_and_255_unless_255_is_ignored(sources, tmp_path, ignore, values):
    info = DatasetInfo(classes=("background", "road"), ignore_index=ignore)
    plan = make_plan(sources, info)
    mask = np.zeros((16, 16), np.uint8)
    mask[0, 0] = 1
    mask[0, 1] = 0 if ignore is None else IGNORE
    plan = replace(plan, tiles=tuple(replace(tile, load_mask=lambda: mask) for tile in plan.tiles))
    counts = write_tiles("toy", plan, tmp_path / "dst")
    assert set(pixels(tmp_path / "dst/val/masks/t4.png").ravel()) == values
    assert np.array_equal(decode_train_val(read_dataset(tmp_path / "dst")).val.masks[0], mask)
    assert counts["val"].tolist() == [2 * (255 if ignore is None else 254), 2, 0 if ignore is None else 2]


@pytest.mark.parametrize("dtype", write_module._TYPES)
def test_tiffs_keep_every_type_and_number_of_bands(sources, tmp_path, dtype):
    top = 1.5 if dtype.startswith("float") else np.iinfo(dtype).max
    image = np.zeros((6, 5, 4), dtype)
    image[2, 3] = [1, 2, 3, top]
    plan = make_plan(sources, INFO.model_copy(update={"bands": ()}))
    tiles = [
        replace(tile, suffix=".tif", copy_of=None, load_image=lambda: image, load_mask=lambda n=n: mask_of(n)[:6, :5])
        for n, tile in enumerate(plan.tiles)
    ]
    write_tiles("toy", replace(plan, tiles=tuple(tiles)), tmp_path / "dst")
    dataset = read_dataset(tmp_path / "dst")
    found = decode_train_val(dataset).train.images[0]
    assert found.dtype == dtype
    assert np.array_equal(found, image)
    assert dataset.info.bands == ("band1", "band2", "band3", "band4")


def test_overview_shows_evenly_chosen_tiles_of_many(plan, sources, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(write_module, "MAX_SHOWN", 2)
    monkeypatch.setattr(write_module, "draw_sheet", lambda cells, **_: shown.extend(cells) or cells[0].picture)
    write_tiles("toy", plan, tmp_path / "dst")
    assert [(cell.title, cell.split) for cell in shown] == [
        ("t0", "train, 1 of 4"),
        ("t2", "train, 2 of 4"),
        ("t4", "val"),
        ("t5", "val"),
        ("t6", "test"),
    ]
    assert [cell.note for cell in shown[:2]] == ["a 98%, ignored 2%", "c 98%, ignored 2%"]
    assert shown[1].remark == "place1"
    picture = np.asarray(shown[2].picture)  # t4 is of class 1 below its first row
    assert picture.shape == (16, 32, 3)
    assert np.array_equal(picture[:, :16], read_image(sources / "4.jpg"))
    assert picture[5, 20].tolist() == [230, 57, 70]
    assert picture[0, 16].tolist() == [255, 255, 255]


# Again, and after a kill


def test_dataset_json_is_the_last_thing_written(plan, tmp_path, monkeypatch):
    names: list[str] = []

    def write(path: Path, content: bytes) -> None:
        names.append(path.name)
        write_whole(path, content)

    monkeypatch.setattr(write_module, "write_whole", write)
    write_tiles("toy", plan, tmp_path / "dst")
    assert names[0] == "prepared.json"
    assert names[-2:] == ["overview.png", "dataset.json"]


# What is refused while nothing is written


NAN = np.full((16, 16, 3), np.nan, np.float32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"load_mask": lambda: mask_of(1)[:9]}, "the mask of t1 is 16×9 px, but its image is 16×16 px: they "),
        ({"load_image": lambda: photo(1).astype(np.complex64)}, "the image of t1 is of complex64, but may be of "),
        ({"load_image": lambda: NAN, "suffix": ".tif"}, "t1 holds NaN or infinite pixels, but every pixel must "),
        ({"load_image": lambda: photo(1)[..., :2], "suffix": ".tif"}, "t1 has 2 bands, but 3 are named: "),
        (
            {"load_image": lambda: photo(1).astype(np.uint16), "suffix": ".tif"},
            "t1 has 3 bands of uint16, but t0 has 3 of uint8: all images must have the same bands and type",
        ),
        ({"id": "../t1"}, "'../t1' cannot be a file's name: use letters, digits and . _ + - for tile ids"),
        ({"id": ".t1"}, "'.t1' cannot be a file's name: "),
        ({"id": "T2"}, "t2 is the id of two tiles: rename one of them"),
    ],
)
def test_write_refuses_bad_tiles_before_anything_is_written(sources, tmp_path, changes, words, refusal):
    plan = make_plan(sources, **changes)
    assert refusal(lambda: write_tiles("toy", plan, tmp_path / "dst")).startswith(words)
    assert not (tmp_path / "dst").exists()


def test_write_refuses_a_lacking_split_and_a_folder_of_another_data_set_other_flags_or_a_damaged_mask(
    plan, dst, refusal
):
    before = digests(dst)
    for split in ("train", "val"):
        others = replace(plan, tiles=tuple(tile for tile in plan.tiles if tile.split != split))
        message = refusal(lambda its=others: write_tiles("toy", its, dst.with_name("other")))
        assert message == f"the source has no {split} tiles, but a study needs train and val tiles: check --src"
    assert not dst.with_name("other").exists()
    assert refusal(lambda: write_tiles("game", plan, dst)) == f"--dst {dst} holds toy, not game: name another --dst"
    other = replace(plan, info=INFO.model_copy(update={"source": "seed 43"}))
    message = refusal(lambda: write_tiles("toy", other, dst))
    assert message.startswith(f"--dst {dst} was made from other tiles or with other flags (seed 42): give the same")
    fewer = replace(plan, tiles=plan.tiles[1:])
    assert "other tiles" in refusal(lambda: write_tiles("toy", fewer, dst))
    assert digests(dst) == before
    path = dst / "val/masks/t4.png"
    path.write_bytes(b"")
    assert refusal(lambda: write_tiles("toy", plan, dst)) == f"{path} is damaged: remove it and run again"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"data_set": "toy", "dataset.json": 3, "tiles": {}}', "\xff"])
def test_write_refuses_a_prepared_json_of_something_else(plan, dst, content, refusal):
    (dst / "prepared.json").write_text(content, encoding="latin1")
    message = refusal(lambda: write_tiles("toy", plan, dst))
    assert message == f"{dst / 'prepared.json'} is not as this command writes it: name another --dst"
