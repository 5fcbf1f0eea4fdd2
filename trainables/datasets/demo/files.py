"""The files of a folder of demo tiles: images, masks, the contact sheet and `dataset.json`."""

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.datasets.demo.layout import scene
from trainables.datasets.demo.render import METRES_PER_PIXEL

JPEG_QUALITY = 92


def write_files(root: Path, seed: int, size_px: int, tiles: Mapping[str, tuple[str, Path, Path]]) -> None:
    """Writes everything of a folder that is not there yet.

    Args:
        root: The folder.
        seed: See `write_demo_tiles`.
        size_px: Side of a tile.
        tiles: Split, image and mask of each tile, by id.
    """
    for split in ("train", "val", "test"):
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True)

    def write_tile(index: int, tile_id: str) -> NDArray[np.uint8]:
        split, image_path, mask_path = tiles[tile_id]
        image, mask = scene([seed, index], size_px=size_px)
        _write_image(image_path, image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        _write_image(mask_path, mask * 255)
        return _cell(image, mask, f"{split} {tile_id}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy lets go of the interpreter's lock for most of a scene
        cells = list(pool.map(write_tile, range(len(tiles)), tiles))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % min(6, len(cells)))
    rows = [np.hstack(cells[at : at + 6]) for at in range(0, len(cells), 6)]
    packed = [cv2.IMWRITE_PNG_COMPRESSION, 7]  # 9 takes 6 times as long
    _write_image(root / "overview.png", np.vstack(rows)[..., ::-1], packed)
    info = {
        "classes": ["background", "roof"],
        "bands": ["red", "green", "blue"],
        "metres_per_pixel": METRES_PER_PIXEL,
    }
    (root / "dataset.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")


def _write_image(path: Path, pixels: NDArray[np.uint8], options: Sequence[int] = ()) -> None:
    encoded, data = cv2.imencode(path.suffix, np.ascontiguousarray(pixels), list(options))
    assert encoded, "OpenCV encodes 8-bit images of these sizes"
    path.write_bytes(data.tobytes())


def _cell(image: NDArray[np.uint8], mask: NDArray[np.uint8], label: str, side_px: int = 150) -> NDArray[np.uint8]:
    """A labelled cell of the contact sheet, (side + 18, 2 * side + 6, 3): a tile, and its roofs outlined."""
    small = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA)
    # Fewer levels make the PNG half as large, and nobody sees them at this size.
    small = (small & 0xF8) | 0x04
    large_mask = cv2.resize(mask, (4 * side_px, 4 * side_px), interpolation=cv2.INTER_NEAREST)
    outlined = cv2.resize(small, (4 * side_px, 4 * side_px), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large_mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(outlined, contours, -1, (255, 230, 0), 4)
    outlined = cv2.resize(outlined, (side_px, side_px), interpolation=cv2.INTER_AREA) & 0xF8
    cell = np.full((side_px + 18, 2 * side_px + 6, 3), 255, np.uint8)
    cell[16 : 16 + side_px, 2:-4] = np.hstack([small, outlined])
    cv2.putText(cell, label, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (40, 40, 40), 1, cv2.LINE_AA)
    return cell
