"""Small published data sets, made up, in their true layouts."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


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
