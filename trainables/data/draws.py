"""Keyed draws: what draw `index` of epoch `epoch` shows is a function of the seeds, the epoch and the index alone.

So trials that share seeds share draws (common random numbers), on any number of workers and in any order.
"""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.data.bands import value_ranges
from trainables.data.tiles import TrainVal

if TYPE_CHECKING:
    from trainables.data.augmentation.presets import Pipeline


@dataclass(frozen=True, slots=True)
class Draw:
    """Which tile, where the window lies in it (fractions of the free range), and the seed of the augmentation."""

    tile: int
    top: float
    left: float
    augment_seed: int


def draw(subset_seed: int, draw_seed: int, epoch: int, index: int, num_tiles: int) -> Draw:
    """Draw `index` of `epoch`: a tile with replacement, a window position and an augmentation seed."""
    rng = np.random.default_rng([subset_seed, draw_seed, epoch, index])
    tile, top, left = rng.random(3)
    return Draw(int(tile * num_tiles), float(top), float(left), int(rng.integers(2**31)))


class DrawSource:
    """Makes the batches of an epoch, ahead of the training step in `num_threads` threads (0: in the caller's).

    Albumentations and OpenCV let go of the interpreter's lock for most of their work, so threads help and nothing is
    copied between processes.
    """

    def __init__(
        self,
        tiles: TrainVal,
        *,
        preset: str,
        window_px: int | None,
        subset_seed: int,
        draw_seed: int,
        num_threads: int = 0,
    ):
        self._tiles = tiles
        self._window_px = window_px
        self._seeds = (subset_seed, draw_seed)
        self._preset = preset
        self._rgb_uint8 = tiles.is_photograph
        self._is_8_bit = tiles.train.images[0].dtype == np.uint8
        self._lacks_data = any(missing is not None for missing in tiles.train.nodata)
        if not self._is_8_bit:  # these have one range, whatever the tiles
            low, high = (limit.astype(np.float32) for limit in value_ranges(tiles.train))
            span = (high - low) * np.float32(tiles.scale)
            self._limits = low, high
            self._low, self._span = low * np.float32(tiles.scale), np.where(span > 0, span, np.float32(1))
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(num_threads) if num_threads else None
        self._num_threads = num_threads

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def sample(self, epoch: int, index: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """One draw: image (h, w, C), uint8 as stored or float32 scaled; mask (h, w) uint8.

        Where some train tile lacks data, all images are float32, and NaN where there is none.
        """
        train = self._tiles.train
        chosen = draw(*self._seeds, epoch, index, len(train))
        image, mask, missing = train.images[chosen.tile], train.masks[chosen.tile], train.missing(chosen.tile)
        window = (slice(None), slice(None))
        if self._window_px is not None:
            size = self._window_px
            top = int(chosen.top * (mask.shape[0] - size + 1))
            left = int(chosen.left * (mask.shape[1] - size + 1))
            window = (slice(top, top + size), slice(left, left + size))
        image, labels = image[window], np.array(mask[window])
        if missing is not None:  # moves with the mask
            labels = np.stack([labels, missing[window].astype(np.uint8)], axis=2)
        scale = np.float32(self._tiles.scale)
        if self._is_8_bit:
            image, labels = self._pipeline()(np.array(image), labels, chosen.augment_seed)
            if self._lacks_data:
                image = image.astype(np.float32) * scale
        else:
            # Brightness and gamma take floats for 0..1 and clip to that: give them each band's own range
            relative = (np.clip(image.astype(np.float32), *self._limits) * scale - self._low) / self._span
            relative, labels = self._pipeline()(relative, labels, chosen.augment_seed)
            image = relative * self._span + self._low
        if missing is None:
            return image, labels
        image[labels[..., 1] != 0] = np.nan
        return image, np.ascontiguousarray(labels[..., 0])

    def batches(self, epoch: int, *, num_draws: int, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of an epoch: images (N, C, h, w) and masks (N, h, w) uint8; a last short batch is not made."""
        starts = range(0, num_draws - batch_size + 1, batch_size)
        if self._pool is None:
            for start in starts:
                yield self._batch(epoch, start, batch_size)
            return
        ahead: deque[Future[tuple[torch.Tensor, torch.Tensor]]] = deque()
        try:
            for start in starts:
                ahead.append(self._pool.submit(self._batch, epoch, start, batch_size))
                if len(ahead) > 2 * self._num_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def _batch(self, epoch: int, start: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        samples = [self.sample(epoch, index) for index in range(start, start + size)]
        images = torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _ in samples]))
        return images, torch.from_numpy(np.stack([mask for _, mask in samples]))

    def _pipeline(self) -> "Pipeline":
        if not hasattr(self._local, "pipeline"):
            from trainables.data.augmentation.presets import Pipeline  # here: only training needs Albumentations

            self._local.pipeline = Pipeline(self._preset, rgb_uint8=self._rgb_uint8)
        pipeline: Pipeline = self._local.pipeline
        return pipeline
