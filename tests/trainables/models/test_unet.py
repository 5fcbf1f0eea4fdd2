"""U-Net from scratch: its size by a formula."""

import pytest
import torch

from trainables.models.spec import ModelSpec
from trainables.models.unet import unet


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
        model = unet(ModelSpec(num_bands=num_bands, num_outputs=num_outputs, small=width == 16))
    assert sum(parameter.numel() for parameter in model.parameters()) == down + up + head


def test_unet_takes_no_weights():
    model = unet(ModelSpec(num_bands=3, num_outputs=1, weights="nowhere.pth", small=True))
    assert model.head.out_channels == 1
