"""The networks of the table that are decoders over encoders of segmentation-models-pytorch."""

from torch import nn

from trainables.models.composed.decoders import DECODERS
from trainables.models.composed.encoders import find_encoder
from trainables.models.composed.network import build_network
from trainables.models.spec import ModelSpec

SEGFORMER_ENCODER = "mit_b3"


def unet_resnet34(spec: ModelSpec) -> nn.Module:
    """U-Net with a ResNet34 encoder; dropout after each decoder block but the last."""
    return _over("resnet34", "unet", spec)


def deeplabv3plus_resnet34(spec: ModelSpec) -> nn.Module:
    """DeepLabV3+ with a ResNet34 encoder; dropout between its decoder stages (ASPP and fusion), none inside ASPP."""
    return _over("resnet34", "deeplabv3plus", spec)


def segformer_mit_b3(spec: ModelSpec) -> nn.Module:
    """SegFormer with an all-MLP decoder over MiT-B3, or MiT-B0 as the small variant; dropout before the classifier.

    Source: Xie et al. 2021, arXiv:2105.15203, whose decoder drops out in that place too.
    """
    assert not spec.small or spec.weights == "none", "`check_config` refuses weights for the small variant"
    return _over("mit_b0" if spec.small else SEGFORMER_ENCODER, "segformer", spec)


def _over(encoder: str, decoder: str, spec: ModelSpec) -> nn.Module:
    return build_network(DECODERS[decoder], find_encoder(encoder), spec, is_frozen=False)
