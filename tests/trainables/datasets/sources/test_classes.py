"""Splits of one class: what is refused before anything is written, and what is only said."""

from dataclasses import replace

import numpy as np
import pytest

from tests.trainables.made_up_sources import photo, save, write_deepglobe, write_massachusetts
from trainables.data.tiles import IGNORE, DatasetInfo
from trainables.datasets.deepglobe import plan_deepglobe
from trainables.datasets.massachusetts import plan_massachusetts
from trainables.datasets.sources.classes import absent_class_notes, check_classes
from trainables.datasets.sources.plan import Plan, SourceTile
from trainables.datasets.write import write_tiles

TWO, THREE = DatasetInfo(classes=("soil", "road")), DatasetInfo(classes=("a", "b", "c"), ignore_index=IGNORE)


def tile(number: int, split: str) -> SourceTile:
    return SourceTile(
        id=f"t{number}", split=split, suffix=".png", load_image=lambda: photo(number), load_mask=lambda: np.eye(16)
    )  # type: ignore[arg-type]


TILES = {its.id: its for its in map(tile, range(6), ("train", "train", "val", "val", "test", "test"))}


def counted(*rows: tuple[int, ...]) -> dict[str, np.ndarray]:
    return dict(zip(TILES, map(np.array, rows), strict=True))


@pytest.mark.parametrize(
    ("info", "rows", "words"),
    [
        (TWO, [(9, 0, 0), (9, 0, 0), (8, 1, 0), (9, 0, 0), (8, 1, 0), (9, 0, 0)], "all 2 train masks are soil thr"),
        (TWO, [(9, 0, 0), (8, 1, 0), (0, 9, 0), (0, 9, 0), (8, 1, 0), (9, 0, 0)], "all 2 val masks are road thr"),
        (TWO, [(9, 0, 0), (8, 1, 0), (0, 9, 0), (9, 0, 0), (9, 0, 0), (9, 0, 0)], "all 2 test masks are soil thr"),
        (TWO, [(9, 0, 0), (8, 1, 0), (0, 0, 9), (0, 0, 9), (8, 1, 0), (9, 0, 0)], "all 2 val masks are ignored thr"),
        (THREE, [(9, 0, 0, 3)] * 6, "all 2 train masks are a throughout, but a split needs pixels of two classes"),
        (THREE, [(8, 1, 0, 0)] * 2 + [(9, 0, 0, 0)] * 4, None),
        (TWO, [(9, 0, 0), (8, 1, 0)] * 3, None),
        (TWO, [(0, 9, 0), (9, 0, 0)] * 3, None),
    ],
)
def test_a_split_of_one_class_is_refused(info, rows, words, refusal):
    if words is None:
        check_classes(TILES, counted(*rows), info)
        return
    assert refusal(lambda: check_classes(TILES, counted(*rows), info)).startswith(words)


def test_one_mask_alone_is_named_as_such_and_its_values_are_told(refusal):
    few = {name: replace(TILES[name], mask_values=lambda: np.arange(20)) for name in ("t0", "t1", "t2")}
    pixels = {"t0": np.array([9, 1, 0]), "t1": np.array([9, 1, 0]), "t2": np.array([10, 0, 0])}
    assert refusal(lambda: check_classes(few, pixels, TWO)) == (
        "the one val mask is soil throughout (in the files: 0, 1, 2, 3, 4, 5, 6, 7 and 12 more), but a split needs "
        "pixels of soil and road: check the masks, or take other tiles"
    )


def test_classes_that_no_train_tile_has_are_said():
    counts = {"train": np.array([9, 0, 1, 0]), "val": np.array([9, 5, 1, 0])}
    assert absent_class_notes(counts, THREE) == ["No train tile has a pixel of b: no model can learn that."]
    assert absent_class_notes({"train": np.array([9, 2, 1, 0])}, THREE) == []


def write_and_refuse(name: str, plan: Plan, dst, refusal) -> str:
    message = refusal(lambda: write_tiles(name, plan, dst))
    assert not dst.exists()
    return message


def test_deepglobe_without_road_is_refused_with_the_values_of_the_masks(tmp_path, refusal):
    src = write_deepglobe(tmp_path / "src")
    for path in src.glob("train/*_mask.png"):
        save(path, np.eye(16, dtype=np.uint8) * 100)  # below the threshold
    plan = plan_deepglobe(src, num_train=5, num_val=2, num_test=2, side_px=16)
    assert write_and_refuse("deepglobe", plan, tmp_path / "dst", refusal) == (
        "all 5 train masks are background throughout (in the files: 0, 100), but a split needs pixels of background "
        "and road: check the masks, or take other tiles"
    )


def test_massachusetts_with_an_empty_split_is_refused_even_where_the_rest_is_there(tmp_path, refusal):
    src, dst = write_massachusetts(tmp_path / "src"), tmp_path / "dst"
    write_tiles("massachusetts", plan_massachusetts(src, side_px=16), dst)
    for path in (dst / "val/masks").iterdir():
        path.unlink()
    for path in (src / "tiff/val_labels").iterdir():
        save(path, np.zeros((16, 16), np.uint8))
    message = refusal(lambda: write_tiles("massachusetts", plan_massachusetts(src, side_px=16), dst))
    assert message.startswith("all 2 val masks are background throughout (in the files: 0), but ")
    assert not list((dst / "val/masks").iterdir())
