"""A file of a person's own networks, as tests write it."""

from pathlib import Path

TEXT = """
import math

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, spec, dropout=0.0):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(spec.num_bands, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(4, spec.num_outputs, 1))

    def forward(self, x):
        return self.head(self.encoder(x))


class Declared(Net):
    stride, only_px, lr = 8, 40, 3e-4

    def forward(self, x):
        assert x.shape[2:] == (40, 40)
        return super().forward(x)


def build(spec):
    return Net(spec, spec.decoder_dropout)


def raises(spec):
    raise ValueError("no\\nluck")


def gives_no_module(spec):
    return 3


def without_parameters(spec):
    return nn.Identity()


def of_two_outputs(spec):
    return nn.Conv2d(spec.num_bands, 2, 1)


def of_stride_64(spec):
    return nn.Sequential(nn.MaxPool2d(64), nn.Conv2d(spec.num_bands, spec.num_outputs, 1), nn.Upsample(scale_factor=64))


def of_four_bands(spec):
    return nn.Conv2d(4, spec.num_outputs, 1)


def without_encoder(spec):
    return nn.Conv2d(spec.num_bands, spec.num_outputs, 1)


def of_odd_stride(spec):
    return build(spec)


of_odd_stride.stride = 1.5
"""


def write_networks(folder: Path, *, end: str = "") -> Path:
    """Writes the file, with a text behind it where it shall be another one; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "my_nets.py"
    path.write_text(TEXT + end, encoding="utf-8")
    return path
