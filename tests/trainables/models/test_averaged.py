"""Means of probabilities: what is averaged, what stays as it is, and that nothing is turned the wrong way."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from trainables.models.averaged import Ensemble, OverSymmetries, mean_logits
from trainables.predict import predict_logits


class Constant(nn.Module):
    """The same logits everywhere, whatever it sees."""

    def __init__(self, *logits: float):
        super().__init__()
        self.logits = torch.tensor(logits)[None, :, None, None]

    def forward(self, pixels):
        return self.logits.expand(len(pixels), -1, *pixels.shape[2:])


class Position(nn.Module):
    """Sees where a pixel is: its logit is its column, which no symmetry but one leaves as it is."""

    def forward(self, pixels):
        columns = torch.arange(pixels.shape[3], dtype=torch.float32)
        return columns.expand(len(pixels), 1, *pixels.shape[2:])


PIXELS = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
BRIGHTNESS = nn.Conv2d(3, 1, 1)  # looks at each pixel by itself
CLASSES = nn.Conv2d(3, 4, 3, padding=1)


@pytest.mark.parametrize("network", [BRIGHTNESS, CLASSES])
def test_ensemble_of_equal_models_is_the_model(network):
    with torch.inference_mode():
        alone, together = network(PIXELS), Ensemble([network] * 3)(PIXELS)
    if alone.shape[1] > 1:
        alone = alone.log_softmax(dim=1)
    torch.testing.assert_close(together, alone)


def test_ensemble_of_two_is_the_mean_of_their_probabilities():
    odds = (math.log(9.0), math.log(0.25))  # probabilities 0.9 and 0.2, so 0.55
    logits = Ensemble([Constant(odd) for odd in odds])(PIXELS)
    torch.testing.assert_close(logits.sigmoid(), torch.full((2, 1, 4, 6), 0.55))
    one, two = Constant(*np.log([0.7, 0.2, 0.1])), Constant(*np.log([0.1, 0.6, 0.3]))
    mean = Ensemble([one, two])(PIXELS).softmax(dim=1)[0, :, 0, 0]
    torch.testing.assert_close(mean, torch.tensor([0.4, 0.4, 0.2]))


def test_mean_of_sure_logits_is_finite_and_keeps_its_side():
    sure = torch.tensor([1000.0, -1000.0, 1e-6]).reshape(1, 1, 1, 3)
    mean = mean_logits([sure, sure])
    assert mean.isfinite().all()
    assert (mean > 0).tolist() == (sure > 0).tolist()


def test_network_that_commutes_with_the_symmetries_is_itself_under_them():
    with torch.inference_mode():
        torch.testing.assert_close(OverSymmetries(BRIGHTNESS)(PIXELS), BRIGHTNESS(PIXELS))


def test_each_symmetry_is_turned_back():
    """The mean of a column's number over eight views: two each of left, right, up and down."""
    height, width = 4, 6
    found = OverSymmetries(Position())(torch.zeros(1, 1, height, width)).sigmoid()[0, 0]
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    views = (columns, width - 1 - columns, rows, height - 1 - rows)
    torch.testing.assert_close(found, torch.stack([view.sigmoid() for view in views]).mean(dim=0))


def test_tiles_of_any_side_are_predicted():
    model = OverSymmetries(Ensemble([BRIGHTNESS, BRIGHTNESS]))
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    with torch.inference_mode():
        given = {"scale": 1 / 255, "stride": 4, "device": torch.device("cpu")}
        torch.testing.assert_close(predict_logits(model, image, **given), predict_logits(BRIGHTNESS, image, **given))
