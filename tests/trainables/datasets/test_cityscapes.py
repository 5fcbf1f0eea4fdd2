"""Cityscapes: 19 classes, halved images, whole cities."""

import numpy as np
import pytest

from tests.trainables.made_up_sources import CITIES, pixels, save, write_cityscapes
from trainables.data.dataset import read_dataset
from trainables.data.tiles import IGNORE
from trainables.datasets.cityscapes import LABELS, plan_cityscapes
from trainables.datasets.sources.plan import Plan
from trainables.datasets.write import write_tiles

SIZE = (32, 64)


@pytest.fixture
def src(tmp_path):
    return write_cityscapes(tmp_path / "src")


def cities(plan: Plan, split: str) -> set[str | None]:
    return {tile.group for tile in plan.tiles if tile.split == split}


def test_cityscapes_becomes_a_dataset_of_the_published_19_classes(src, tmp_path):
    assert list(LABELS) == [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    names = [name for name, _ in LABELS.values()]
    assert (len(names), names[0], names[13], names[18]) == (19, "road", "car", "bicycle")
    assert LABELS[24] == ("person", (220, 20, 60))
    plan = plan_cityscapes(src, size_px=SIZE)
    counts = write_tiles("cityscapes", plan, tmp_path / "dst")
    dataset = read_dataset(tmp_path / "dst")
    assert len(dataset.train.tiles) + len(dataset.val.tiles) == 10
    assert [tile.id for tile in dataset.test.tiles] == ["lindau_000000_000019", "lindau_000001_000019"]
    assert (dataset.info.ignore_index, len(dataset.info.classes)) == (IGNORE, 19)
    assert dataset.info.groups["koeln_000003_000019"] == "koeln"
    assert (dataset.test.tiles[0].height_px, dataset.test.tiles[0].width_px) == (16, 32)
    mask = pixels(dataset.test.tiles[0].mask)
    assert mask[0, :4].tolist() == [IGNORE, IGNORE, 18, 0]  # unlabeled, ground, bicycle, road
    assert set(mask[1:, :16].ravel()) == {0}
    assert set(mask[1:, 16:].ravel()) == {13}
    # 2 tiles of 16×32: road in the left half but for 3 pixels, car in the right one
    road, car, bicycle, ignored = 2 * (256 - 3), 2 * 256, 2, 4
    expected = [road, *[0] * 12, car, *[0] * 4, bicycle, ignored]
    assert counts["test"].tolist() == expected


def test_cityscapes_images_are_halved_by_the_mean_of_four_pixels_and_labels_by_the_upper_left(src):
    image, ids = np.zeros((*SIZE, 3), np.uint8), np.full(SIZE, 11, np.uint8)
    image[0, :4, 0] = 10, 20, 100, 0
    image[1, :4, 0] = 30, 40, 1, 0
    ids[0, 0], ids[0, 2], ids[1, 5] = 33, 24, 26
    save(src / "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png", image)
    save(src / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png", ids)
    tile = next(tile for tile in plan_cityscapes(src, size_px=SIZE).tiles if tile.id == "lindau_000000_000019")
    assert tile.load_image()[0, :3, 0].tolist() == [25, 25, 0]  # 100 / 4, 101 / 4, 0
    assert tile.load_image().shape == (16, 32, 3)
    assert tile.load_mask()[0, :4].tolist() == [18, 11, 2, 2]
    assert set(np.unique(tile.load_mask())) == {2, 11, 18}


def test_cityscapes_val_is_whole_cities_of_about_a_fifth_or_as_many_as_are_asked_for(src):
    chosen = set()
    for seed in range(12):
        plan = plan_cityscapes(src, size_px=SIZE, seed=seed)
        train, val = cities(plan, "train"), cities(plan, "val")
        assert train | val == set(CITIES)
        assert not train & val
        assert cities(plan, "test") == {"lindau"}
        chosen.add(frozenset(val))
        assert plan.info.source is not None
        assert f"the published train split's {', '.join(sorted(map(str, val)))}: " in plan.info.source
    assert len(chosen) > 1
    notes = " ".join(plan.notes)
    assert "The published test split has no labels: the published val split is the test split here." in notes
    assert "scores are not those of the benchmark" in notes
    plan = plan_cityscapes(src, size_px=SIZE, num_train=3, num_val=1, num_test=1)
    assert sorted(tile.split for tile in plan.tiles) == ["test", "train", "train", "train", "val"]
    assert cities(plan, "val") <= cities(plan_cityscapes(src, size_px=SIZE), "val")


def test_cityscapes_refuses_what_is_not_its_layout(src, refusal):
    message = refusal(lambda: plan_cityscapes(src))
    assert message.endswith("_leftImg8bit.png is 64×32 px, but is published with 2048×1024 px: replace it")
    message = refusal(lambda: plan_cityscapes(src / "leftImg8bit"))
    assert message.startswith(f"{src / 'leftImg8bit/leftImg8bit/train'} has no <city>/*_leftImg8bit.png: name the ")
    mask = src / "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png"
    mask.unlink()
    message = refusal(lambda: plan_cityscapes(src, size_px=SIZE))
    image = src / "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png"
    assert message == f"{image} has no {mask}: unpack gtFine_trainvaltest.zip there"
