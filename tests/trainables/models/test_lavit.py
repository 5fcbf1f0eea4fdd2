"""LAViT: windows against loops over them, what its blocks do to tokens, and what its settings change."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trainables.models.architectures import ARCHITECTURES
from trainables.models.lavit import HEAD_DIM, Block, Cut, WindowAttention, lavit
from trainables.models.spec import ModelSpec

SETTINGS = {name: setting.default for name, setting in ARCHITECTURES["lavit"].settings.items()}
SIDES = st.integers(1, 20)


def build(*, num_bands: int = 3, **settings: int) -> nn.Module:
    torch.manual_seed(0)
    spec = ModelSpec(num_bands=num_bands, num_outputs=1, small=True, settings=SETTINGS | settings)
    return lavit(spec).eval()


# Windows


@given(height=SIDES, width=SIDES, window=st.integers(1, 9), is_shifted=st.booleans())
def test_cut_comes_together_as_it_was(height, width, window, is_shifted):
    grid = torch.randn(2, height, width, 3)
    cut = Cut.of(height, width, window, is_shifted=is_shifted)
    windows = cut.split(grid)
    assert windows.tokens.shape == (2 * cut.num_rows * cut.num_columns, window**2, 3)
    assert torch.equal(cut.join(windows.tokens), grid)
    if windows.is_real is not None:
        assert windows.is_real.sum() == height * width
        assert windows.is_real.any(dim=1).all()  # no window of padding alone, whose softmax would be of nothing


def attended_by_loops(layer: WindowAttention, grid: np.ndarray, shift: int) -> np.ndarray:
    """Window by window and head by head, over tokens of the grid only."""
    height, width, dim = grid.shape
    weights = {name: value.detach().double().numpy() for name, value in layer.state_dict().items()}
    result = np.zeros_like(grid)
    of_window = {}
    for y in range(height):
        for x in range(width):
            place = ((y + (shift if height > layer.window else 0)) // layer.window,
                     (x + (shift if width > layer.window else 0)) // layer.window)  # fmt: skip
            of_window.setdefault(place, []).append((y, x))
    for places in of_window.values():
        tokens = np.array([grid[place] for place in places])
        q, k, v = np.split(tokens @ weights["qkv.weight"].T + weights["qkv.bias"], 3, axis=1)
        heads = []
        for start in range(0, dim, HEAD_DIM):
            own = slice(start, start + HEAD_DIM)
            scores = np.exp(q[:, own] @ k[:, own].T / math.sqrt(HEAD_DIM))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, own])
        out = np.concatenate(heads, axis=1) @ weights["project.weight"].T + weights["project.bias"]
        for place, value in zip(places, out, strict=True):
            result[place] = value
    return result


@pytest.mark.parametrize("is_shifted", [False, True])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 4), (5, 7), (3, 9), (1, 2)])
def test_window_attention_is_that_of_loops_over_real_tokens(height, width, is_shifted):
    torch.manual_seed(1)
    layer = WindowAttention(2 * HEAD_DIM, window=4, is_shifted=is_shifted)
    grid = torch.randn(2, height, width, 2 * HEAD_DIM)
    found = layer(grid).detach().numpy()
    for image in range(2):
        expected = attended_by_loops(layer, grid[image].double().numpy(), 2 if is_shifted else 0)
        assert np.allclose(found[image], expected, atol=1e-5)


# Blocks


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_block_attends_among_fewer_tokens_and_keeps_them_all(reduction):
    block = Block(HEAD_DIM, reduction=reduction, window=8, is_shifted=False)
    shapes = []
    block.attention.register_forward_hook(lambda _, inputs, output: shapes.append((inputs[0].shape, output.shape)))
    tokens = torch.randn(2, 8, 12, HEAD_DIM)
    assert block(tokens).shape == tokens.shape
    reduced = (2, 8 // reduction, 12 // reduction, HEAD_DIM)
    assert shapes == [(reduced, reduced)]


def test_encoder_shifts_the_windows_of_every_second_block():
    blocks = build(depth=4, attention_window=16).encoder.blocks
    assert [block.attention.is_shifted for block in blocks] == [False, True, False, True]
    assert {block.attention.window for block in blocks} == {16}


# The whole


def test_lavit_tells_places_apart_that_look_alike():
    with torch.inference_mode():
        logits = build()(torch.full((1, 3, 64, 64), 0.5))
    assert logits.std() > 0  # only its convolutions know where the border is
