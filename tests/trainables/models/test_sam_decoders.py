"""The two decoders over SAM's encoder: their sizes, and what flows where."""

import pytest
import torch
from torch import nn

from trainables.models import sam
from trainables.models.spec import ModelSpec

SMALL = ModelSpec(num_bands=3, num_outputs=1, decoder_dropout=0.3, small=True)
BUILDS = {"sam_conv": sam.sam_conv, "sam_unet": sam.sam_unet}


def count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def pair(inputs: int, outputs: int) -> int:
    """Two 3×3 convolutions without bias, two batch norms of two parameters per channel."""
    return 9 * inputs * outputs + 9 * outputs * outputs + 4 * outputs


def up(width: int) -> int:
    """A 2×2 transposed convolution from twice the width, with bias."""
    return 4 * 2 * width * width + width


@pytest.mark.parametrize(("small", "num_outputs"), [(False, 1), (False, 3), (True, 1)])
def test_sam_conv_has_the_parameters_of_its_formula(small, num_outputs):
    width, neck_dim = (64, 64) if small else (256, 256)
    widths = [width // 2, width // 4, width // 8, width // 16]
    stages = sum(up(w) + pair(w, w) for w in widths)
    with torch.device("meta"):
        model = sam.sam_conv(ModelSpec(num_bands=3, num_outputs=num_outputs, small=small))
    assert count(model) == pair(neck_dim, width) + stages + widths[-1] * num_outputs + num_outputs


@pytest.mark.parametrize(("small", "num_outputs"), [(False, 1), (False, 3), (True, 1)])
def test_sam_unet_has_the_parameters_of_its_formula(small, num_outputs):
    width, dim = (64, 192) if small else (256, 768)
    widths = [width, width // 2, width // 4, width // 8]
    stem = 9 * dim * 2 * width + 2 * 2 * width
    # a 1×1 convolution with bias, then 2×2 transposed ones without, each with a batch norm
    skips = sum(
        dim * w + w + times * (4 * w * w + 2 * w) for times, w in ((1, width), (2, width // 2), (3, width // 4))
    )
    stages = sum(up(w) for w in widths) + sum(pair(2 * w, w) for w in widths[:3]) + pair(widths[3], widths[3])
    with torch.device("meta"):
        model = sam.sam_unet(ModelSpec(num_bands=3, num_outputs=num_outputs, small=small))
    assert count(model) == stem + skips + stages + widths[-1] * num_outputs + num_outputs


def test_sam_unet_raises_the_earlier_blocks_to_the_finer_stages():
    model = sam.sam_unet(SMALL).eval()
    calls: list[tuple[torch.Tensor, torch.Size]] = []
    for raise_ in model.skips:
        raise_.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output.shape)))
    pixels = torch.rand(1, 3, 64, 96)
    model(pixels)
    _, skips = model.encoder(pixels)
    # blocks 9, 6 and 3 to 1/8, 1/4 and 1/2, with the widths of the stages that take them
    assert [shape for _, shape in calls] == [(1, 64, 8, 12), (1, 32, 16, 24), (1, 16, 32, 48)]
    assert all(torch.equal(given, skip) for (given, _), skip in zip(calls, skips[2::-1], strict=True))


@pytest.mark.parametrize(("name", "widths"), [("sam_conv", (64, 32, 16, 8)), ("sam_unet", (128, 64, 32, 16))])
def test_decoder_drops_out_before_each_of_its_four_stages(name, widths):
    model = BUILDS[name](SMALL)
    calls: list[tuple[int, ...]] = []
    model.dropout.register_forward_hook(lambda _, inputs, __: calls.append(tuple(inputs[0].shape[1:])))
    model(torch.rand(2, 3, 32, 32))
    assert calls == [(width, side, side) for width, side in zip(widths, (2, 4, 8, 16), strict=True)]
