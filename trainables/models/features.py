"""Features of frozen encoders that this process computed, for the next epoch and the next trial to use."""

import hashlib
import os
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

MEMORY_SHARE = 0.25
"""Of this process's share of the machine's memory; trials run one per core at most."""


class KeptFeatures:
    """Keeps what encoders made of images, in main memory, as long as there is room.

    An image is known by its content, so that whoever normalises, cuts or turns it need not tell. Nothing is dropped for
    another image, since each epoch comes back to all of them in turn; another encoder drops all.

    Args:
        limit_bytes: Of all features together.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self.num_bytes = 0
        self._encoder = ""
        self._kept: dict[Hashable, Any] = {}

    def get(self, encoder: str, image: torch.Tensor, encode: Callable[[torch.Tensor], Any]) -> Any:
        """The features of an image, bit by bit as `encode` makes them.

        Args:
            encoder: What tells its weights from others, such as their digest.
            image: (1, C, H, W) on any device.
            encode: Gives tensors, in lists or tuples, on the same device.
        """
        if encoder != self._encoder:
            self._encoder, self.num_bytes = encoder, 0
            self._kept.clear()
        key = _key(image)
        if key in self._kept:
            return tree_map(lambda tensor: tensor.to(image.device, copy=True), self._kept[key])
        features = encode(image)
        num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tree_leaves(features))
        if self.num_bytes + num_bytes <= self.limit_bytes:
            self._kept[key] = tree_map(lambda tensor: tensor.detach().to("cpu", copy=True), features)
            self.num_bytes += num_bytes
        return features


def _key(image: torch.Tensor) -> Hashable:
    """What features depend on besides the encoder's weights; tensors of inference mode can be used in it alone."""
    kind = image.device.type
    half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    content = hashlib.blake2b(image.detach().cpu().contiguous().view(torch.uint8).numpy().data).digest()
    return content, image.shape, image.stride(), image.dtype, half, kind, torch.is_inference_mode_enabled()


def _limit_bytes() -> int:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return 0
    return int(MEMORY_SHARE * total / (os.cpu_count() or 1))


FEATURES = KeptFeatures(_limit_bytes())
"""Of this process."""
