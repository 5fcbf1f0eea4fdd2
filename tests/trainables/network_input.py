"""What a network gets to see of tiles, without a network behind them, and networks that do next to nothing."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from trainables.data.draws import DrawSource
from trainables.data.tiles import Tiles, TrainVal
from trainables.models.segmenter import Segmenter
from trainables.training import band_statistics

CPU = torch.device("cpu")
SIDE = 64


def segmenter(tiles: TrainVal) -> Segmenter:
    """Normalises, and no more."""
    return Segmenter(nn.Identity(), *band_statistics(tiles.train, tiles.scale))


def seen(
    tiles: TrainVal, preset: str, num_draws: int = 12, window_px: int | None = SIDE
) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
    """Normalised images (1, C, H, W) and masks of an epoch, as the network gets them."""
    model = segmenter(tiles)
    settings: dict[str, Any] = {"preset": preset, "window_px": window_px, "subset_seed": 0, "draw_seed": 0}
    with closing(DrawSource(tiles, **settings)) as source:
        for images, masks in source.batches(1, num_draws=num_draws, batch_size=1):
            pixels = images.float() * tiles.scale if images.dtype == torch.uint8 else images
            yield model(pixels), masks[0].numpy()


def assert_alike(one: TrainVal, other: TrainVal, *, atol: float = 1e-4) -> None:
    """The network sees the same, without augmentation and with colour and shape changed."""
    for preset in ("NONE", "MEDIUM"):
        for (x, mask), (y, other_mask) in zip(seen(one, preset), seen(other, preset), strict=True):
            torch.testing.assert_close(x, y, atol=atol, rtol=1e-4)
            assert np.array_equal(mask, other_mask)


def mapped(tiles: TrainVal, change: Callable[[np.ndarray], np.ndarray]) -> TrainVal:
    def of(part: Tiles) -> Tiles:
        return replace(part, images=tuple(map(change, part.images)))

    return replace(tiles, train=of(tiles.train), val=of(tiles.val))


class Recorder(nn.Module):
    """Gives its input back and remembers it and the modes it ran in."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        self.modes.append((self.training, torch.is_inference_mode_enabled()))
        return x


class Brightness(nn.Module):
    """Foreground where the first band is above one half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1] - 0.5
