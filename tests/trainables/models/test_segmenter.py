"""A network with its normalisation."""

import pytest
import torch
from torch import nn

from trainables.models.architecture import IMAGENET
from trainables.models.segmenter import Segmenter


def test_segmenter_normalises_with_what_it_carries():
    model = Segmenter(nn.Identity(), IMAGENET.mean, IMAGENET.std)
    pixels = torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1)
    expected = [(0.5 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.3 - 0.406) / 0.225]
    assert model(pixels).flatten().tolist() == pytest.approx(expected, rel=1e-5)
    assert set(model.state_dict()) == {"mean", "std"}
