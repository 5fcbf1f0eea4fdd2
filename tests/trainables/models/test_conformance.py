"""What every architecture keeps, over the whole table: a new row is tested as soon as it has its line of facts here."""

import copy
from itertools import combinations
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from trainables.common.errors import UserError
from trainables.data.windows import WHOLE_PX
from trainables.models.architectures import ARCHITECTURES
from trainables.models.composed.names import get_architecture
from trainables.models.segmenter import Segmenter
from trainables.models.spec import ModelSpec


class Facts(NamedTuple):
    """What a row must come to.

    The parameters are those of three bands and one output: of `unet`, SAM's decoders, `lavit`, the graph attention and
    DeepLabV3 added up by hand, layer by layer, of the others as seen with segmentation-models-pytorch 0.6,
    segment-anything and timm 1.0. `dropped` are the shapes (C, h, w), by hand, at which the small variant drops out
    where it sees 64×64 px.
    """

    num_trained: int
    num_frozen: int
    small: str
    dropped: list[tuple[int, int, int]]
    batch_size: int = 4
    only_px: int | None = None


FACTS = {
    "unet": Facts(31_037_633, 0, "base width 16", [(128, 8, 8), (64, 16, 16), (32, 32, 32)]),
    "unet_width16": Facts(1_942_577, 0, "", [(128, 8, 8), (64, 16, 16), (32, 32, 32)]),
    "unet_resnet34": Facts(24_436_369, 0, "", [(256, 4, 4), (128, 8, 8), (64, 16, 16), (32, 32, 32)]),
    "deeplabv3plus_resnet34": Facts(22_437_457, 0, "", [(256, 4, 4)]),
    "sam_conv": Facts(
        *(1_747_649, 89_670_912, "small random encoder"),
        dropped=[(64, 4, 4), (32, 8, 8), (16, 16, 16), (8, 32, 32)],
        batch_size=2,
        only_px=1024,
    ),
    "sam_unet": Facts(
        *(7_367_873, 89_670_912, "small random encoder"),
        dropped=[(128, 4, 4), (64, 8, 8), (32, 16, 16), (16, 32, 32)],
        batch_size=2,
        only_px=1024,
    ),
    "lavit": Facts(5_134_529, 0, "width 64", [(32, 16, 16), (16, 32, 32)]),
    "segformer_mit_b3": Facts(44_598_209, 0, "MiT-B0", [(256, 16, 16)]),
    "vit_gat": Facts(23_927_937, 0, "width 96", [(64, 8, 8)]),
    "deeplabv3_resnet50": Facts(39_633_729, 0, "ResNet18", [(256, 4, 4)]),
}


@pytest.fixture(scope="module", params=FACTS)
def name(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn, for all tests that take it."""
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> nn.Module:
    """The small variant as it is built with seed 0, in evaluation mode; no test changes it."""
    return build(name).eval()


def build(name: str, *, seed: int = 0, **changes: Any) -> nn.Module:
    """The small variant for three bands and one output, with its own settings at their defaults."""
    settings = {setting: row.default for setting, row in ARCHITECTURES[name].settings.items()}
    spec = {"num_bands": 3, "num_outputs": 1, "settings": settings, "small": True} | changes
    torch.manual_seed(seed)
    return ARCHITECTURES[name].build(ModelSpec(**spec))


def count(model: nn.Module) -> tuple[int, int]:
    """Trained and frozen parameters."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return trained, sum(parameter.numel() for parameter in model.parameters()) - trained


def dropouts(model: nn.Module) -> list[nn.Module]:
    """The dropout layers that do something."""
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    return [module for module in model.modules() if isinstance(module, kinds) and module.p > 0]


# The table


def test_facts_are_of_every_row():
    assert set(FACTS) == set(ARCHITECTURES)


def test_row_is_whole_and_its_label_never_passes_for_the_real_thing(name):
    row, facts = get_architecture(name), FACTS[name]
    assert (row.name, row.batch_size, row.only_px) == (name, facts.batch_size, facts.only_px)
    assert row.track in ("cnn", "frozen_encoder", "transformer")
    assert row.is_frozen == (facts.num_frozen > 0)
    assert row.stride > 0
    assert (row.encoder is None) == (row.normalisation is None)
    assert row.encoder is not None or not row.is_frozen
    for side in (row.whole_px, row.only_px or 0):  # windows that its stride and the memory allow
        assert side <= WHOLE_PX
        assert side % row.stride == 0
    assert "arXiv:" in row.source
    small = facts.small
    assert row.label(small=True, weights="none") == (f"{name} ({small})" if small else name)
    assert row.label(small=False, weights="none") == (f"{name} (random encoder)" if row.is_frozen else name)
    assert row.label(small=False, weights="somewhere.pth") == name


def test_get_architecture_refuses_an_unknown_name():
    rule = rf"^architecture is 'resnet', but must be one of {', '.join(ARCHITECTURES)} or DECODER:ENCODER"
    with pytest.raises(UserError, match=rule):
        get_architecture("resnet")


# Logits


@pytest.mark.parametrize(("num_bands", "num_outputs"), [(1, 3), (3, 1)])
def test_logits_have_the_size_of_the_input(name, model, num_bands, num_outputs):
    stride = ARCHITECTURES[name].stride
    if num_bands != 3:
        model = build(name, num_bands=num_bands, num_outputs=num_outputs).eval()
    with torch.inference_mode():
        for height, width in ((stride, stride), (2 * stride, 3 * stride)):
            logits = model(torch.rand(2, num_bands, height, width))
            assert (logits.shape, logits.dtype) == ((2, num_outputs, height, width), torch.float32)
            assert torch.isfinite(logits).all()


@pytest.mark.slow
def test_full_variant_maps_a_whole_tile(name):
    with torch.inference_mode():
        logits = build(name, small=False).eval()(torch.zeros(1, 3, 1024, 1024))
    assert logits.shape == (1, 1, 1024, 1024)
    assert torch.isfinite(logits).all()


def test_every_choice_of_a_setting_counts(name, model):
    row = ARCHITECTURES[name]
    defaults = {setting: its.default for setting, its in row.settings.items()}
    pixels = torch.rand(1, 3, 3 * row.stride, 5 * row.stride)
    others = [
        defaults | {setting: choice}
        for setting, its in row.settings.items()
        for choice in its.choices
        if choice != its.default
    ]
    with torch.inference_mode():
        made = [model(pixels), *(build(name, settings=settings).eval()(pixels) for settings in others)]
    assert {logits.shape for logits in made} == {(1, 1, *pixels.shape[2:])}
    assert not any(torch.equal(one, other) for one, other in combinations(made, 2))


def test_half_precision_gives_about_the_same_logits(name, model):
    side = 2 * ARCHITECTURES[name].stride  # no more: a CPU may have no such numbers
    pixels = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        expected = model(pixels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(pixels)
    assert logits.shape == expected.shape
    # bfloat16 has 8 significant bits, and errors of some layers add up
    assert (logits.float() - expected).abs().max() < 0.1 * expected.abs().max()


# What is trained


def test_training_moves_every_parameter_but_those_of_a_frozen_encoder(name):
    model = build(name, num_bands=4, num_outputs=3, decoder_dropout=0.3).train()
    frozen = {f"encoder.{n}" for n, _ in model.encoder.named_parameters()} if ARCHITECTURES[name].is_frozen else set()
    parameters = dict(model.named_parameters())
    before = {n: parameter.detach().clone() for n, parameter in parameters.items()}
    logits = model(torch.rand(2, 4, 64, 96))
    assert logits.shape == (2, 3, 64, 96)
    logits.square().mean().backward()
    assert {n for n, parameter in parameters.items() if not parameter.requires_grad} == frozen
    assert {n for n, parameter in parameters.items() if parameter.grad is None or not parameter.grad.any()} == frozen
    torch.optim.SGD(model.parameters(), lr=1e6).step()
    assert {n for n, parameter in parameters.items() if torch.equal(parameter, before[n])} == frozen
    assert any(module.training for module in model.encoder.modules()) == (not frozen)


def test_encoder_is_a_part_of_the_network(name, model):
    assert 0 < len(list(model.encoder.parameters())) < len(list(model.parameters()))
    segmenter = Segmenter(model, [0.0] * 3, [1.0] * 3)
    assert segmenter.encoder is model.encoder
    assert segmenter.frozen_digest == (model.encoder.digest if ARCHITECTURES[name].is_frozen else "")


def test_seed_decides_the_weights_and_dropout_is_in_the_decoder_only_and_at_its_places(name, model):
    without = model.state_dict()
    other = build(name, seed=1).state_dict()
    assert any(not torch.equal(value, other[key]) for key, value in without.items())
    model = build(name, decoder_dropout=0.4)
    seen: list[tuple[int, ...]] = []
    assert all(torch.equal(value, without[key]) for key, value in model.state_dict().items())
    for layer in dropouts(model):
        assert layer.p == 0.4
        layer.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape[1:])))
    assert dropouts(model.encoder) == []
    pixels = torch.rand(2, 3, 64, 64)
    for module in model.modules():  # batch statistics aside, nothing but dropout is random
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    with torch.no_grad():
        assert not torch.equal(model.train()(pixels), model(pixels))
        assert torch.equal(model.eval()(pixels), model(pixels))
    assert seen == 4 * FACTS[name].dropped


def test_nothing_is_random_in_training_without_dropout(model):
    model = copy.deepcopy(model).train()
    assert dropouts(model) == []
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(pixels), model(pixels))


# What is built and saved


def test_parameters_are_as_many_as_those_of_the_real_thing(name, model):
    with torch.device("cpu" if name.startswith("segformer") else "meta"):  # MiT reads a tensor's values as it is built
        full = build(name, small=False, decoder_dropout=0.3)
    assert count(full) == FACTS[name][:2]
    if FACTS[name].small:
        assert all(few < many / 2 or few == many == 0 for few, many in zip(count(model), count(full), strict=True))
    else:
        assert count(model) == count(full)


def test_copy_is_a_second_model_but_for_a_frozen_encoder_which_no_state_holds(name, model):
    is_frozen = ARCHITECTURES[name].is_frozen
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    assert set(model.state_dict()) == {key for key in tensors if not (is_frozen and key.startswith("encoder."))}
    copied, pixels = copy.deepcopy(model), torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(copied(pixels), model(pixels))
    assert (copied.encoder is model.encoder) == is_frozen  # a moving average needs no second one of what never changes
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert not trained & {id(parameter) for parameter in copied.parameters()}
