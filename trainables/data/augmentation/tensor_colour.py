"""Colour of 8-bit RGB tensors: hue, saturation and value; CLAHE; and JPEG's losses. As OpenCV has them."""

import functools
import itertools
import math

import torch
from torch.nn import functional

# sRGB's primaries to CIE XYZ, by the white of D65. Source: IEC 61966-2-1
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.950456, 1.0, 1.088754)

# Quantisation at quality 50. Source: ITU-T T.81, tables K.1 and K.2
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
_BLOCK = 8
"""Side of JPEG's blocks (px)."""


def to_levels(values: torch.Tensor) -> torch.Tensor:
    """Rounded, and kept within 0..255: uint8."""
    return values.round().clamp(0, 255).to(torch.uint8)


def shift_hue(image: torch.Tensor, hue: float, saturation: float, value: float) -> torch.Tensor:
    """Adds to hue (of 180), saturation and value (of 255 each) of an image (3, H, W) uint8; grey pixels stay grey."""
    levels = image.float()
    most, least = levels.amax(0), levels.amin(0)
    spread = most - least
    red, green, blue = levels
    sixth = torch.where(
        most == red, green - blue, torch.where(most == green, blue - red + 2 * spread, red - green + 4 * spread)
    )
    old_hue = (30 * sixth / spread.clamp(min=1)).round().remainder(180)
    old_saturation = (255 * spread / most.clamp(min=1)).round()
    # As the library has it: whole numbers are added, and hues cut off
    new_hue = (old_hue + hue).remainder(180).floor()
    new_saturation = (old_saturation + int(saturation)).clamp(0, 255) * (old_saturation > 0)
    new_value = (most + int(value)).clamp(0, 255)
    # Source: Smith 1978, "Color gamut transform pairs": each channel is the value, less where its hue is far
    channels = []
    for offset in (5, 3, 1):
        distance = (offset + new_hue / 30).remainder(6)
        far = torch.minimum(distance, 4 - distance).clamp(0, 1)
        channels.append(new_value * (1 - new_saturation / 255 * far))
    return to_levels(torch.stack(channels))


def equalise(image: torch.Tensor, clip_limit: float, grid: tuple[int, int]) -> torch.Tensor:
    """Contrast-limited adaptive equalisation of the lightness (CIE L*) of an image (3, H, W) uint8.

    Source: Zuiderveld 1994, "Contrast Limited Adaptive Histogram Equalization", as OpenCV has it.

    Args:
        image: The image.
        clip_limit: Most pixels of a level, of the mean over levels.
        grid: Cells in height and in width, each of which has a table of its own; between their centres it is
            interpolated.
    """
    lightness, opponents = _lab(image.float() / 255)
    levels = to_levels(lightness * 2.55)
    height, width = levels.shape
    bottom, right = -height % grid[0], -width % grid[1]
    if bottom or right:  # OpenCV adds a row per cell to a side that divides, where the other does not
        bottom, right = bottom or grid[0], right or grid[1]
    rows, columns = (height + bottom) // grid[0], (width + right) // grid[1]
    padded = functional.pad(levels[None].float(), (0, right, 0, bottom), mode="reflect")[0].long()
    cells = padded.reshape(grid[0], rows, grid[1], columns).transpose(1, 2).reshape(grid[0] * grid[1], rows * columns)
    counts = torch.zeros(len(cells), 256, device=image.device).scatter_add_(
        1, cells, torch.ones_like(cells, dtype=torch.float32)
    )
    most = max(int(clip_limit * rows * columns / 256), 1)
    excess = (counts - most).clamp(min=0).sum(1, keepdim=True).long()
    counts = counts.clamp(max=most) + excess // 256
    left = excess % 256
    step = (256 // left.clamp(min=1)).clamp(min=1)  # what is left goes to every n-th level
    place = torch.arange(256, device=image.device)[None]
    counts += (place % step == 0) & (place // step < left)
    tables = to_levels(counts.cumsum(1) * (255 / (rows * columns))).reshape(*grid, 256).float()
    new = _between_cells(tables, levels, rows, columns)
    return to_levels(255 * _rgb(to_levels(new).float() / 2.55, opponents))


def _between_cells(tables: torch.Tensor, levels: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Each level by the tables of the four nearest cells, in proportion to how near their centres are: (H, W)."""
    places = []
    for side, length, cells in zip(levels.shape, (rows, columns), tables.shape, strict=False):
        place = torch.arange(side, device=levels.device, dtype=torch.float32) / length - 0.5
        first = place.floor()
        share = place - first
        places.append([(index.clamp(0, cells - 1).int(), s) for index, s in ((first, 1 - share), (first + 1, share))])
    level = levels.int()
    new = torch.zeros(levels.shape, device=levels.device)
    for (row, down), (column, across) in itertools.product(*places):
        new += tables[row[:, None], column[None], level] * (down[:, None] * across[None])
    return new


def _lab(rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """L* (H, W) in 0..100, and a* and b* (2, H, W), rounded as 8 bits hold them, of sRGB (3, H, W) in 0..1."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).pow(2.4), rgb / 12.92)
    xyz = torch.einsum("ij,jhw->ihw", _to_xyz(rgb.device), linear)
    roots = torch.where(xyz > 0.008856, xyz.clamp(min=1e-9).pow(1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = roots
    return 116 * y - 16, torch.stack([500 * (x - y), 200 * (y - z)]).round()


def _rgb(lightness: torch.Tensor, opponents: torch.Tensor) -> torch.Tensor:
    """sRGB (3, H, W) in about 0..1 of what `_lab` gave."""
    y = (lightness + 16) / 116
    roots = torch.stack([y + opponents[0] / 500, y, y - opponents[1] / 200])
    xyz = torch.where(roots > 0.206893, roots.pow(3), (roots - 16 / 116) / 7.787)
    linear = torch.einsum("ij,jhw->ihw", _from_xyz(lightness.device), xyz).clamp(min=0)
    return torch.where(linear > 0.0031308, 1.055 * linear.pow(1 / 2.4) - 0.055, 12.92 * linear)


@functools.cache
def _to_xyz(device: torch.device) -> torch.Tensor:
    return (torch.tensor(_TO_XYZ) / torch.tensor(_WHITE)[:, None]).to(device)


@functools.cache
def _from_xyz(device: torch.device) -> torch.Tensor:
    inverse: torch.Tensor = torch.linalg.inv(_to_xyz(torch.device("cpu")))
    return inverse.to(device)


def compress(image: torch.Tensor, quality: int) -> torch.Tensor:
    """What JPEG of a quality (1..100) leaves of an image (3, H, W) uint8, with colour at half the resolution.

    As on the CPU, the first band is taken for blue. Source: ITU-T T.81; colours by JFIF 1.02; quality as in libjpeg.
    """
    blue, green, red = image.float()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    height, width = luma.shape
    chroma = torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402])
    luma = _quantised(_padded(luma[None].round(), 2 * _BLOCK) - 128, _table(_LUMA, quality))[0] + 128
    half = functional.avg_pool2d(_padded(chroma, 2 * _BLOCK)[None], 2)[0].round()
    kept = _quantised(half, _table(_CHROMA, quality))
    whole = functional.interpolate(kept[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    luma, whole = luma[:height, :width], whole[:, :height, :width]
    blue, red = luma + 1.772 * whole[0], luma + 1.402 * whole[1]
    green = luma - (0.114 * 1.772 * whole[0] + 0.299 * 1.402 * whole[1]) / 0.587
    return to_levels(torch.stack([blue, green, red]))


def _padded(layers: torch.Tensor, multiple: int) -> torch.Tensor:
    height, width = layers.shape[1:]
    return functional.pad(layers[None], (0, -width % multiple, 0, -height % multiple), mode="replicate")[0]


def _table(at_50: tuple[tuple[int, ...], ...], quality: int) -> torch.Tensor:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table: torch.Tensor = (torch.tensor(at_50) * scale + 50) // 100
    return table.clamp(1, 255).float()


def _quantised(layers: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Layers (n, H, W) of levels around 0 whose blocks' cosines are rounded to multiples of a table."""
    number, height, width = layers.shape
    cosines, table = _cosines(layers.device), table.to(layers.device)
    blocks = layers.reshape(number, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).transpose(2, 3)
    waves = (cosines @ blocks @ cosines.T / table).round() * table
    return (cosines.T @ waves @ cosines).transpose(2, 3).reshape(layers.shape).round()


@functools.cache
def _cosines(device: torch.device) -> torch.Tensor:
    """The orthonormal cosine transform of a block (8, 8)."""
    place = torch.arange(_BLOCK, dtype=torch.float64)
    waves = torch.cos(math.pi / _BLOCK * place[:, None] * (place + 0.5)) * math.sqrt(2 / _BLOCK)
    waves[0] /= math.sqrt(2)
    return waves.float().to(device)
