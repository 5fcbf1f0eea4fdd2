"""A small folder of demo tiles for studies; its test tiles have headers and no pixels, so that decoding them fails."""

from pathlib import Path

import pytest
from PIL import Image

from trainables.dataset import decode_train_val, read_dataset
from trainables.demo import write_demo_tiles
from trainables.tiles import TrainVal


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "tiles"
    write_demo_tiles(root, size_px=128, num_train=4, num_val=2, num_test=1)
    for path in (root / "test").rglob("*.jpg"):
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"\xff\xda") + 40])  # cut after the start of the scan
        with Image.open(path) as image, pytest.raises(OSError, match="truncated"):
            image.load()
    return root


@pytest.fixture(scope="session")
def tiles(dataset_root: Path) -> TrainVal:
    return decode_train_val(read_dataset(dataset_root))
