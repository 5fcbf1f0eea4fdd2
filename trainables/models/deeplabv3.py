"""DeepLabV3 of torchvision over ResNet50, with a last layer for the classes of the tiles."""

from typing import Any

import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import DeepLabV3 as TorchvisionDeepLabV3
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from trainables.common.errors import UserError
from trainables.models.spec import ModelSpec
from trainables.models.state_dicts import read_state, take_bands
from trainables.models.weights import fetch_weights

ENCODER = "deeplabv3_resnet50"

HEAD_CHANNELS = 256
"""C of the features under the last layer. Source: torchvision's `DeepLabHead`."""

LAST = "classifier.4."
"""Prefix of the layer that is replaced."""


class DeepLabV3(nn.Module):
    """Torchvision's model as a network of logits alone.

    The published file has an auxiliary head too, which the source never trains: its loss is of `out` alone. So there is
    none here, and its weights are left out.

    Source: Chen et al. 2017, arXiv:1706.05587; torchvision.
    """

    model: Any

    def __init__(self, model: nn.Module, num_outputs: int, *, decoder_dropout: float):
        super().__init__()
        self.model = model
        # Torchvision fixes 0.5 here, between its two decoder stages: ASPP and the head
        self.model.classifier[0].project[3] = nn.Dropout2d(decoder_dropout)
        self.model.classifier[4] = nn.Conv2d(HEAD_CHANNELS, num_outputs, kernel_size=1)

    @property
    def encoder(self) -> nn.Module:
        """The backbone."""
        encoder: nn.Module = self.model.backbone
        return encoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to logits (N, K, H, W); torchvision raises them from 1/8 (1/16 if small) bilinearly."""
        logits: torch.Tensor = self.model(x)["out"]
        return logits


def deeplabv3(spec: ModelSpec) -> nn.Module:
    """DeepLabV3 over ResNet50, or over a short ResNet18 as the small variant.

    Raises:
        UserError: The weights do not fit.
    """
    path = fetch_weights(spec.weights, ENCODER, spec.weights_digest)
    assert not (spec.small and path), "`check_config` refuses weights for the small variant"
    model = _small() if spec.small else deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=False)
    network = DeepLabV3(model, spec.num_outputs, decoder_dropout=spec.decoder_dropout)
    first = model.backbone["conv1"]
    if path is not None:
        try:
            _load(model, read_state(path))
        except RuntimeError as error:
            raise UserError(
                f"{path} does not fit {ENCODER}: pass a state dict of torchvision's deeplabv3_resnet50 or resnet50"
            ) from error
        take_bands(first, spec.num_bands)
    elif spec.num_bands != first.in_channels:
        first.in_channels = spec.num_bands
        first.weight = nn.Parameter(first.weight.new_empty(first.out_channels, spec.num_bands, *first.kernel_size))
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
    return network


def _small() -> TorchvisionDeepLabV3:
    """The same head over three of ResNet18's four stages, whose features are at 1/16."""
    backbone = IntermediateLayerGetter(resnet18(weights=None), {"layer3": "out"})
    return TorchvisionDeepLabV3(backbone, DeepLabHead(256, num_classes=1), None)


def _load(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Takes the whole model's weights, or a ResNet50's for the backbone alone.

    Raises:
        RuntimeError: Keys or shapes are of something else.
    """
    if any(key.startswith("backbone.") for key in state):
        state = {key: value for key, value in state.items() if not key.startswith(("aux_classifier.", LAST))}
        state |= {key: value for key, value in model.state_dict().items() if key.startswith(LAST)}
        model.load_state_dict(state)
        return
    backbone: Any = model.backbone
    backbone.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")})
