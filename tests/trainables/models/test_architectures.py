from typing import Any

import pytest
import torch
from torch import nn

from trainables.common.errors import UserError
from trainables.models.architectures import ARCHITECTURES, IMAGENET, get_architecture
from trainables.models.segmenter import Segmenter
from trainables.models.spec import ModelSpec

NAMES = list(ARCHITECTURES)

# Trainable and frozen, of three bands and one output: U-Net's and those of SAM's decoders, LAViT, the graph attention
# and DeepLabV3 follow from their formulas (below and in their own tests), the others are the numbers seen with
# segmentation-models-pytorch 0.6, segment-anything and timm 1.0.
NUM_PARAMETERS = {
    "unet": (31_037_633, 0),
    "unet_resnet34": (24_436_369, 0),
    "deeplabv3plus_resnet34": (22_437_457, 0),
    "sam_conv": (1_747_649, 89_670_912),
    "sam_unet": (7_367_873, 89_670_912),
    "lavit": (5_134_529, 0),
    "segformer_mit_b3": (44_598_209, 0),
    "vit_gat": (23_927_937, 0),
    "deeplabv3_resnet50": (39_633_729, 0),
}

# Of the small variant, of one without pretrained weights, and of one with them
LABELS = {
    "unet": ("unet (base width 16)", "unet", "unet"),
    "unet_resnet34": ("unet_resnet34", "unet_resnet34", "unet_resnet34"),
    "deeplabv3plus_resnet34": ("deeplabv3plus_resnet34", "deeplabv3plus_resnet34", "deeplabv3plus_resnet34"),
    "sam_conv": ("sam_conv (small random encoder)", "sam_conv (random encoder)", "sam_conv"),
    "sam_unet": ("sam_unet (small random encoder)", "sam_unet (random encoder)", "sam_unet"),
    "lavit": ("lavit (width 64)", "lavit", "lavit"),
    "segformer_mit_b3": ("segformer_mit_b3 (MiT-B0)", "segformer_mit_b3", "segformer_mit_b3"),
    "vit_gat": ("vit_gat (width 96)", "vit_gat", "vit_gat"),
    "deeplabv3_resnet50": ("deeplabv3_resnet50 (ResNet18)", "deeplabv3_resnet50", "deeplabv3_resnet50"),
}

SLOW = ("unet", "sam_conv", "sam_unet", "lavit", "segformer_mit_b3", "vit_gat", "deeplabv3_resnet50")
"""Too slow or too large at 1024² for every run."""


def spec_for(name: str, **changes: Any) -> ModelSpec:
    """Of three bands and one output, with the architecture's own settings at their defaults."""
    settings = {setting: row.default for setting, row in ARCHITECTURES[name].settings.items()}
    return ModelSpec(**{"num_bands": 3, "num_outputs": 1, "settings": settings} | changes)


def build(name: str, *, seed: int = 0, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    return ARCHITECTURES[name].build(spec_for(name, **{"small": True} | changes))


def count(model: nn.Module) -> tuple[int, int]:
    """Trainable and frozen parameters."""
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return trainable, sum(parameter.numel() for parameter in model.parameters()) - trainable


def dropouts(model: nn.Module) -> list[str]:
    """Names of the dropout layers that do something."""
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    return [name for name, module in model.named_modules() if isinstance(module, kinds) and module.p > 0]


# Every architecture


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("num_bands", [1, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_architecture_makes_logits_of_its_inputs_size(name, num_bands, num_outputs):
    stride = ARCHITECTURES[name].stride
    model = build(name, num_bands=num_bands, num_outputs=num_outputs).eval()
    with torch.inference_mode():
        for height, width in ((stride, stride), (2 * stride, 3 * stride)):
            logits = model(torch.rand(2, num_bands, height, width))
            assert (logits.shape, logits.dtype) == ((2, num_outputs, height, width), torch.float32)
            assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NAMES])
def test_full_architecture_maps_a_whole_tile(name):
    model = build(name, small=False).eval()
    with torch.inference_mode():
        logits = model(torch.zeros(1, 3, 1024, 1024))
    assert logits.shape == (1, 1, 1024, 1024)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_architecture_trains_every_parameter_but_those_of_a_frozen_encoder(name):
    model = build(name, num_bands=4, num_outputs=3, decoder_dropout=0.3).train()
    model(torch.rand(2, 4, 64, 96)).square().mean().backward()
    inside = {f"encoder.{n}" for n, _ in model.encoder.named_parameters()} if ARCHITECTURES[name].is_frozen else set()
    parameters = dict(model.named_parameters())
    assert {n for n, parameter in parameters.items() if not parameter.requires_grad} == inside
    assert {n for n, parameter in parameters.items() if parameter.grad is None} == inside
    assert [n for n, parameter in parameters.items() if parameter.grad is not None and not parameter.grad.any()] == []


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
def test_architecture_comes_back_from_its_saved_state(name, tmp_path):
    model = build(name, num_bands=4, num_outputs=3)
    pixels = torch.rand(2, 4, 64, 96)
    model.train()(pixels)  # batch norm in a state that no fresh model has
    torch.save(model.state_dict(), tmp_path / "state.pth")
    other = build(name, num_bands=4, num_outputs=3, seed=1)
    with torch.inference_mode():
        expected = model.eval()(pixels)
        assert not torch.equal(other.eval()(pixels), expected)
        other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
        assert torch.equal(other(pixels), expected)


@pytest.mark.parametrize("name", NAMES)
def test_architecture_takes_half_precision(name):
    model = build(name).eval()
    pixels = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        expected = model(pixels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(pixels)
    assert logits.shape == expected.shape
    # bfloat16 has 8 significant bits, and errors of some layers add up
    assert (logits.float() - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_architecture_has_an_encoder_to_freeze(name):
    model = build(name)
    inside = {id(parameter) for parameter in model.encoder.parameters()}
    assert 0 < len(inside) < len(list(model.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_architecture_is_initialised_from_torchs_generator(name):
    one, same = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(one[key], same[key]) for key in one)
    other = build(name, seed=1).state_dict()
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", NAMES)
def test_architecture_has_the_parameters_of_the_real_thing(name):
    with torch.device("cpu" if name.startswith("segformer") else "meta"):  # MiT reads a tensor's values as it is built
        full = ARCHITECTURES[name].build(spec_for(name, decoder_dropout=0.3))
        small = ARCHITECTURES[name].build(spec_for(name, decoder_dropout=0.3, small=True))
    assert count(full) == NUM_PARAMETERS[name]
    if ARCHITECTURES[name].small:
        assert all(few < many / 2 or few == many == 0 for few, many in zip(count(small), count(full), strict=True))
    else:
        assert count(small) == count(full)


@pytest.mark.parametrize("name", NAMES)
def test_architecture_label_never_passes_for_the_real_thing(name):
    row = ARCHITECTURES[name]
    small, from_scratch, pretrained = LABELS[name]
    assert row.label(small=True, weights="none") == small
    assert row.label(small=False, weights="none") == from_scratch
    assert row.label(small=False, weights="somewhere.pth") == pretrained == name


@pytest.mark.parametrize("name", NAMES)
def test_architecture_row_is_whole(name):
    row = get_architecture(name)
    assert row.name == name
    assert row.track in ("cnn", "frozen_encoder", "transformer")
    assert row.stride > 0
    assert row.gpu_gib > 0
    assert (row.encoder is None) == (row.normalisation is None)
    assert row.encoder is not None or not row.is_frozen
    assert row.only_px is None or row.only_px % row.stride == 0
    assert "arXiv:" in row.source


def test_table_has_parameter_counts_and_labels_for_every_row():
    assert set(NUM_PARAMETERS) == set(LABELS) == set(ARCHITECTURES)


def test_table_has_the_reference_studys_batches():
    # 4, and 2 over SAM
    assert {name: row.batch_size for name, row in ARCHITECTURES.items()} == {
        "unet": 4,
        "unet_resnet34": 4,
        "deeplabv3plus_resnet34": 4,
        "sam_conv": 2,
        "sam_unet": 2,
        "lavit": 4,
        "segformer_mit_b3": 4,
        "vit_gat": 4,
        "deeplabv3_resnet50": 4,
    }


def test_table_freezes_sams_encoder_and_ties_it_to_its_tiles():
    assert {name: row.only_px for name, row in ARCHITECTURES.items() if row.is_frozen} == {
        "sam_conv": 1024,
        "sam_unet": 1024,
    }
    assert [name for name, row in ARCHITECTURES.items() if row.only_px is not None and not row.is_frozen] == []


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
    assert count(model) == (down + up + head, 0)


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
        "architecture 'resnet' is unknown, but must be one of unet, unet_resnet34, deeplabv3plus_resnet34, sam_conv, "
        "sam_unet, lavit, segformer_mit_b3, vit_gat, deeplabv3_resnet50"
    )


def test_segmenter_normalises_with_what_it_carries():
    model = Segmenter(nn.Identity(), IMAGENET.mean, IMAGENET.std)
    pixels = torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1)
    expected = [(0.5 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.3 - 0.406) / 0.225]
    assert model(pixels).flatten().tolist() == pytest.approx(expected, rel=1e-5)
    assert set(model.state_dict()) == {"mean", "std"}


def test_segmenter_gives_the_networks_encoder():
    network = build("unet_resnet34")
    assert Segmenter(network, IMAGENET.mean, IMAGENET.std).encoder is network.encoder


@pytest.mark.parametrize("name", NAMES)
def test_segmenter_tells_which_frozen_encoder_it_is_over(name):
    network = build(name)
    expected = network.encoder.digest if ARCHITECTURES[name].is_frozen else ""
    assert Segmenter(network, IMAGENET.mean, IMAGENET.std).frozen_digest == expected
    assert len(expected) == (64 if ARCHITECTURES[name].is_frozen else 0)
