"""What the table of architectures says of one of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from trainables.data.windows import WHOLE_PX
from trainables.models.spec import ModelSpec
from trainables.names import Optimizer

if TYPE_CHECKING:
    from torch import nn

Track: TypeAlias = Literal["cnn", "frozen_encoder", "transformer"]

Adaptation: TypeAlias = Literal["scratch", "frozen", "staged", "full"]
"""How an encoder is adapted to the tiles: trained from random weights; pretrained and never trained; pretrained, frozen
for the first part of the epochs and trained then; pretrained and trained from the start."""

ADAPTATIONS: tuple[Adaptation, ...] = get_args(Adaptation)


ENCODER_LR_FACTOR = 0.1
"""Of a pretrained encoder that is trained, in the recipe: decoders learn ten times as fast, as in Xie et al. 2021,
arXiv:2105.15203. Searches choose among others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Mean and std per band of RGB in 0..1 that pretrained weights expect."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Source: torchvision's reference weights."""

HALVES = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""Source: timm's configurations of its ViT-S/16 and of EfficientNet-Lite0."""

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
        decoder: What two architectures over one encoder may have in common; its own name if empty.
        adaptation: How the encoder is adapted to the tiles. Without pretrained weights, one that would be trained at
            some time is trained from scratch.
        needs_weights: Whether its name says that the encoder is pretrained: it then has ImageNet weights by default, or
            a person's own.
        normalisation: What these weights expect of 8-bit photographs; None where there are none.
        batch_size: Draws per optimizer step in the reference study.
        optimizer: Of its source: AdamW with the recipe's decay, or Adam without.
        recipe: Hyperparameters in which its source departs from the shared recipe.
        settings: What it has to set for itself, by name.
        has_dropout: Whether its decoder has any, so that its probability is searched.
        small: What the smaller variant of `smoke` is, for every table; empty where there is none.
        only_px: The one side (px) that the full variant takes; None where any will do.
        whole_px: Side (px) of the largest square that is predicted at once; larger tiles by windows of that side.
        source: Paper or weights.
        file_digest: SHA-256 of the file of a person's own network, which loads its weights itself; empty for others.
    """

    name: str
    track: Track
    build: Callable[[ModelSpec], "nn.Module"]
    stride: int
    encoder: str | None
    decoder: str = ""
    adaptation: Adaptation = "staged"
    needs_weights: bool = False
    normalisation: Normalisation | None = None
    batch_size: int = 4
    optimizer: Optimizer = "adamw"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    has_dropout: bool = True
    small: str = ""
    only_px: int | None = None
    whole_px: int = WHOLE_PX
    source: str
    file_digest: str = ""

    @property
    def is_frozen(self) -> bool:
        """Whether the encoder is never trained, so that without its weights it is random for good."""
        return self.adaptation == "frozen"

    @property
    def fine_tunes(self) -> bool:
        """Whether its name says that a pretrained encoder is trained, for which `encoder_lr_factor` is searched."""
        return self.needs_weights and not self.is_frozen

    def adapted(self, weights: str) -> Adaptation:
        """How the encoder is adapted where it starts from `weights`."""
        return self.adaptation if self.encoder is not None and (weights != "none" or self.is_frozen) else "scratch"

    def expected_pixels(self, weights: str, *, is_photograph: bool) -> Normalisation | None:
        """What pixels are normalised by where pretrained weights expect it; None where the train tiles' own serve.

        Args:
            weights: As in a trial's configuration.
            is_photograph: Whether tiles are 8-bit red, green and blue, as the pictures were that weights come from.
        """
        is_pretrained = weights != "none" and self.encoder is not None
        return self.normalisation if is_pretrained and is_photograph else None

    def only_side(self, *, small: bool) -> int | None:
        """The one side (px) that a variant takes; None where any will do."""
        return None if small and self.small else self.only_px

    def label(self, *, small: bool, weights: str) -> str:
        """The name for tables; a smaller variant or a random frozen encoder never passes for the real thing."""
        variant = self.small if small else "random encoder" if self.is_frozen and weights == "none" else ""
        return f"{self.name} ({variant})" if variant else self.name
