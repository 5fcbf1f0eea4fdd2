"""The table of architectures: adding one is a file and a row here.

What builds a network is imported when it is called: torchvision, timm and segment-anything take seconds, which a
process that builds none does not have to spend.
"""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from trainables.common.errors import UserError
from trainables.data.windows import WHOLE_PX
from trainables.models.spec import ModelSpec
from trainables.names import Optimizer

if TYPE_CHECKING:
    from torch import nn

Track = Literal["cnn", "frozen_encoder", "transformer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Mean and std per band of RGB in 0..1 that pretrained weights expect."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Source: torchvision's reference weights."""

HALVES = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""Source: timm's configuration of its ViT-S/16."""

SAM = IMAGENET
"""Source: `pixel_mean` and `pixel_std` of segment-anything, which are ImageNet's times 255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A whole number that an architecture has for itself, such as its depth; searches choose among `choices`."""

    default: int
    choices: tuple[int, ...]
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One row of the table.

    Attributes:
        name: As in `--architectures`.
        track: Picks the default search space and learning rate.
        build: (N, C, H, W) float32, normalised, to logits (N, K, H, W).
        stride: Window sides must divide by it (px); evaluation reflect-pads to it and crops back.
        encoder: Name of the encoder that pretrained weights fill, or None for training from scratch only.
        normalisation: What these weights expect of 8-bit photographs; None where there are none.
        batch_size: Draws per optimizer step in the reference study.
        optimizer: Of its source: AdamW with the recipe's decay, or Adam without.
        recipe: Hyperparameters in which its source departs from the shared recipe.
        settings: What it has to set for itself, by name.
        small: What the smaller variant of `smoke` and `quick` is, for every table; empty where there is none.
        only_px: The one side (px) that the full variant takes; None where any will do.
        whole_px: Side (px) of the largest square that is predicted at once; larger tiles by windows of that side.
        gpu_gib: Device memory of one trial at 1024² and the reference batch, mixed precision (estimate; sizes GPU
            fractions).
        source: Paper or weights.
    """

    name: str
    track: Track
    build: Callable[[ModelSpec], "nn.Module"]
    stride: int
    encoder: str | None
    normalisation: Normalisation | None = None
    batch_size: int = 4
    optimizer: Optimizer = "adamw"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    small: str = ""
    only_px: int | None = None
    whole_px: int = WHOLE_PX
    gpu_gib: float
    source: str

    @property
    def is_frozen(self) -> bool:
        """Whether the encoder is never trained, so that without its weights it is random for good."""
        return self.track == "frozen_encoder"

    def only_side(self, *, small: bool) -> int | None:
        """The one side (px) that a variant takes; None where any will do."""
        return None if small and self.small else self.only_px

    def label(self, *, small: bool, weights: str) -> str:
        """The name for tables; a smaller variant or a random frozen encoder never passes for the real thing."""
        variant = self.small if small else "random encoder" if self.is_frozen and weights == "none" else ""
        return f"{self.name} ({variant})" if variant else self.name


def _by_name(builder: str) -> Callable[[ModelSpec], "nn.Module"]:
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
            build=_by_name("trainables.models.unet:unet"),
            stride=16,
            encoder=None,
            small="base width 16",
            recipe={"decoder_dropout": 0.0},  # attempt 01 of the reference study
            gpu_gib=14.0,
            source="Ronneberger et al. 2015, arXiv:1505.04597",
        ),
        Architecture(
            name="unet_resnet34",
            track="cnn",
            build=_by_name("trainables.models.smp:unet_resnet34"),
            stride=32,
            encoder="resnet34",
            normalisation=IMAGENET,
            gpu_gib=8.0,
            source="arXiv:1505.04597 over He et al. 2016, arXiv:1512.03385; segmentation-models-pytorch",
        ),
        Architecture(
            name="deeplabv3plus_resnet34",
            track="cnn",
            build=_by_name("trainables.models.smp:deeplabv3plus_resnet34"),
            stride=16,
            encoder="resnet34",
            normalisation=IMAGENET,
            gpu_gib=8.0,
            source="Chen et al. 2018, arXiv:1802.02611; segmentation-models-pytorch",
        ),
        Architecture(
            name="sam_conv",
            track="frozen_encoder",
            build=_by_name("trainables.models.sam:sam_conv"),
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
            build=_by_name("trainables.models.sam:sam_unet"),
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
            build=_by_name("trainables.models.lavit:lavit"),
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
            build=_by_name("trainables.models.smp:segformer_mit_b3"),
            stride=32,
            encoder="mit_b3",
            normalisation=IMAGENET,
            small="MiT-B0",
            recipe={"augmentation": "NONE", "loss": "cross_entropy"},
            gpu_gib=30.0,
            source="Xie et al. 2021, arXiv:2105.15203; segmentation-models-pytorch",
        ),
        Architecture(
            name="vit_gat",
            track="transformer",
            build=_by_name("trainables.models.vit_gat:vit_gat"),
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
            build=_by_name("trainables.models.deeplabv3:deeplabv3"),
            stride=16,  # of the small variant's features; the full one's are at 1/8
            encoder="deeplabv3_resnet50",
            normalisation=IMAGENET,
            optimizer="adam",
            recipe={"loss": "dice"},
            small="ResNet18",
            gpu_gib=18.0,
            source="Chen et al. 2017, arXiv:1706.05587; torchvision",
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
