"""LAViT: windows against loops over them, what its blocks do to tokens, and what its settings change."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trainables.models.architectures import ARCHITECTURES
from trainables.models.lavit import HEAD_DIM, MLP_RATIO, Block, Cut, Lavit, WindowAttention, lavit
from trainables.models.spec import ModelSpec

SETTINGS = {name: setting.default for name, setting in ARCHITECTURES["lavit"].settings.items()}
SIDES = st.integers(1, 20)


def build(*, num_bands: int = 3, **settings: int) -> nn.Module:
    torch.manual_seed(0)
    spec = ModelSpec(num_bands=num_bands, num_outputs=1, small=True, settings=SETTINGS | settings)
    return lavit(spec).eval()


# Windows


def test_cut_lays_windows_row_by_row():
    grid = torch.arange(16.0).view(1, 4, 4, 1)
    windows = Cut.of(4, 4, 2, is_shifted=False).split(grid)
    assert windows.is_real is None
    assert windows.tokens[..., 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_cut_fills_up_at_the_bottom_and_right():
    windows = Cut.of(2, 3, 2, is_shifted=False).split(torch.arange(1.0, 7.0).view(1, 2, 3, 1))
    assert windows.tokens[..., 0].tolist() == [[1, 2, 4, 5], [3, 0, 6, 0]]
    assert windows.is_real.tolist() == [[True] * 4, [True, False, True, False]]


def test_shifted_cut_begins_before_the_grid():
    windows = Cut.of(4, 4, 2, is_shifted=True).split(torch.arange(1.0, 17.0).view(1, 4, 4, 1))
    # three by three windows, of which the middle one is whole: 6 7 / 10 11
    assert windows.tokens[4, :, 0].tolist() == [6, 7, 10, 11]
    assert windows.tokens[0, :, 0].tolist() == [0, 0, 0, 1]
    assert windows.tokens[8, :, 0].tolist() == [16, 0, 0, 0]
    assert windows.is_real.sum() == 16


@pytest.mark.parametrize(("height", "width", "top", "left"), [(4, 4, 0, 0), (3, 9, 0, 2), (5, 4, 2, 0)])
def test_cut_shifts_only_where_there_is_more_than_one_window(height, width, top, left):
    cut = Cut.of(height, width, 4, is_shifted=True)
    assert (cut.top, cut.left) == (top, left)


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


def test_window_attention_gives_padding_no_weight():
    layer = WindowAttention(HEAD_DIM, window=4, is_shifted=False)
    with torch.no_grad():
        layer.qkv.bias[HEAD_DIM : 2 * HEAD_DIM] = 50.0  # keys of padding, which is zero before the projection
        layer.qkv.bias[2 * HEAD_DIM :] = 7.0
        layer.qkv.weight[2 * HEAD_DIM :] = 0.0
        layer.project.weight.copy_(torch.eye(HEAD_DIM))
        layer.project.bias.zero_()
    assert torch.allclose(layer(torch.randn(1, 3, 3, HEAD_DIM)), torch.tensor(7.0))

    def poisoned(_, inputs, output):
        output = output.clone()
        output[inputs[0].abs().sum(-1) == 0] = 1e4  # whatever padding has to say
        return output

    layer.qkv.register_forward_hook(poisoned)
    assert torch.allclose(layer(torch.randn(1, 3, 3, HEAD_DIM)), torch.tensor(7.0))


# Blocks


def reached(model: nn.Module, size: int, at: tuple[int, int]) -> np.ndarray:
    """Which tokens of a (size, size) grid depend on the one at a place."""
    grid = torch.randn(1, size, size, HEAD_DIM)
    changed = grid.clone()
    changed[0, at[0], at[1]] += 1.0
    with torch.no_grad():
        return ((model(grid) - model(changed)).abs().amax(-1)[0] > 1e-7).numpy()


def test_attention_of_a_block_crosses_no_border_and_the_next_ones_does():
    torch.manual_seed(0)
    plain = WindowAttention(HEAD_DIM, window=4, is_shifted=False)
    shifted = WindowAttention(HEAD_DIM, window=4, is_shifted=True)
    one = reached(plain, 8, (1, 1))
    assert one[:4, :4].all()
    assert one.sum() == 16
    both = reached(nn.Sequential(plain, shifted), 8, (1, 1))
    assert both[:6, :6].all()  # rows 2 to 5 share the shifted windows
    assert both.sum() == 36


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


@pytest.mark.parametrize(("dim", "depth", "reduction"), [(256, 6, 2), (256, 8, 4), (64, 4, 1)])
def test_lavit_has_the_parameters_of_its_formula(dim, depth, reduction):
    hidden = MLP_RATIO * dim
    position, norm, reduce = 9 * dim + dim, 2 * dim, reduction**2 * dim * dim + dim
    attention = dim * 3 * dim + 3 * dim + dim * dim + dim
    mlp = 2 * dim + dim * hidden + hidden + hidden * dim + dim
    encoder = 16 * 3 * dim + dim + depth * (position + norm + reduce + attention + mlp) + norm
    decoder = sum(9 * i * (i // 2) + 2 * (i // 2) for i in (dim, dim // 2)) + dim // 4 + 1
    with torch.device("meta"):
        model = Lavit(3, 1, dim=dim, depth=depth, reduction=reduction, window=8, decoder_dropout=0.0)
    assert sum(p.numel() for p in model.encoder.parameters()) == encoder
    assert sum(p.numel() for p in model.parameters()) == encoder + decoder


def test_lavit_tells_places_apart_that_look_alike():
    with torch.inference_mode():
        logits = build()(torch.full((1, 3, 64, 64), 0.5))
    assert logits.std() > 0  # only its convolutions know where the border is
