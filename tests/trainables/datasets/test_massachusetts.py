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
