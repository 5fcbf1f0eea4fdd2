"""Pretrained weights in a network: read from a file, and a first layer adapted to other bands."""

import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from trainables.common.errors import UserError


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file, on the CPU; nothing but tensors is unpickled.

    Raises:
        UserError: The file is no such thing.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of odd bytes before it refuses them
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises depends on the bytes that it meets
        raise UserError(f"{path} is damaged or no state dict of tensors: pass a .safetensors or .pth file") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} holds no plain state dict of tensors: save `encoder.state_dict()` and pass that")
    return state


def take_bands(conv: nn.Conv2d, num_bands: int) -> None:
    """Adapts a pretrained first layer from three bands: they are repeated in turn and scaled by 3/num_bands.

    One band takes their sum.

    Args:
        conv: Of three input channels; its weight (out, 3, kernel, kernel) becomes (out, num_bands, kernel, kernel).
        num_bands: At least 1; 3 changes nothing.

    Source: the rule of segmentation-models-pytorch's encoders, so that all architectures treat further bands alike.
    """
    weight = conv.weight.data
    if num_bands == 1:
        weight = weight.sum(dim=1, keepdim=True)
    elif num_bands != 3:
        weight = weight[:, torch.arange(num_bands) % 3] * (3.0 / num_bands)
    conv.in_channels, conv.weight = num_bands, nn.Parameter(weight)
