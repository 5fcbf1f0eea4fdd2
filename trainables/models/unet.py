"""U-Net from scratch: the floor that every pretrained architecture has to beat."""

import torch
from torch import nn

from trainables.models.spec import ModelSpec


def conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Twice 3×3 convolution, batch norm, ReLU; keeps height and width."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Four stages down, four up, skips between; Dropout2d between decoder stages.

    Source: Ronneberger et al. 2015, arXiv:1505.04597, with padding and batch norm, so that the output has the input's
    size.
    """

    def __init__(self, in_channels: int, num_outputs: int, *, width: int = 64, decoder_dropout: float = 0.0):
        super().__init__()
        widths = [width * 2**stage for stage in range(5)]
        inputs = [in_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(conv_block(i, o) for i, o in zip(inputs, widths, strict=True))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(conv_block(2 * w, w) for w in reversed(widths[:-1]))
        self.dropout = nn.Dropout2d(decoder_dropout)
        self.head = nn.Conv2d(width, num_outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to logits (N, K, H, W); H and W must divide by 16."""
        skips: list[torch.Tensor] = []
        for stage, block in enumerate(self.encoder):
            x = block(self.pool(x) if stage else x)
            skips.append(x)
        skips.pop()
        for stage, (up, block) in enumerate(zip(self.up, self.decoder, strict=True)):
            if stage:
                x = self.dropout(x)
            x = block(torch.cat([up(x), skips.pop()], dim=1))
        logits: torch.Tensor = self.head(x)
        return logits


def unet(spec: ModelSpec) -> nn.Module:
    """Attempt 01: 31.0 M parameters at its usual base width of 64; the small one has a quarter of the width."""
    return UNet(spec.num_bands, spec.num_outputs, width=16 if spec.small else 64, decoder_dropout=spec.decoder_dropout)


def unet_width16(spec: ModelSpec) -> nn.Module:
    """The U-Net that a CPU can train: 1.9 M parameters at a base width of 16."""
    return UNet(spec.num_bands, spec.num_outputs, width=16, decoder_dropout=spec.decoder_dropout)
