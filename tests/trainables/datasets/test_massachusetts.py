"""The Massachusetts roads: both layouts, published splits, masks."""

import numpy as np
import pytest

from tests.trainables.made_up_sources import photo, pixels, save, write_massachusetts
from trainables.data.dataset import read_dataset
from trainables.datasets.massachusetts import plan_massachusetts
from trainables.datasets.write import write_tiles


@pytest.mark.parametrize(("layout", "images"), [("tiff", "tiff/{}"), ("sat", "{}/sat")])
def test_massachusetts_keeps_the_published_splits(tmp_path, layout, images):
    src, dst = write_massachusetts(tmp_path / "src", layout), tmp_path / "dst"
    plan = plan_massachusetts(src, side_px=16)
    counts = write_tiles("massachusetts", plan, dst)
    dataset = read_dataset(dst)
    assert [tile.id for tile in dataset.train.tiles] == [f"train{number}_15" for number in range(4)]
    assert [tile.id for tile in dataset.val.tiles] == ["val0_15", "val1_15"]
    assert [tile.id for tile in dataset.test.tiles] == ["test0_15", "test1_15"]
    assert (dataset.info.classes, dataset.info.metres_per_pixel) == (("background", "road"), 1.0)
    expected = np.zeros((16, 16), np.uint8)
    expected[:, 1] = 255
    assert np.array_equal(pixels(dst / "val/masks/val1_15.png"), expected)
    published = src / images.format("valid" if layout == "sat" else "val") / "val1_15.tiff"
    assert (dst / "val/images/val1_15.tif").read_bytes() == published.read_bytes()
    assert counts["test"].tolist() == [2 * 240, 2 * 16, 0]
    assert dataset.info.source == (
        "Massachusetts Roads (Mnih 2013), published splits: 4 of 4 train, 2 of 2 val, 2 of 2 test tiles, seed 42"
    )


def test_massachusetts_takes_as_many_as_are_asked_for(tmp_path):
    src = write_massachusetts(tmp_path / "src")
    plan = plan_massachusetts(src, num_train=2, num_val=1, num_test=0, side_px=16)
    assert [tile.split for tile in plan.tiles] == ["train", "train", "val"]
    assert plan.info.source is not None
    assert plan.info.source.endswith("2 of 4 train, 1 of 2 val, 0 of 2 test tiles, seed 42")


def test_massachusetts_reads_masks_in_three_bands_and_refuses_other_values(tmp_path, refusal):
    src = write_massachusetts(tmp_path / "src")
    mask = np.zeros((16, 16, 3), np.uint8)
    mask[3] = 255
    path = save(src / "tiff/train_labels/train0_15.tif", mask)
    tile = plan_massachusetts(src, side_px=16).tiles[0]
    assert np.array_equal(np.unique(tile.load_mask(), axis=1).ravel(), np.arange(16) == 3)
    save(path, mask // 255 * 7)
    assert refusal(tile.load_mask) == f"{path} holds the value 7, but a mask may hold 0 and 255: replace it"
    mask[3, 3] = 255, 0, 0
    save(path, mask)
    assert refusal(tile.load_mask).startswith(f"{path} is coloured, but a mask must be grey")


def test_massachusetts_refuses_what_is_not_its_layout(tmp_path, refusal):
    src = write_massachusetts(tmp_path / "src")
    message = refusal(lambda: plan_massachusetts(src / "tiff"))
    assert message.startswith(f"--src {src / 'tiff'} has neither tiff/{{train,val,test}} with ")
    message = refusal(lambda: plan_massachusetts(src))
    assert message.endswith("train0_15.tiff is 16×16 px, but is published with 1500×1500 px: replace it")
    (src / "tiff/val_labels/val1_15.tif").unlink()
    message = refusal(lambda: plan_massachusetts(src, side_px=16))
    assert message.startswith(f"{src / 'tiff/val/val1_15.tiff'} has no partner in {src / 'tiff/val_labels'}, but ")
    save(src / "tiff/val_labels/val1_15.tif", np.zeros((16, 16), np.uint8))
    (src / "tiff/test/test0_15.tiff").unlink()
    message = refusal(lambda: plan_massachusetts(src, side_px=16))
    assert message.startswith(f"{src / 'tiff/test_labels/test0_15.tif'} has no partner in {src / 'tiff/test'}, but ")
    save(src / "tiff/test/test0_15.tiff", photo(1)[..., 0])
    assert "has 1 bands of uint8" in refusal(lambda: plan_massachusetts(src, side_px=16))
