"""LAViT for roads: a transformer whose blocks reduce the tokens, attend in windows of those, and expand again."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from trainables.models.spec import ModelSpec

PATCH_PX = 4

MLP_RATIO = 2
"""Width of a block's hidden layer over its own: half of the usual 4, since the MLPs see all tokens of 4×4 px."""

HEAD_DIM = 32
"""C of an attention head. Source: Liu et al. 2021, Swin, arXiv:2103.14030."""


class Windows(NamedTuple):
    """A grid cut into square windows.

    Attributes:
        tokens: (N·windows, window², C), zero where a window reaches over the grid's edge.
        is_real: (windows, window²) bool: whether a token is the grid's; None where all are.
    """

    tokens: torch.Tensor
    is_real: torch.Tensor | None


class Cut(NamedTuple):
    """Where windows lie on a grid.

    Attributes:
        height, width: Of the grid (tokens).
        window: Side of a window (tokens).
        top, left: How far the first window reaches over the grid's edge (tokens), less than `window`.
    """

    height: int
    width: int
    window: int
    top: int
    left: int

    @classmethod
    def of(cls, height: int, width: int, window: int, *, is_shifted: bool) -> "Cut":
        """Windows from the grid's corner on, or shifted by half a window where the grid has more than one."""
        shift = window // 2 if is_shifted else 0
        return cls(height, width, window, shift if height > window else 0, shift if width > window else 0)

    @property
    def num_rows(self) -> int:
        """Windows from top to bottom."""
        return -(-(self.top + self.height) // self.window)

    @property
    def num_columns(self) -> int:
        """Windows from left to right."""
        return -(-(self.left + self.width) // self.window)

    def split(self, grid: torch.Tensor) -> Windows:
        """Splits a grid (N, height, width, C) into windows."""
        tokens = self._tiled(grid)
        if self.num_rows * self.num_columns * self.window**2 == self.height * self.width:
            return Windows(tokens, None)
        # Padded, not rolled as in Swin, so that tokens of opposite edges never share a window
        is_real = self._tiled(torch.ones(1, self.height, self.width, 1, dtype=torch.bool, device=grid.device))
        return Windows(tokens, is_real[..., 0])

    def join(self, tokens: torch.Tensor) -> torch.Tensor:
        """Joins windows (N·windows, window², C) to the grid (N, height, width, C), and drops the padding."""
        rows, columns, side, channels = self.num_rows, self.num_columns, self.window, tokens.shape[-1]
        grid = tokens.reshape(-1, rows, columns, side, side, channels).transpose(2, 3)
        grid = grid.reshape(-1, rows * side, columns * side, channels)
        return grid[:, self.top : self.top + self.height, self.left : self.left + self.width]

    def _tiled(self, grid: torch.Tensor) -> torch.Tensor:
        rows, columns, side, channels = self.num_rows, self.num_columns, self.window, grid.shape[-1]
        bottom = rows * side - self.top - self.height
        right = columns * side - self.left - self.width
        grid = F.pad(grid, (0, 0, self.left, right, self.top, bottom))
        grid = grid.reshape(-1, rows, side, columns, side, channels).transpose(2, 3)
        return grid.reshape(-1, side**2, channels)


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows; every second block shifts them, so that information crosses borders.

    Source: Liu et al. 2021, Swin, arXiv:2103.14030, without its position bias.
    """

    def __init__(self, dim: int, *, window: int, is_shifted: bool):
        super().__init__()
        self.window, self.is_shifted = window, is_shifted
        self.num_heads = dim // HEAD_DIM
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(dim, dim)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """Maps a grid (N, h, w, dim) to one of the same shape; padding gets no weight."""
        cut = Cut.of(grid.shape[1], grid.shape[2], self.window, is_shifted=self.is_shifted)
        windows = cut.split(grid)
        qkv = self.qkv(windows.tokens).unflatten(-1, (3, self.num_heads, HEAD_DIM))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (N·windows, heads, window², HEAD_DIM) each
        mask = None
        if windows.is_real is not None:
            mask = windows.is_real.repeat(len(grid), 1)[:, None, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return cut.join(self.project(attended.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Positions, attention among fewer tokens, expansion to all of them, and an MLP, each beside a residual.

    Source: token reduction by a strided convolution as in Wang et al. 2021, PVT, arXiv:2102.12122, here of queries too;
    positions by a depthwise convolution, Chu et al. 2021, arXiv:2102.10882.
    """

    def __init__(self, dim: int, *, reduction: int, window: int, is_shifted: bool):
        super().__init__()
        self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.reduce = nn.Conv2d(dim, dim, reduction, stride=reduction)
        self.attention = WindowAttention(dim, window=window, is_shifted=is_shifted)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, MLP_RATIO * dim), nn.GELU(), nn.Linear(MLP_RATIO * dim, dim)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """A grid of tokens (N, h, w, dim) to one of the same shape; h and w must divide by the reduction."""
        tokens = tokens + _channels_last(self.position(_channels_first(tokens)))
        reduced = _channels_last(self.reduce(_channels_first(self.norm(tokens))))
        attended = _channels_first(self.attention(reduced))
        expanded = F.interpolate(attended, size=tokens.shape[1:3], mode="bilinear", align_corners=False)
        tokens = tokens + _channels_last(expanded)
        refined: torch.Tensor = tokens + self.mlp(tokens)
        return refined


class LavitEncoder(nn.Module):
    """Patch embedding by a strided convolution, then blocks that all see the same number of tokens."""

    def __init__(self, in_channels: int, dim: int, *, depth: int, reduction: int, window: int):
        super().__init__()
        self.embed = nn.Conv2d(in_channels, dim, PATCH_PX, stride=PATCH_PX)
        self.blocks = nn.ModuleList(
            Block(dim, reduction=reduction, window=window, is_shifted=number % 2 == 1) for number in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to features (N, dim, H/4, W/4)."""
        tokens = _channels_last(self.embed(x))
        for block in self.blocks:
            tokens = block(tokens)
        return _channels_first(self.norm(tokens))


class Lavit(nn.Module):
    """The encoder under a light convolutional decoder: twice half the channels and twice the side.

    Source: the LAViT roads system, a family of ideas and no single paper: less attention for the same tokens as in
    Less-Attention ViT, arXiv:2406.00427, and windows as in Swin, arXiv:2103.14030; all widths are ours.
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        *,
        dim: int,
        depth: int,
        reduction: int,
        window: int,
        decoder_dropout: float,
    ):
        super().__init__()
        self.encoder = LavitEncoder(in_channels, dim, depth=depth, reduction=reduction, window=window)
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, i // 2, 3, padding=1, bias=False), nn.BatchNorm2d(i // 2), nn.ReLU(inplace=True))
            for i in (dim, dim // 2)
        )
        self.dropout = nn.Dropout2d(decoder_dropout)
        self.head = nn.Conv2d(dim // 4, num_outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to logits (N, K, H, W); H and W must divide by 4·reduction."""
        x = self.encoder(x)
        for block in self.decoder:
            x = F.interpolate(self.dropout(block(x)), scale_factor=2, mode="bilinear", align_corners=False)
        logits: torch.Tensor = self.head(x)
        return logits


def lavit(spec: ModelSpec) -> nn.Module:
    """LAViT of width 256, or 64 as the small variant."""
    return Lavit(
        spec.num_bands,
        spec.num_outputs,
        dim=64 if spec.small else 256,
        depth=spec.settings["depth"],
        reduction=spec.settings["token_reduction"],
        window=spec.settings["attention_window"],
        decoder_dropout=spec.decoder_dropout,
    )


def _channels_first(grid: torch.Tensor) -> torch.Tensor:
    return grid.permute(0, 3, 1, 2)


def _channels_last(grid: torch.Tensor) -> torch.Tensor:
    return grid.permute(0, 2, 3, 1)
