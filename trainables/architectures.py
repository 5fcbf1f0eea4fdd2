"""The table of architectures: adding one is a file and a row here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from trainables.errors import UserError
from trainables.model_spec import ModelSpec
from trainables.smp_models import deeplabv3plus_resnet34, unet_resnet34
from trainables.unet import UNet

Track = Literal["cnn", "frozen_encoder", "transformer"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per-band mean and std of RGB in 0..1 that ImageNet encoders expect. Source: torchvision's reference weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One row of the table.

    Attributes:
        name: As in `--architectures`.
        track: Picks the default search space and learning rate.
        build: (N, C, H, W) float32, normalised, to logits (N, K, H, W).
        stride: Window sides must divide by it (px); evaluation reflect-pads to it and crops back.
        encoder: Name of the encoder that pretrained weights fill, or None for training from scratch only.
        small: What the smaller variant of `smoke` and `quick` is, for every table; empty where there is none.
        gpu_gib: Device memory of one trial at 1024² and the reference batch, mixed precision (estimate; sizes GPU
            fractions).
        source: Paper or weights.
    """

    name: str
    track: Track
    build: Callable[[ModelSpec], nn.Module]
    stride: int
    encoder: str | None
    small: str
    gpu_gib: float
    source: str

    def label(self, *, small: bool) -> str:
        """The name for tables; a smaller variant never passes for the real thing."""
        return f"{self.name} ({self.small})" if small and self.small else self.name


def _unet(spec: ModelSpec) -> nn.Module:
    return UNet(spec.num_bands, spec.num_outputs, width=16 if spec.small else 64, decoder_dropout=spec.decoder_dropout)


ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture(
            name="unet",
            track="cnn",
            build=_unet,
            stride=16,
            encoder=None,
            small="base width 16",
            gpu_gib=14.0,
            source="Ronneberger et al. 2015, arXiv:1505.04597",
        ),
        Architecture(
            name="unet_resnet34",
            track="cnn",
            build=unet_resnet34,
            stride=32,
            encoder="resnet34",
            small="",
            gpu_gib=8.0,
            source="arXiv:1505.04597 over He et al. 2016, arXiv:1512.03385; segmentation-models-pytorch",
        ),
        Architecture(
            name="deeplabv3plus_resnet34",
            track="cnn",
            build=deeplabv3plus_resnet34,
            stride=16,
            encoder="resnet34",
            small="",
            gpu_gib=8.0,
            source="Chen et al. 2018, arXiv:1802.02611; segmentation-models-pytorch",
        ),
    )
}


def get_architecture(name: str) -> Architecture:
    """The row of that name.

    Raises:
        UserError: There is none.
    """
    if name not in ARCHITECTURES:
        raise UserError(f"architecture {name!r} is unknown, but must be one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


class Segmenter(nn.Module):
    """An architecture's network with the normalisation that it expects, so that a saved model is complete.

    Buffers `mean` and `std` (1, C, 1, 1) are in the units of scaled pixels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mean: Iterable[float], std: Iterable[float]):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(list(mean)).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).reshape(1, -1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scaled pixels (N, C, H, W) float32 to logits (N, K, H, W)."""
        logits: torch.Tensor = self.network((pixels - self.mean) / self.std)
        return logits

    @property
    def encoder(self) -> nn.Module:
        """The part that two-stage training freezes first."""
        encoder = self.network.encoder
        assert isinstance(encoder, nn.Module)
        return encoder
