"""The decoders of segmentation-models-pytorch: their strides, and the stages that dropout follows in each."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Stage = tuple[Any, str]
"""A module and the name that one of its parts has in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A decoder over any encoder that fits.

    Attributes:
        smp: Its class in segmentation-models-pytorch.
        stride: Window sides must divide by it (px). For DPT, which is over vision transformers, in patches.
        stages: The stages of a built decoder that dropout follows: all but the last.
        arguments: What its class is called with, besides the encoder and the channels.
        takes_all: Whether it takes the features of all of an encoder's stages.
        source: Paper.
    """

    smp: str
    stride: int = 32
    stages: Callable[[Any], Iterable[Stage]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    takes_all: bool = True
    source: str

    @property
    def takes_patches(self) -> bool:
        """Whether it is for vision transformers alone, all of whose features have one size."""
        return self.smp == "DPT"


def _parts(*names: str) -> Callable[[Any], Iterable[Stage]]:
    return lambda decoder: [(decoder, name) for name in names]


def _of_blocks(name: str) -> Callable[[Any], Iterable[Stage]]:
    return lambda decoder: [(block, name) for block in decoder.blocks[:-1]]


def _of_nested_blocks(decoder: Any) -> Iterable[Stage]:
    last = f"x_0_{decoder.depth}"
    return [(block, "attention2") for name, block in decoder.blocks.items() if name != last and not block.is_empty]


def _of_fusions(decoder: Any) -> Iterable[Stage]:
    return [(decoder.fusion_blocks, str(number)) for number in range(len(decoder.fusion_blocks) - 1)]


DECODERS: dict[str, Decoder] = {
    "unet": Decoder(smp="Unet", stages=_of_blocks("attention2"), source="Ronneberger et al. 2015, arXiv:1505.04597"),
    "unetplusplus": Decoder(smp="UnetPlusPlus", stages=_of_nested_blocks, source="Zhou et al. 2018, arXiv:1807.10165"),
    "manet": Decoder(smp="MAnet", stages=_of_blocks("conv2"), source="Li et al. 2021, arXiv:2009.02130"),
    "linknet": Decoder(
        smp="Linknet", stages=_of_blocks("block"), source="Chaurasia and Culurciello 2017, arXiv:1707.03718"
    ),
    "fpn": Decoder(
        smp="FPN",
        stages=_parts("merge"),
        arguments={"decoder_dropout": 0.0},
        source="Kirillov et al. 2019, arXiv:1901.02446",
    ),
    "pspnet": Decoder(
        smp="PSPNet",
        stride=8,
        takes_all=False,  # but the first three
        stages=_parts("conv"),
        arguments={"psp_dropout": 0.0},
        source="Zhao et al. 2017, arXiv:1612.01105",
    ),
    "pan": Decoder(
        smp="PAN",
        stride=128,  # it halves features of 1/16 three times
        stages=_parts("fpa", "gau3", "gau2"),
        source="Li et al. 2018, arXiv:1805.10180",
    ),
    "deeplabv3": Decoder(
        smp="DeepLabV3",
        stride=8,
        stages=_parts("aspp"),
        arguments={"decoder_aspp_dropout": 0.0},
        source="Chen et al. 2017, arXiv:1706.05587",
    ),
    "deeplabv3plus": Decoder(
        smp="DeepLabV3Plus",
        stride=16,
        stages=_parts("aspp"),
        arguments={"decoder_aspp_dropout": 0.0},
        source="Chen et al. 2018, arXiv:1802.02611",
    ),
    "segformer": Decoder(smp="Segformer", stages=_parts("fuse_stage"), source="Xie et al. 2021, arXiv:2105.15203"),
    "upernet": Decoder(
        smp="UPerNet", stages=_parts("psp", "fusion_block"), source="Xiao et al. 2018, arXiv:1807.10221"
    ),
    "dpt": Decoder(smp="DPT", stride=2, stages=_of_fusions, source="Ranftl et al. 2021, arXiv:2103.13413"),
}
