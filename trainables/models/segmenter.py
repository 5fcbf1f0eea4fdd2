"""A network together with the normalisation that it expects."""

from collections.abc import Iterable

import torch
from torch import nn

from trainables.data.windows import WHOLE_PX
from trainables.models.frozen import FrozenEncoder


class Segmenter(nn.Module):
    """An architecture's network with the normalisation that it expects, so that a saved model is complete.

    Buffers `mean` and `std` (1, C, 1, 1) are in the units of scaled pixels; the std of a band without variation is 0.
    The network sees 0 all over such a band, whatever augmentation made of it, and where a pixel is NaN, which is no
    data.

    Attributes:
        only_px: The one side (px) that the network takes; None where any will do.
        whole_px: Side (px) of the largest square that is predicted at once; see `predict.predict_parts`.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Iterable[float],
        std: Iterable[float],
        *,
        only_px: int | None = None,
        whole_px: int = WHOLE_PX,
    ):
        super().__init__()
        self.network = network
        self.only_px, self.whole_px = only_px, whole_px
        self.register_buffer("mean", torch.tensor(list(mean)).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).reshape(1, -1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scaled pixels (N, C, H, W) float32, NaN where there is no data, to logits (N, K, H, W)."""
        normalised = (pixels - self.mean) / self.std
        logits: torch.Tensor = self.network(torch.nan_to_num(normalised, nan=0.0, posinf=0.0, neginf=0.0))
        return logits

    @property
    def encoder(self) -> nn.Module:
        """The part that two-stage training freezes first."""
        encoder = self.network.encoder
        assert isinstance(encoder, nn.Module)
        return encoder

    def keep_features(self, *, in_training: bool = False) -> None:
        """Lets an encoder that is frozen for good compute its features of an image once; see `FrozenEncoder`."""
        encoder = getattr(self.network, "encoder", None)
        if isinstance(encoder, FrozenEncoder):
            encoder.keeps_features, encoder.keeps_in_training = True, in_training

    @property
    def frozen_digest(self) -> str:
        """SHA-256 of an encoder that is frozen for good, which state dicts leave out; empty where there is none."""
        return str(getattr(getattr(self.network, "encoder", None), "digest", ""))
