"""Keyed draws: what draw `index` of epoch `epoch` shows is a function of the seeds, the epoch and the index alone.

So trials that share seeds share draws (common random numbers), on any number of workers and in any order.
"""

import math
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.data.bands import value_ranges
from trainables.data.tiles import TrainVal

if TYPE_CHECKING:
    from trainables.data.augmentation.presets import Applied, Pipeline


CPU = torch.device("cpu")


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


class Cut(NamedTuple):
    """A draw that is not augmented yet.

    Attributes:
        image: (h, w, C), uint8 as stored, or float32 in 0..1 of each band's own range.
        labels: (h, w) uint8; (h, w, 2) where the tile lacks data, with 1 there in the second layer.
        seed: Of the augmentation.
    """

    image: NDArray[Any]
    labels: NDArray[np.uint8]
    seed: int


class Prepared(NamedTuple):
    """A draw for the device: image (C, h, w) and labels (1 or 2, h, w) as in `Cut`, and what is applied to them."""

    image: torch.Tensor
    labels: torch.Tensor
    applied: "list[Applied]"


Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (N, C, h, w) and masks (N, h, w) uint8."""


class DrawSource:
    """Makes the batches of an epoch, ahead of the training step in `num_threads` threads (0: in the caller's).

    Albumentations and OpenCV let go of the interpreter's lock for most of their work, so threads help and nothing is
    copied between processes.

    Args:
        tiles: To draw from.
        preset: Of the augmentation.
        window_px: Side of the windows; whole tiles if None.
        subset_seed: Of the draws, as `draw` takes it.
        draw_seed: As well.
        num_threads: How many threads prepare draws.
        device: Of the training step. Batches for a GPU lie in pinned memory, so that copies to it do not wait.
        augments_on_device: Augment there, instead of on the CPU by Albumentations; batches lie there then.
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
        device: torch.device = CPU,
        augments_on_device: bool = False,
    ):
        self._tiles, self._device, self._augments_on_device = tiles, device, augments_on_device
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
        """One draw, augmented on the CPU: image (h, w, C), uint8 as stored or float32 scaled; mask (h, w) uint8.

        Where some train tile lacks data, all images are float32, and NaN where there is none.
        """
        image, labels = self._pipeline()(*self._cut(epoch, index))
        image = self._scaled(image)
        if labels.ndim == 2:
            return image, labels
        image[labels[..., 1] != 0] = np.nan
        return image, np.ascontiguousarray(labels[..., 0])

    def batches(self, epoch: int, *, num_draws: int, batch_size: int) -> Iterator[Batch]:
        """Batches of an epoch: images (N, C, h, w) and masks (N, h, w) uint8; a last short batch is not made."""
        prepared = self._ahead(epoch, range(0, num_draws - batch_size + 1, batch_size), batch_size)
        if self._augments_on_device:  # in the caller's thread, whose work the device does in turn
            yield from (self._on_device(draws) for draws in prepared)
        else:
            yield from prepared

    def _ahead(self, epoch: int, starts: range, size: int) -> Iterator[Any]:
        """What `_batch` or `_prepare` makes of each start."""
        make = self._prepare if self._augments_on_device else self._batch
        if self._pool is None:
            yield from (make(epoch, start, size) for start in starts)
            return
        ahead: deque[Future[Any]] = deque()
        try:
            for start in starts:
                ahead.append(self._pool.submit(make, epoch, start, size))
                if len(ahead) > 2 * self._num_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def _batch(self, epoch: int, start: int, size: int) -> Batch:
        samples = [self.sample(epoch, index) for index in range(start, start + size)]
        images = torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _ in samples]))
        return self._pinned(images), self._pinned(torch.from_numpy(np.stack([mask for _, mask in samples])))

    def _prepare(self, epoch: int, start: int, size: int) -> list[Prepared]:
        prepared = []
        for index in range(start, start + size):
            cut = self._cut(epoch, index)
            applied = self._pipeline().applied(cut.image.shape, cut.image.dtype, cut.seed)
            layers = (np.atleast_3d(part).transpose(2, 0, 1) for part in (cut.image, cut.labels))
            image, labels = (self._pinned(torch.from_numpy(np.ascontiguousarray(part))) for part in layers)
            prepared.append(Prepared(image, labels, applied))
        return prepared

    def _on_device(self, prepared: list[Prepared]) -> Batch:
        from trainables.data.augmentation.tensor_transforms import augment

        images, masks = [], []
        for one in prepared:
            image, labels = (part.to(self._device, non_blocking=True) for part in (one.image, one.labels))
            image, labels = augment(image, labels, one.applied)
            image = self._scaled(image)
            if len(labels) == 2:
                image = image.masked_fill(labels[1] != 0, math.nan)
            images.append(image)
            masks.append(labels[0])
        return torch.stack(images), torch.stack(masks)

    def _pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory() if self._device.type == "cuda" else tensor

    def _cut(self, epoch: int, index: int) -> Cut:
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
        if self._is_8_bit:
            image = np.array(image)
        else:
            # Brightness and gamma take floats for 0..1 and clip to that: give them each band's own range
            limited = np.clip(image.astype(np.float32), *self._limits)
            image = (limited * np.float32(self._tiles.scale) - self._low) / self._span
        return Cut(image, labels, chosen.augment_seed)

    def _scaled(self, image: Any) -> Any:
        """An augmented image (h, w, C), or tensor (C, h, w), in the units that networks get."""
        if self._is_8_bit:
            if not self._lacks_data:
                return image
            floats = image.astype(np.float32) if isinstance(image, np.ndarray) else image.float()
            return floats * np.float32(self._tiles.scale)
        if isinstance(image, np.ndarray):
            return image * self._span + self._low
        span, low = (torch.from_numpy(of_bands).to(image.device)[:, None, None] for of_bands in (self._span, self._low))
        return image * span + low

    def _pipeline(self) -> "Pipeline":
        if not hasattr(self._local, "pipeline"):
            from trainables.data.augmentation.presets import Pipeline  # here: only training needs Albumentations

            self._local.pipeline = Pipeline(self._preset, rgb_uint8=self._rgb_uint8)
        pipeline: Pipeline = self._local.pipeline
        return pipeline
