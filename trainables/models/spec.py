"""What an architecture has to know about the tiles and the trial to build its network."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The arguments of every architecture's `build`.

    Attributes:
        num_bands: Channels of the input.
        num_outputs: Channels of the logits: 1 for a binary task, else one per class.
        decoder_dropout: Probability of Dropout2d between decoder stages, 0..1; encoders take none.
        weights: `none`, `imagenet`, `coco` (of DeepLabV3) or the path of a state dict; ignored where there is no such
            encoder. A small variant takes none.
        weights_digest: SHA-256 that the weights' file must have; None where any will do.
        small: Build the smaller variant that `smoke` uses, where the architecture has one.
        settings: The architecture's own, by name, as its row names them; every one of them is there.
    """

    num_bands: int
    num_outputs: int
    decoder_dropout: float = 0.0
    weights: str = "none"
    weights_digest: str | None = None
    small: bool = False
    settings: Mapping[str, int] = field(default_factory=dict)
