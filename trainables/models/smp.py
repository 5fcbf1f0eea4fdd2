"""U-Net and DeepLabV3+ over ResNet34 and SegFormer over MiT-B3, from segmentation-models-pytorch; dropout in decoders.

Segmentation-models-pytorch adapts first convolutions to the tiles' bands; MiT's is the first patch embedding.
"""

from typing import Any

import segmentation_models_pytorch as smp
from torch import nn

from trainables.common.errors import UserError
from trainables.models.spec import ModelSpec
from trainables.models.state_dicts import read_state
from trainables.models.weights import fetch_weights

ENCODER = "resnet34"

SEGFORMER_ENCODER = "mit_b3"


def unet_resnet34(spec: ModelSpec) -> nn.Module:
    """U-Net with a ResNet34 encoder; dropout after each decoder block but the last."""
    model = smp.Unet(ENCODER, encoder_weights=None, in_channels=3, classes=spec.num_outputs)
    for block in model.decoder.blocks[:-1]:
        # attention2 is the last thing that a block does, and empty by default
        block.attention2 = nn.Sequential(block.attention2, nn.Dropout2d(spec.decoder_dropout))
    return _with_encoder(model, spec, ENCODER)


def deeplabv3plus_resnet34(spec: ModelSpec) -> nn.Module:
    """DeepLabV3+ with a ResNet34 encoder; dropout between its decoder stages (ASPP and fusion), none inside ASPP."""
    model = smp.DeepLabV3Plus(
        ENCODER, encoder_weights=None, in_channels=3, classes=spec.num_outputs, decoder_aspp_dropout=0.0
    )
    model.decoder.aspp = nn.Sequential(model.decoder.aspp, nn.Dropout2d(spec.decoder_dropout))
    return _with_encoder(model, spec, ENCODER)


def segformer_mit_b3(spec: ModelSpec) -> nn.Module:
    """SegFormer with an all-MLP decoder over MiT-B3, or MiT-B0 as the small variant; dropout before the classifier.

    Source: Xie et al. 2021, arXiv:2105.15203, whose decoder drops out in that place too.
    """
    assert not spec.small or spec.weights == "none", "`check_config` refuses weights for the small variant"
    name = "mit_b0" if spec.small else SEGFORMER_ENCODER
    model = smp.Segformer(name, encoder_weights=None, in_channels=3, classes=spec.num_outputs)
    # Segmentation-models-pytorch has a drop path of 0.1 in MiT, but here only decoders are random
    model.encoder.reset_drop_path(0.0)
    model.decoder.fuse_stage = nn.Sequential(model.decoder.fuse_stage, nn.Dropout2d(spec.decoder_dropout))
    return _with_encoder(model, spec, name)


def _with_encoder(model: Any, spec: ModelSpec, encoder: str) -> nn.Module:
    """Loads the encoder's weights for three bands, then adapts its first convolution to the tiles' bands."""
    path = fetch_weights(spec.weights, encoder, spec.weights_digest)
    if path is not None:
        try:
            model.encoder.load_state_dict(read_state(path))
        except RuntimeError as error:
            raise UserError(f"{path} does not fit a {encoder} encoder: pass a state dict of {encoder}") from error
    model.encoder.set_in_channels(spec.num_bands, pretrained=path is not None)
    assert isinstance(model, nn.Module)
    return model
