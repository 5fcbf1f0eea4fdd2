"""Small published data sets, made up, in their true layouts."""

import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from PIL import Image

from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.tiles import TrainVal


def photo(*seed: int, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    """(H, W, 3) uint8 of a few grey-green patches: JPEG changes it little."""
    coarse = np.random.default_rng(seed).integers(60, 200, (size[0] // 8, size[1] // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1), int)).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def read_all(root: Path) -> TrainVal:
    """The train and val tiles of a folder."""
    return decode_train_val(read_dataset(root))


def write_deepglobe(root: Path, count: int = 10) -> Path:
    """Road in row i of tile i, in three bands as published; valid/ has no masks."""
    for number in range(count):
        mask = np.zeros((16, 16, 3), np.uint8)
        mask[number] = 255
        save(root / "train" / f"{100 + number}_sat.jpg", photo(number), quality=90)
        save(root / "train" / f"{100 + number}_mask.png", mask)
    save(root / "valid" / "900_sat.jpg", photo(900))
    return root


def write_massachusetts(root: Path, layout: str = "tiff", counts: tuple[int, int, int] = (4, 2, 2)) -> Path:
    """Road in column i of tile i of a split."""
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        folders = {
            "tiff": (f"tiff/{split}", f"tiff/{split}_labels"),
            "sat": (f"{'valid' if split == 'val' else split}/sat", f"{'valid' if split == 'val' else split}/map"),
        }[layout]
        for number in range(count):
            mask = np.zeros((16, 16), np.uint8)
            mask[:, number] = 255
            save(root / folders[0] / f"{split}{number}_15.tiff", photo(number, count))
            save(root / folders[1] / f"{split}{number}_15.tif", mask)
    return root


CITIES = {"aachen": 3, "bremen": 2, "koeln": 4, "ulm": 1}


def write_cityscapes(root: Path) -> Path:
    """10 images of 32×64 px of four cities, and two of a city of the published val split."""
    for split, cities in (("train", CITIES), ("val", {"lindau": 2})):
        for city, count in cities.items():
            for number in range(count):
                stem = f"{city}_{number:06}_000019"
                save(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", photo(number, size=(32, 64)))
                ids = np.full((32, 64), 7, np.uint8)  # road
                ids[:, 32:] = 26  # car
                ids[0, :6] = 0, 0, 6, 6, 33, 33  # unlabeled, ground, bicycle
                save(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", ids)
                save(root / "gtFine" / split / city / f"{stem}_gtFine_color.png", photo(number, size=(32, 64)))
    return root


COLORS = {"water": (226, 169, 41), "building": (60, 16, 152), "unlabelled": (155, 155, 155), "land": (132, 41, 246)}
MAPPING = {name: {"id": index, "color_rgb": list(color)} for index, (name, color) in enumerate(COLORS.items())}


def color_mask(*rows: tuple[str, int], size: tuple[int, int] = (16, 24)) -> np.ndarray:
    """(H, W, 3) uint8: so many rows of a class, one after another; land below."""
    mask = np.full((*size, 3), COLORS["land"], np.uint8)
    top = 0
    for name, count in rows:
        mask[top : top + count] = COLORS[name]
        top += count
    return mask


def add_landcover(src: Path, name: str, mask: np.ndarray, folder: str = "TRAIN_VAL_SET") -> Path:
    size = mask.shape[0], mask.shape[1]
    save(src / folder / "IMAGES" / f"{name}.jpg", photo(len(name), size[0], size=size), quality=90)
    return save(src / folder / "MASKS" / f"{name}.png", mask)


def write_landcover(root: Path) -> Path:
    """Four scenes of two images each, and one of the test set; buildings in scenes 1 and 4, water everywhere."""
    for scene in (1, 2, 3, 4):
        for part in (1, 2):
            size = (16, 24) if part == 1 else (32, 16)
            rows = [("water", 2), ("building", 4)] if scene in (1, 4) else [("water", 2), ("unlabelled", 1)]
            add_landcover(root, f"tile{scene}_image_part_{part:03}", color_mask(*rows, size=size))
    mask = color_mask(("water", 1), ("building", 1), ("unlabelled", 1))
    add_landcover(root, "tile8_image_part_001", mask, "TEST_SET")
    (root / "label_mapping.json").write_text(json.dumps(MAPPING))
    return root


def write_pickles(root: Path, images: Any = None, masks: Any = None) -> Path:
    """Six images of 8×9 px and four bands, whose values name the place, and masks of four classes; or others."""
    if images is None:
        images = np.arange(6 * 8 * 9 * 4, dtype=np.uint16).reshape(6, 8, 9, 4)
        masks = (np.arange(6)[:, None, None] + np.arange(8)[None, :, None]) % 4 * np.ones((1, 1, 9), np.int64)
    root.mkdir(parents=True, exist_ok=True)
    for name, value in (("images", images), ("masks", masks)):
        (root / f"{name}.pkl").write_bytes(pickle.dumps(value))
    return root


INRIA_SIDE, INRIA_SIZE = 32, 100
"""Of the crops and of the sources (px)."""

FEW_INRIA = {"austin1": "val", "austin2": "train", "austin4": "train", "austin7": "train", "austin31": "test"}
"""Some of its tiles with their splits, where not all 36 matter."""

SOME_INRIA = dict.fromkeys(("austin1", "austin6"), "val") | dict.fromkeys(("austin31", "austin36"), "test")
SOME_INRIA |= {f"austin{number}": "train" for number in (2, 4, 5, 7, 8, 22)}
SOME_INRIA = dict(sorted(SOME_INRIA.items(), key=lambda item: int(item[0][6:])))
"""One of each kind, and more to choose from."""


def write_tiff(path: Path, pixels: np.ndarray, **profile: Any) -> Path:
    """(bands, H, W) pixels, with a pixel of 0.3 m or as the profile says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    profile = {"dtype": pixels.dtype, "transform": rasterio.Affine(0.3, 0, 0, 0, -0.3, 0), **shape, **profile}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(pixels)
    return path


def inria_mask(number: int) -> np.ndarray:
    """Buildings everywhere; far right only in tile 4, two pixels in tile 7, none in tile 22."""
    mask = np.zeros((INRIA_SIZE, INRIA_SIZE), np.uint8)
    if number == 7:
        mask[90, 3:5] = 255
    elif number != 22:
        mask[np.random.default_rng(number).random(mask.shape) < 0.3] = 255
    if number == 4:
        mask[:, :80] = 0
    return mask


def inria_image(number: int) -> np.ndarray:
    coarse = np.random.default_rng([number, 1]).integers(60, 200, (10, 10, 3)).astype(np.uint8)
    return cv2.resize(coarse, (INRIA_SIZE, INRIA_SIZE), interpolation=cv2.INTER_CUBIC)


def write_inria(root: Path, images: str = "imgs", masks: str = "msks", tiles: Iterable[str] = SOME_INRIA) -> Path:
    """Pairs of 100×100 px."""
    for number in (int(tile[6:]) for tile in tiles):
        write_tiff(root / images / f"austin{number}.tif", inria_image(number).transpose(2, 0, 1))
        write_tiff(root / masks / f"austin{number}.tif", inria_mask(number)[None])
    return root
