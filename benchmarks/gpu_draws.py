"""Draws that a device augments, beside those of one CPU core."""

import os
import time
from collections.abc import Iterator
from contextlib import closing

import torch

from benchmarks.table import Row, Spread
from trainables.data.draws import DrawSource
from trainables.data.tiles import TrainVal
from trainables.names import PRESETS

EPOCHS = 3
BATCH_SIZE = 4


def rows(tiles: TrainVal, device: torch.device, num_draws: int) -> Iterator[Row]:
    """Of each preset: whole tiles, until they lie on the device; all cores prepare what the device augments."""
    for preset in PRESETS:
        yield Row(
            what=f"draws of {tiles.train.masks[0].shape[0]} px, {preset}, augmented on the device",
            unit="draws/s",
            ours=_rate(tiles, preset, device, num_draws, on_device=True),
            peer="by one CPU core",
            theirs=_rate(tiles, preset, device, num_draws, on_device=False),
            is_better_when="more",
        )


def _rate(tiles: TrainVal, preset: str, device: torch.device, num_draws: int, *, on_device: bool) -> Spread:
    source = DrawSource(
        tiles,
        preset=preset,
        window_px=None,
        subset_seed=0,
        draw_seed=0,
        num_threads=(os.cpu_count() or 1) if on_device else 0,
        device=device,
        augments_on_device=on_device,
    )
    with closing(source):
        rates = [_draws_per_second(source, epoch, num_draws, device) for epoch in range(1 + EPOCHS)]
    return Spread.of(rates[1:])


def _draws_per_second(source: DrawSource, epoch: int, num_draws: int, device: torch.device) -> float:
    started = time.perf_counter()
    for images, _ in source.batches(epoch, num_draws=num_draws, batch_size=BATCH_SIZE):
        images.to(device, non_blocking=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return num_draws / (time.perf_counter() - started)
