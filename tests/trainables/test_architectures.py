from typing import Any

import pytest
import torch
from torch import nn

from trainables.architectures import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD, Segmenter, get_architecture
from trainables.errors import UserError
from trainables.model_spec import ModelSpec

NAMES = list(ARCHITECTURES)

# Of three bands and one output: U-Net's follow from its formula (see below), the others are the numbers seen with
# segmentation-models-pytorch 0.6.
NUM_PARAMETERS = {"unet": 31_037_633, "unet_resnet34": 24_436_369, "deeplabv3plus_resnet34": 22_437_457}


def build(name: str, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[name].build(ModelSpec(**{"num_bands": 3, "num_outputs": 1, "small": True} | changes))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def dropouts(model: nn.Module) -> list[str]:
    """Names of the dropout layers that do something."""
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    return [name for name, module in model.named_modules() if isinstance(module, kinds) and module.p > 0]


# Every architecture


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("num_bands", [3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_architecture_makes_logits_of_its_inputs_size(name, num_bands, num_outputs):
    stride = ARCHITECTURES[name].stride
    model = build(name, num_bands=num_bands, num_outputs=num_outputs).eval()
    with torch.inference_mode():
        for height, width in ((stride, stride), (2 * stride, 3 * stride)):
            logits = model(torch.rand(2, num_bands, height, width))
            assert (logits.shape, logits.dtype) == ((2, num_outputs, height, width), torch.float32)
            assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_architecture_trains_every_parameter(name):
    model = build(name, num_bands=4, num_outputs=3, decoder_dropout=0.3).train()
    model(torch.rand(2, 4, 64, 96)).square().mean().backward()
    assert all(parameter.requires_grad for parameter in model.parameters())
    without = [n for n, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


@pytest.mark.parametrize("name", NAMES)
def test_architecture_drops_out_in_its_decoder_only(name):
    model = build(name, decoder_dropout=0.4)
    assert dropouts(model)
    assert dropouts(model.encoder) == []
    assert {model.get_submodule(layer).p for layer in dropouts(model)} == {0.4}
    pixels = torch.rand(2, 3, 64, 64)
    for module in model.modules():  # batch statistics aside, nothing but dropout is random
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    with torch.no_grad():
        assert not torch.equal(model.train()(pixels), model(pixels))
        assert torch.equal(model.eval()(pixels), model(pixels))


@pytest.mark.parametrize("name", NAMES)
def test_architecture_without_dropout_has_none(name):
    model = build(name, decoder_dropout=0.0).train()
    assert dropouts(model) == []
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(pixels), model(pixels))


@pytest.mark.parametrize("name", NAMES)
def test_architecture_has_an_encoder_to_freeze(name):
    model = build(name)
    inside = {id(parameter) for parameter in model.encoder.parameters()}
    assert 0 < len(inside) < len(list(model.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_architecture_is_initialised_from_torchs_generator(name):
    one, same = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(one[key], same[key]) for key in one)
    torch.manual_seed(1)
    other = ARCHITECTURES[name].build(ModelSpec(num_bands=3, num_outputs=1, small=True)).state_dict()
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", NAMES)
def test_architecture_has_the_parameters_of_the_real_thing(name):
    with torch.device("meta"):
        full = ARCHITECTURES[name].build(ModelSpec(num_bands=3, num_outputs=1, decoder_dropout=0.3))
        small = ARCHITECTURES[name].build(ModelSpec(num_bands=3, num_outputs=1, decoder_dropout=0.3, small=True))
    assert count(full) == NUM_PARAMETERS[name]
    if ARCHITECTURES[name].small:
        assert count(small) < count(full) / 2
    else:
        assert count(small) == count(full)


@pytest.mark.parametrize("name", NAMES)
def test_architecture_names_its_smaller_variant(name):
    row = ARCHITECTURES[name]
    assert row.label(small=False) == name
    assert row.label(small=True) == (f"{name} ({row.small})" if row.small else name)


@pytest.mark.parametrize("name", NAMES)
def test_architecture_row_is_whole(name):
    row = get_architecture(name)
    assert row.name == name
    assert row.track in ("cnn", "frozen_encoder", "transformer")
    assert row.stride > 0
    assert row.gpu_gib > 0
    assert "arXiv:" in row.source


def test_table_has_parameter_counts_for_every_row():
    assert set(NUM_PARAMETERS) == set(ARCHITECTURES)


# Single ones


@pytest.mark.parametrize(("num_bands", "num_outputs", "width"), [(3, 1, 64), (4, 3, 64), (3, 1, 16)])
def test_unet_has_the_parameters_of_its_formula(num_bands, num_outputs, width):
    def pair(inputs: int, outputs: int) -> int:
        # two 3×3 convolutions without bias, two batch norms of two parameters per channel
        return 9 * inputs * outputs + 9 * outputs * outputs + 4 * outputs

    widths = [width * 2**stage for stage in range(5)]
    down = pair(num_bands, widths[0]) + sum(pair(w, 2 * w) for w in widths[:-1])
    up = sum(4 * 2 * w * w + w + pair(2 * w, w) for w in widths[:-1])  # 2×2 transposed convolution with bias
    head = width * num_outputs + num_outputs
    with torch.device("meta"):
        model = ARCHITECTURES["unet"].build(ModelSpec(num_bands=num_bands, num_outputs=num_outputs, small=width == 16))
    assert count(model) == down + up + head


def test_unet_label_tells_the_smaller_width():
    assert ARCHITECTURES["unet"].label(small=True) == "unet (base width 16)"


def test_unet_drops_out_between_its_decoder_stages():
    model = build("unet", decoder_dropout=0.2)
    calls: list[tuple[int, ...]] = []
    model.dropout.register_forward_hook(lambda _, inputs, __: calls.append(tuple(inputs[0].shape[1:])))
    model(torch.rand(2, 3, 64, 64))
    # four stages of widths 128, 64, 32, 16: three places between them, none before the head
    assert calls == [(128, 8, 8), (64, 16, 16), (32, 32, 32)]


def test_get_architecture_refuses_unknown_name():
    with pytest.raises(UserError) as caught:
        get_architecture("resnet")
    assert str(caught.value) == (
        "architecture 'resnet' is unknown, but must be one of unet, unet_resnet34, deeplabv3plus_resnet34"
    )


def test_segmenter_normalises_with_what_it_carries():
    model = Segmenter(nn.Identity(), IMAGENET_MEAN, IMAGENET_STD)
    pixels = torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1)
    expected = [(0.5 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.3 - 0.406) / 0.225]
    assert model(pixels).flatten().tolist() == pytest.approx(expected, rel=1e-5)
    assert set(model.state_dict()) == {"mean", "std"}


def test_segmenter_gives_the_networks_encoder():
    network = build("unet_resnet34")
    assert Segmenter(network, IMAGENET_MEAN, IMAGENET_STD).encoder is network.encoder
