"""Architectures by name: a row of the table, `DECODER:ENCODER@ADAPTATION`, or a network of a person's own file."""

import functools
import pkgutil
from typing import TYPE_CHECKING, cast

from trainables.common.errors import UserError
from trainables.models.architecture import ADAPTATIONS, ENCODER_LR_FACTOR, Adaptation, Architecture, Track
from trainables.models.architectures import ARCHITECTURES
from trainables.models.composed.decoders import DECODERS
from trainables.models.composed.encoders import WELL_KNOWN, find_encoder, nearest
from trainables.models.own.files import is_own
from trainables.models.own.names import own_architecture
from trainables.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

NETWORK = "trainables.models.composed.network"
"""The module that builds networks: it takes seconds to import."""

RECIPES: dict[Track, dict[Adaptation, dict[str, float]]] = {
    "cnn": {
        "scratch": {"lr": 4e-3},
        "frozen": {"lr": 3e-3},
        "staged": {"lr": 3e-3, "encoder_lr_factor": ENCODER_LR_FACTOR},
        "full": {"lr": 3e-3, "encoder_lr_factor": ENCODER_LR_FACTOR},
    },
    "transformer": {
        "staged": {"lr": 1e-3, "encoder_lr_factor": ENCODER_LR_FACTOR},
        "full": {"lr": 1e-3, "encoder_lr_factor": ENCODER_LR_FACTOR},
    },
}
"""Learning rates by the encoder's kind and adaptation, where they are not the track's.

Source: those of CNNs by trials of EfficientNet-Lite0 on demo tiles and real roofs, of 60 to 100 steps; pretrained
transformers learn at their track's, which is a tenth of what their decoders have.
"""


def get_architecture(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        UserError: There is none.
    """
    try:
        return find_architecture(name)
    except ValueError as error:
        raise UserError(f"architecture is {name!r}, but {error}") from error


def find_architecture(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        ValueError: There is none. It says what a name must be, with the nearest ones, or why a decoder does not go over
            an encoder.
    """
    check_form(name)
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if is_own(name):
        return own_architecture(name)
    decoder, _, rest = name.partition(":")
    encoder, _, adaptation = rest.partition("@")
    return _compose(name, decoder, encoder, cast("Adaptation | None", adaptation or None))


def check_form(name: str) -> str:
    """The name, where it is one of the table or of the form of others.

    That takes no time: what an encoder is, and whether the decoder goes over it, is only looked up by who asks for the
    architecture.

    Raises:
        ValueError: It is not. It says what a name must be, with the nearest ones.
    """
    if name in ARCHITECTURES or is_own(name):
        return name
    decoder, colon, rest = name.partition(":")
    if not colon:
        others = "or DECODER:ENCODER, such as unet:efficientnet_lite0, or PATH.py:FUNCTION"
        raise ValueError(f"must be one of {', '.join(ARCHITECTURES)} {others}{nearest(name, ARCHITECTURES)}")
    if decoder not in DECODERS:
        raise ValueError(f"must have one of the decoders {', '.join(DECODERS)}{nearest(decoder, DECODERS)}")
    _, at, adaptation = rest.partition("@")
    if at and adaptation not in ADAPTATIONS:
        raise ValueError(f"must end in one of @{', @'.join(ADAPTATIONS)}, or in the encoder's name")
    return name


@functools.cache
def _compose(name: str, decoder_name: str, encoder_name: str, adaptation: Adaptation | None) -> Architecture:
    """The row of a decoder over an encoder; `adaptation` is None where the name leaves it out."""
    decoder, encoder = DECODERS[decoder_name], find_encoder(encoder_name)
    stride, only_px, is_transformer, unused = decoder.stride, encoder.only_px, False, ()
    if encoder.name not in WELL_KNOWN or decoder.takes_patches or not decoder.takes_all:
        about = pkgutil.resolve_name(f"{NETWORK}:look")(decoder, encoder)
        if about.misfit:
            raise ValueError(
                f"{decoder.smp} does not go over {encoder.name} ({about.misfit}): choose another of the two"
            )
        stride, only_px, is_transformer, unused = about.stride, about.only_px, about.is_transformer, about.unused
    adaptation = adaptation or ("scratch" if encoder.hub is None else "staged")
    track: Track = "transformer" if is_transformer else "cnn"

    def build(spec: ModelSpec) -> "nn.Module":
        network: nn.Module = pkgutil.resolve_name(f"{NETWORK}:build_network")(
            decoder, encoder, spec, is_frozen=adaptation == "frozen", unused=unused
        )
        return network

    library = f"timm's {encoder.timm}" if encoder.timm else f"segmentation-models-pytorch's {encoder.name}"
    licence = f", weights under {encoder.licence}" if encoder.licence else ""
    return Architecture(
        name=name,
        track=track,
        build=build,
        stride=stride,
        encoder=encoder.name,
        decoder=decoder_name,
        adaptation=adaptation,
        recipe=RECIPES[track].get(adaptation, {}),
        needs_weights=adaptation != "scratch",
        normalisation=encoder.normalisation,
        only_px=only_px,
        source=f"{decoder.source}, of segmentation-models-pytorch over {library}{licence}",
    )
