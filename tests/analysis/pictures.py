"""Pictures of tiles as trials and studies log them: image, truth and prediction side by side."""

from pathlib import Path

import numpy as np
from PIL import Image

PANELS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))


def sheet(side_px: int = 40, gap_px: int = 8, *, darker: int = 0) -> np.ndarray:
    """(S, 3·S + 2·gap, 3) uint8 image, truth and prediction as they are logged: red, green and blue, `darker` by that.

    Args:
        side_px: S.
        gap_px: Between two of them.
        darker: From 0 to 200.
    """
    strip = np.full((side_px, 3 * side_px + 2 * gap_px, 3), 255, np.uint8)
    for place, colour in enumerate(PANELS):
        left = place * (side_px + gap_px)
        strip[:, left : left + side_px] = np.maximum(0, np.array(colour) - darker)
    return strip


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
