"""The table of architectures: adding one is a file and a row here.

What builds a network is imported when it is called: torchvision, timm and segment-anything take seconds, which a
process that builds none does not have to spend.
"""

import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from trainables.models.architecture import HALVES, IMAGENET, SAM, Architecture, Setting
from trainables.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn


def from_module(builder: str) -> Callable[[ModelSpec], "nn.Module"]:
    """The function of that name (`module:function`), imported when it is called."""

    def build(spec: ModelSpec) -> "nn.Module":
        network: nn.Module = pkgutil.resolve_name(builder)(spec)
        return network

    return build


ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture(
            name="unet",
            track="cnn",
            build=from_module("trainables.models.unet:unet"),
            stride=16,
            encoder=None,
            decoder="unet",
            small="base width 16",
            recipe={"decoder_dropout": 0.0},  # attempt 01 of the reference study
            gpu_gib=14.0,
            source="Ronneberger et al. 2015, arXiv:1505.04597",
        ),
        Architecture(
            name="unet_width16",
            track="cnn",
            build=from_module("trainables.models.unet:unet_width16"),
            stride=16,
            encoder=None,
            decoder="unet",
            recipe={"decoder_dropout": 0.0},
            gpu_gib=4.0,
            source="arXiv:1505.04597 with a quarter of its channels, for CPUs",
        ),
        Architecture(
            name="unet_resnet34",
            track="cnn",
            build=from_module("trainables.models.smp:unet_resnet34"),
            stride=32,
            encoder="resnet34",
            decoder="unet",
            normalisation=IMAGENET,
            gpu_gib=8.0,
            source="arXiv:1505.04597 over He et al. 2016, arXiv:1512.03385; segmentation-models-pytorch",
        ),
        Architecture(
            name="deeplabv3plus_resnet34",
            track="cnn",
            build=from_module("trainables.models.smp:deeplabv3plus_resnet34"),
            stride=16,
            encoder="resnet34",
            decoder="deeplabv3plus",
            normalisation=IMAGENET,
            gpu_gib=8.0,
            source="Chen et al. 2018, arXiv:1802.02611; segmentation-models-pytorch",
        ),
        Architecture(
            name="sam_conv",
            track="frozen_encoder",
            adaptation="frozen",
            build=from_module("trainables.models.sam:sam_conv"),
            stride=16,
            encoder="sam_vit_b",
            normalisation=SAM,
            batch_size=2,
            small="small random encoder",
            only_px=1024,  # the side of its table of position embeddings
            gpu_gib=6.0,
            source="Kirillov et al. 2023, arXiv:2304.02643; segment-anything's ViT-B, frozen",
        ),
        Architecture(
            name="sam_unet",
            track="frozen_encoder",
            adaptation="frozen",
            build=from_module("trainables.models.sam:sam_unet"),
            stride=16,
            encoder="sam_vit_b",
            normalisation=SAM,
            batch_size=2,
            small="small random encoder",
            only_px=1024,  # the side of its table of position embeddings
            gpu_gib=8.0,
            source="arXiv:2304.02643 with skips as in UNETR, Hatamizadeh et al. 2022, arXiv:2103.10504",
        ),
        Architecture(
            name="lavit",
            track="transformer",
            build=from_module("trainables.models.lavit:lavit"),
            stride=16,  # 4 px a patch, and up to 4 tokens a side are reduced to one
            encoder=None,
            small="width 64",
            # Its source names no lr; never pretrained, it needs more than the fine-tuning 1e-4 of its track (ours)
            recipe={"lr": 1e-3, "augmentation": "NONE", "loss": "focal_dice"},
            settings={
                "depth": Setting(default=6, choices=(4, 6, 8), what="transformer blocks"),
                "token_reduction": Setting(
                    default=2, choices=(1, 2, 4), what="tokens a side that become one before attention"
                ),
                "attention_window": Setting(
                    default=8, choices=(4, 8, 16), what="reduced tokens a side that attend to each other"
                ),
            },
            gpu_gib=20.0,
            source="the LAViT roads system, after Less-Attention ViT, arXiv:2406.00427, with Swin's windows, "
            "arXiv:2103.14030",
        ),
        Architecture(
            name="segformer_mit_b3",
            track="transformer",
            build=from_module("trainables.models.smp:segformer_mit_b3"),
            stride=32,
            encoder="mit_b3",
            decoder="segformer",
            normalisation=IMAGENET,
            small="MiT-B0",
            recipe={"augmentation": "NONE", "loss": "cross_entropy"},
            gpu_gib=30.0,
            source="Xie et al. 2021, arXiv:2105.15203; segmentation-models-pytorch",
        ),
        Architecture(
            name="vit_gat",
            track="transformer",
            build=from_module("trainables.models.vit_gat:vit_gat"),
            stride=16,
            encoder="vit_small_patch16_224",
            normalisation=HALVES,
            small="width 96",
            whole_px=1024,  # its graph has an edge for each pair of patches: memory grows with the side's fourth power
            gpu_gib=12.0,
            source="Dosovitskiy et al. 2021, arXiv:2010.11929, under Velickovic et al. 2018, arXiv:1710.10903; timm",
        ),
        Architecture(
            name="deeplabv3_resnet50",
            track="cnn",
            build=from_module("trainables.models.deeplabv3:deeplabv3"),
            stride=16,  # of the small variant's features; the full one's are at 1/8
            encoder="deeplabv3_resnet50",
            decoder="deeplabv3",
            normalisation=IMAGENET,
            optimizer="adam",
            recipe={"loss": "dice"},
            small="ResNet18",
            gpu_gib=18.0,
            source="Chen et al. 2017, arXiv:1706.05587; torchvision",
        ),
    )
}
