"""U-Net and DeepLabV3+ over a ResNet34 encoder, from segmentation-models-pytorch, with dropout in decoders only."""

from typing import Any

import segmentation_models_pytorch as smp
from torch import nn

from trainables.errors import UserError
from trainables.model_spec import ModelSpec
from trainables.weights import fetch_weights, read_state

ENCODER = "resnet34"


def unet_resnet34(spec: ModelSpec) -> nn.Module:
    """U-Net with a ResNet34 encoder; dropout after each decoder block but the last."""
    model = smp.Unet(ENCODER, encoder_weights=None, in_channels=3, classes=spec.num_outputs)
    for block in model.decoder.blocks[:-1]:
        # attention2 is the last thing that a block does, and empty by default
        block.attention2 = nn.Sequential(block.attention2, nn.Dropout2d(spec.decoder_dropout))
    return _with_encoder(model, spec)


def deeplabv3plus_resnet34(spec: ModelSpec) -> nn.Module:
    """DeepLabV3+ with a ResNet34 encoder; dropout between its decoder stages (ASPP and fusion), none inside ASPP."""
    model = smp.DeepLabV3Plus(
        ENCODER, encoder_weights=None, in_channels=3, classes=spec.num_outputs, decoder_aspp_dropout=0.0
    )
    model.decoder.aspp = nn.Sequential(model.decoder.aspp, nn.Dropout2d(spec.decoder_dropout))
    return _with_encoder(model, spec)


def _with_encoder(model: Any, spec: ModelSpec) -> nn.Module:
    """Loads the encoder's weights for three bands, then adapts its first convolution to the tiles' bands."""
    path = fetch_weights(spec.weights, ENCODER)
    if path is not None:
        try:
            model.encoder.load_state_dict(read_state(path))
        except RuntimeError as error:
            raise UserError(f"{path} does not fit a {ENCODER} encoder: pass a state dict of {ENCODER}") from error
    model.encoder.set_in_channels(spec.num_bands, pretrained=path is not None)
    assert isinstance(model, nn.Module)
    return model
