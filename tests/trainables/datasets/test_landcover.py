"""Land cover: colours to classes, whole scenes, colours of no class."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.made_up_sources import COLORS, MAPPING, color_mask, pixels, write_landcover
from tests.trainables.made_up_sources import add_landcover as add
from trainables.data.dataset import read_dataset
from trainables.data.tiles import IGNORE
from trainables.datasets.landcover import plan_landcover
from trainables.datasets.sources.plan import Plan
from trainables.datasets.write import write_tiles

CLASSES = ("water", "building", "land")
LACKING = "MASKS/tile3_image_part_002.png"


@pytest.fixture
def src(tmp_path) -> Path:
    """Four scenes of two images each, and one of the test set; buildings in scenes 1 and 4, water everywhere."""
    return write_landcover(tmp_path / "src")


def scenes(plan: Plan, split: str) -> set[str | None]:
    return {tile.group for tile in plan.tiles if tile.split == split}


def test_landcover_becomes_a_dataset(src, tmp_path):
    counts = write_tiles("landcover", plan_landcover(src, val_scenes=["tile4"]), tmp_path / "dst")
    dataset = read_dataset(tmp_path / "dst")
    assert dataset.info.classes == CLASSES
    assert dataset.info.colors_rgb == tuple(COLORS[name] for name in CLASSES)
    assert dataset.info.ignore_index == IGNORE
    assert [tile.id for tile in dataset.val.tiles] == ["tile4_image_part_001", "tile4_image_part_002"]
    assert [tile.id for tile in dataset.test.tiles] == ["tile8_image_part_001"]
    assert dataset.info.groups["tile3_image_part_002"] == "tile3"
    mask = pixels(tmp_path / "dst/test/masks/tile8_image_part_001.png")
    assert [set(mask[row]) for row in range(4)] == [{0}, {1}, {IGNORE}, {2}]
    assert counts["test"].tolist() == [24, 24, 13 * 24, 24]
    image = tmp_path / "dst/test/images/tile8_image_part_001.jpg"
    assert image.read_bytes() == (src / "TEST_SET/IMAGES/tile8_image_part_001.jpg").read_bytes()
    assert dataset.info.source == "TRAIN_VAL_SET and TEST_SET of src; val is the scenes tile4, as named"


def test_landcover_draws_whole_scenes_that_leave_every_class_in_both_and_says_where_named_ones_do_not(src):
    chosen = set()
    for seed in range(8):
        plan = plan_landcover(src, seed=seed)
        train, val = scenes(plan, "train"), scenes(plan, "val")
        assert train | val == {"tile1", "tile2", "tile3", "tile4"}
        assert val in ({"tile1"}, {"tile4"})  # a quarter of the images, and half of the buildings
        assert scenes(plan, "test") == {"tile8"}
        chosen |= val
        assert not [note for note in plan.notes if note.startswith("Of the pixels")]
    assert chosen == {"tile1", "tile4"}
    assert plan.notes[0] == f"Val is 2 of 8 images, whole scenes: {next(iter(val))}."
    for named, lacking in ((["tile2"], "val"), (["tile1", "tile4"], "train")):
        notes = plan_landcover(src, val_scenes=named).notes
        assert f"Of the pixels of train and val, {lacking} has 0.0% of building." in notes


def test_landcover_ignores_colours_of_no_class_and_says_where(src, tmp_path):
    mask = color_mask(("water", 2))
    mask[15, :5] = 0
    mask[15, 5] = 61, 16, 152  # nearly building
    add(src, "tile2_image_part_001", mask)
    mask = color_mask(("water", 1))
    mask[1, :3] = 0
    add(src, "tile8_image_part_001", mask, "TEST_SET")
    plan = plan_landcover(src)
    # 4 scenes of 16·24 and 32·16 px, and 16·24 px of the test set: 3968 px
    assert plan.notes[-1] == (
        "9 pixels (0.2%) have colours of no class and are ignored, in 2 tiles: tile2_image_part_001 (6), "
        "tile8_image_part_001 (3). Colours: (0, 0, 0); (61, 16, 152)."
    )
    counts = write_tiles("landcover", plan, tmp_path / "dst")
    assert counts["test"].tolist() == [24, 0, 15 * 24 - 3, 3]
    assert (pixels(tmp_path / "dst/train/masks/tile2_image_part_001.png")[15, :7] == [IGNORE] * 6 + [2]).all()


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("nothing", "the file: Invalid JSON: "),
        ({"land": 3}, "land: "),
        ({"land": {"id": 0, "color_rgb": [1, 2]}}, "land.color_rgb.2: Field required: mend it, it must be like "),
        ({"land": {"id": 0, "color_rgb": [1, 2, 256]}}, "land.color_rgb.2: Input should be less than or equal to 255"),
        (MAPPING | {"road": {"id": 0, "color_rgb": [1, 2, 3]}}, "gives two classes one id: give each its own"),
        (MAPPING | {"road": {"id": 9, "color_rgb": [132, 41, 246]}}, "gives two classes one colour: give each its own"),
        ({name: MAPPING[name] for name in ("land", "unlabelled")}, "names 2 classes, but two besides unlabelled are "),
    ],
)
def test_landcover_refuses_a_wrong_mapping(src, mapping: Any, words, refusal):
    path = src / "label_mapping.json"
    path.write_text(mapping if isinstance(mapping, str) else json.dumps(mapping))
    message = refusal(lambda: plan_landcover(src))
    assert message.startswith(f"{path}")
    assert words in message


def test_landcover_refuses_a_mapping_of_other_colours(src, refusal):
    swapped = {name: entry | {"color_rgb": entry["color_rgb"][::-1]} for name, entry in MAPPING.items()}
    (src / "label_mapping.json").write_text(json.dumps(swapped))
    message = refusal(lambda: plan_landcover(src))
    assert "has colours" not in message
    assert message.endswith(
        "of its pixels have colours that label_mapping.json does not name, most of them (132, 41, 246): correct the "
        "mapping or the mask"
    )


def test_landcover_refuses_what_is_not_its_layout(src, refusal):
    message = refusal(lambda: plan_landcover(src, val_scenes=["tile9"]))
    assert message == "--val-scenes tile9 is no scene of TRAIN_VAL_SET: use some of tile1, tile2, tile3, tile4"
    message = refusal(lambda: plan_landcover(src, val_scenes=["tile1", "tile2", "tile3", "tile4"]))
    assert message == "--val-scenes names all 4 scenes, but train needs some: leave some out"
    image, mask = (src / f"TRAIN_VAL_SET/{file}" for file in ("IMAGES/tile3_image_part_002.jpg", LACKING))
    mask.unlink()
    assert refusal(lambda: plan_landcover(src)) == f"{image} has no mask: add {mask} or remove the image"
    (src / "label_mapping.json").unlink()
    assert "label_mapping.json cannot be read (No such file or directory)" in refusal(lambda: plan_landcover(src))
    (src / "label_mapping.json").write_text(json.dumps(MAPPING))
    (src / "TEST_SET").rename(src / "TEST")
    for path in (src / "TRAIN_VAL_SET/IMAGES").glob("tile3*"):
        path.unlink()
    assert "TEST_SET/IMAGES holds no JPEG or PNG images" in refusal(lambda: plan_landcover(src))


def test_landcover_takes_the_real_images():
    real = Path(__file__).parents[4] / "shared" / "data" / "landcover"
    if not real.is_dir():
        pytest.skip(f"no real land cover here: {real} does not exist")
    plan = plan_landcover(real)
    assert Counter(tile.split for tile in plan.tiles) == {"train": 15, "val": 6, "test": 3}
    assert scenes(plan, "train") & scenes(plan, "val") == set()
    total = sum(np.bincount(tile.load_mask().ravel(), minlength=256) for tile in plan.tiles)
    # counted once by hand: pixels per colour of the published masks, 550 522 of black and 130 508 unlabelled
    assert total[:5].tolist() == [2323304, 20439039, 2115691, 1352811, 6098076]
    assert (total[IGNORE], total[5:IGNORE].sum()) == (550522 + 130508, 0)
    assert "550,522 pixels (1.7%) have colours of no class and are ignored, in 6 tiles: " in plan.notes[-1]
    assert plan.notes[-1].endswith("Colours: (0, 0, 0).")
