"""Names of composed networks: what they say, what cannot work, and what is found out about a network."""

import pytest
import segmentation_models_pytorch as smp
import timm
import torch

from tests.trainables.models.composed.test_network import LITE, OVER, build
from trainables.models.composed.decoders import DECODERS
from trainables.models.composed.encoders import WELL_KNOWN, find_encoder
from trainables.models.composed.names import find_architecture
from trainables.models.composed.network import look


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unett", "unet"),
        ("unett:resnet34", "unet"),
        ("unet:resnet43", "resnet34"),
        ("unet:resnet34@frozn", "@frozen"),
        ("unet:resnet34@", "@frozen"),
        ("unet:", "encoder"),
        ("dpt:resnet34", "vit_small_patch16_224"),
        ("deeplabv3plus:vgg11", "vgg11"),
        ("unet:convnext_tiny.nothing", "fb_in1k"),
    ],
)
def test_name_that_cannot_work_is_told_with_what_can(name, words):
    with pytest.raises(ValueError, match=words) as refused:
        find_architecture(name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "adaptation", "needs_weights"),
    [
        (f"unet:{LITE}", "staged", True),
        (f"unet:{LITE}@staged", "staged", True),
        (f"unet:{LITE}@full", "full", True),
        (f"unet:{LITE}@frozen", "frozen", True),
        (f"unet:{LITE}@scratch", "scratch", False),
        ("unet:resnet14t", "staged", True),
    ],
)
def test_what_follows_the_encoder_says_how_it_is_adapted(name, adaptation, needs_weights):
    row = find_architecture(name)
    assert (row.name, row.adaptation, row.needs_weights) == (name, adaptation, needs_weights)
    assert row.is_frozen == (adaptation == "frozen")
    assert find_encoder("swin_tiny_patch4_window7_224").only_px == 224  # as timm says


@pytest.mark.parametrize("decoder", [name for name, encoder in OVER.items() if encoder == LITE])
def test_well_known_encoder_is_as_its_library_says(decoder, monkeypatch):
    monkeypatch.setattr("trainables.models.composed.network.TRIED_PX", 64)
    encoder, config = WELL_KNOWN[LITE], timm.get_pretrained_cfg(WELL_KNOWN[LITE].timm)
    assert encoder.normalisation is not None
    assert (encoder.normalisation.mean, encoder.normalisation.std) == (config.mean, config.std)
    assert (encoder.licence, encoder.only_px) == (config.license, None)
    assert encoder.hub is not None
    assert encoder.hub.repository == config.hf_hub_id
    seen = look(DECODERS[decoder], encoder)
    assert (seen.misfit, seen.stride, seen.is_transformer) == ("", DECODERS[decoder].stride, False)


@pytest.mark.parametrize(
    ("name", "unused"),
    [
        ("pspnet:resnet18", ("layer3", "layer4")),
        ("pspnet:efficientnet-b0", ("_blocks.5", "_conv_head", "_bn1")),
        ("unet:resnet18", ()),
    ],
)
def test_what_a_decoder_does_not_look_at_is_left_out_whatever_weights_the_encoder_has(name, unused, tmp_path):
    decoder, _, encoder = name.partition(":")
    seen = look(DECODERS[decoder], find_encoder(encoder))
    assert set(unused) <= set(seen.unused)
    assert bool(seen.unused) == bool(unused)
    published = smp.encoders.get_encoder(encoder, weights=None)
    torch.save(published.state_dict(), tmp_path / "whole.pth")
    model = build(f"{name}@full", weights=str(tmp_path / "whole.pth")).encoder
    kept = dict(model.named_parameters())
    whole = {key: value for key, value in published.named_parameters() if not key.startswith(seen.unused)}
    assert kept.keys() == whole.keys()
    assert all(torch.equal(kept[key], whole[key]) for key in kept)
