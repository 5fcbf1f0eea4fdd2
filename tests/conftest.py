"""What all tests share: which process of several runs them, and small datasets in the layout of record."""

import atexit
import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import settings
from PIL import Image
from rasterio import Affine
from xdist.scheduler import LoadFileScheduling

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

gc.disable()  # while all is imported, which stays to the end

# Busy machines are slow, and a red test stays red
settings.register_profile("fewtile", deadline=None, derandomize=True)
settings.load_profile("fewtile")

ROOT = Path(__file__).parents[1]
COUNTS = {"train": 3, "val": 2, "test": 1}
SHARE_RAY = [f"tests/studies/{name}.py" for name in ("test_study", "test_extending")]
SHARE_RAY += [f"tests/studies/backend/test_{name}.py" for name in ("cluster", "precision", "scoring")]
"""Files whose tests need a Ray or the processes of `tests/chaos/forked.py`, which take seconds to start."""
SLOW = [f"tests/trainables/models/{name}.py" for name in ("composed/test_network", "test_conformance")]
SLOW += [f"tests/analysis/report/test_{name}.py" for name in ("page_browser", "compose", "write")]
SLOW += [f"tests/trainables/test_{name}.py" for name in ("fit", "trial_checkpoints", "memory")]
SLOW += ["tests/studies/test_dry_run.py", "tests/studies/backend/test_worker.py"]
"""Others that take 10 seconds or more."""


class ByFile(LoadFileScheduling):
    """For `--dist loadfile`: a file's tests run in one process, and those of all files that share a Ray in the same."""

    def _split_scope(self, nodeid: str) -> str:
        path: str = super()._split_scope(nodeid)
        return "ray" if path in SHARE_RAY else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that the other process does not wait for it in the end."""
    files = [*SHARE_RAY, *SLOW]
    items.sort(key=lambda item: (item.location[0] not in files, item.location[0] not in SHARE_RAY))


def pytest_collection_finish() -> None:
    """From now on there is garbage, but not among what was imported: that need not be looked at again and again."""
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # modules clear up at the end, after pytest has looked for garbage for the last time


def _roofs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W) uint8 of 0 and 1: one rectangle, so that every tile has both."""
    mask = np.zeros((height, width), np.uint8)
    top, left = int(rng.integers(4, height // 2)), int(rng.integers(4, width // 2))
    mask[top : top + height // 3, left : left + width // 3] = 1
    return mask


def _save_tiff(path: Path, pixels: np.ndarray) -> Path:
    """Writes (bands, H, W), of any type."""
    count, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", transform=Affine(2, 0, 0, 0, -2, 0), **profile) as target:
        target.write(pixels)
    return path


def _splits(root: Path, counts: dict[str, int]) -> list[tuple[int, tuple[str, int]]]:
    for split in counts:
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True, exist_ok=True)
    return list(enumerate(counts.items()))


def _write_rgb(
    root: Path,
    *,
    counts: dict[str, int] = COUNTS,
    size_px: tuple[int, int] = (64, 64),
    suffix: str = ".png",
    foreground: int = 255,
    info: dict[str, Any] | None = None,
) -> Path:
    """8-bit RGB images with bright roofs (`train_0` …) and masks of 0 and `foreground`."""
    for number, (split, count) in _splits(root, counts):
        for index in range(count):
            rng = np.random.default_rng([number, index])
            mask = _roofs(rng, *size_px)
            image = (rng.integers(0, 120, (*size_px, 3)) + 120 * mask[..., None]).astype(np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{split}_{index}{suffix}")
            Image.fromarray(mask * np.uint8(foreground)).save(root / split / "masks" / f"{split}_{index}.png")
    if info is not None:
        (root / "dataset.json").write_text(json.dumps(info), encoding="utf-8")
    return root


def _write_bands(
    root: Path, *, counts: dict[str, int] = COUNTS, size_px: tuple[int, int] = (64, 64), ignore: int | None = 9
) -> Path:
    """Four-band uint16 TIFFs and masks of four classes with a stripe of `ignore`, described in dataset.json."""
    for number, (split, count) in _splits(root, counts):
        for index in range(count):
            rng = np.random.default_rng([7, number, index])
            mask = np.repeat(np.arange(4, dtype=np.uint8), -(-size_px[0] // 4))[: size_px[0], None]
            mask = np.roll(np.repeat(mask, size_px[1], axis=1), int(rng.integers(size_px[0])), axis=0)
            image = rng.integers(0, 1500, (4, *size_px)) + 2000 * (mask == np.arange(4)[:, None, None])
            if ignore is not None:
                mask[:, :3] = ignore
            _save_tiff(root / split / "images" / f"{split}_{index}.tif", image.astype(np.uint16))
            Image.fromarray(mask).save(root / split / "masks" / f"{split}_{index}.png")
    info: dict[str, Any] = {
        "classes": ["clear", "thick cloud", "thin cloud", "cloud shadow"],
        "bands": ["red", "green", "blue", "nir"],
        "scale": 1e-4,
    }
    (root / "dataset.json").write_text(json.dumps(info | ({} if ignore is None else {"ignore_index": ignore})))
    return root


@pytest.fixture(scope="session", autouse=True)
def users_data_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Registers of test tiles are remembered there: not in that of whoever runs the tests."""
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("users-data"))


@pytest.fixture(scope="session")
def save_tiff() -> Callable[..., Path]:
    return _save_tiff


@pytest.fixture(scope="session")
def write_rgb() -> Callable[..., Path]:
    return _write_rgb


@pytest.fixture(scope="session")
def write_bands() -> Callable[..., Path]:
    return _write_bands


@pytest.fixture
def rgb_folder(tmp_path: Path) -> Path:
    return _write_rgb(tmp_path / "tiles")


@pytest.fixture
def band_folder(tmp_path: Path) -> Path:
    return _write_bands(tmp_path / "tiles")


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A `TrainVal` of 8-bit RGB tiles with two classes."""
    from trainables.data.dataset import read_dataset
    from trainables.data.decode import decode_train_val

    return decode_train_val(read_dataset(_write_rgb(tmp_path_factory.mktemp("rgb"))))


@pytest.fixture(scope="session")
def band_tiles(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A `TrainVal` of four-band uint16 tiles with four classes and ignored pixels."""
    from trainables.data.dataset import read_dataset
    from trainables.data.decode import decode_train_val

    return decode_train_val(read_dataset(_write_bands(tmp_path_factory.mktemp("bands"))))


@pytest.fixture(scope="session")
def real_roofs() -> Path:
    folder = ROOT.parent / "shared" / "data" / "roofs"
    if not folder.is_dir():
        pytest.skip(f"no real tiles here: {folder} does not exist")
    return folder
