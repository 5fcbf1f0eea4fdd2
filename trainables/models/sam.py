"""SAM's image encoder, frozen, under two decoders: convolutions alone, or a U-Net with skips from inside it."""

import functools

import torch
from segment_anything.modeling.image_encoder import ImageEncoderViT
from torch import nn

from trainables.common.errors import UserError
from trainables.models.frozen import FrozenEncoder
from trainables.models.spec import ModelSpec
from trainables.models.state_dicts import read_state, take_bands
from trainables.models.unet import conv_block
from trainables.models.weights import fetch_weights

ENCODER = "sam_vit_b"

SIDE_PX = 1024
"""The one input side that the full encoder takes: its position embeddings are a table of 64×64 patches."""

SKIP_BLOCKS = (3, 6, 9, 12)
"""Transformer blocks, counted from 1, whose output the U-Net decoder gets. Source: the reference study."""

RANDOM_SEED = 0
"""Of an encoder without pretrained weights: like a pretrained one it is the same in all trials."""


class SamEncoder(FrozenEncoder):
    """SAM's ViT, frozen.

    Attributes:
        dim: C of the blocks' features.
        neck_dim: C of the neck's features.
    """

    def __init__(self, vit: nn.Module, *, dim: int, neck_dim: int):
        super().__init__(vit)
        self.dim, self.neck_dim = dim, neck_dim

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(N, C, H, W) to features of H/16 × W/16: the neck's (neck_dim channels) and those of `SKIP_BLOCKS` (dim)."""
        x = self.inner.patch_embed(x)
        if self.inner.pos_embed is not None:
            x = x + self.inner.pos_embed
        skips = []
        for number, block in enumerate(self.inner.blocks, start=1):
            x = block(x)
            if number in SKIP_BLOCKS:
                skips.append(x.permute(0, 3, 1, 2))
        return self.inner.neck(x.permute(0, 3, 1, 2)), skips


class SamConv(nn.Module):
    """Conv decoder on the neck's features alone: four times twice the side and half the channels.

    Source: attempt 04 of the reference study; the decoder's layers are ours.
    """

    def __init__(self, encoder: SamEncoder, num_outputs: int, *, width: int, decoder_dropout: float):
        super().__init__()
        self.encoder = encoder
        widths = [width // 2**stage for stage in range(5)]
        self.stem = conv_block(encoder.neck_dim, width)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[1:])
        self.decoder = nn.ModuleList(conv_block(w, w) for w in widths[1:])
        self.dropout = nn.Dropout2d(decoder_dropout)
        self.head = nn.Conv2d(widths[-1], num_outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to logits (N, K, H, W); H and W must divide by 16."""
        x = self.stem(self.encoder(x)[0])
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(up(self.dropout(x)))
        logits: torch.Tensor = self.head(x)
        return logits


class SamUNet(nn.Module):
    """U-Net decoder: the last block's features at 1/16, those of the earlier ones raised to 1/8, 1/4 and 1/2 as skips.

    Source: attempt 05 of the reference study, after Hatamizadeh et al. 2022 (UNETR), arXiv:2103.10504; the decoder's
    widths are ours.
    """

    def __init__(self, encoder: SamEncoder, num_outputs: int, *, width: int, decoder_dropout: float):
        super().__init__()
        self.encoder = encoder
        widths = [width // 2**stage for stage in range(4)]
        self.stem = nn.Sequential(
            nn.Conv2d(encoder.dim, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths)
        self.skips = nn.ModuleList(_raised(encoder.dim, w, times) for times, w in enumerate(widths[:-1], start=1))
        # The last stage has no skip: no block of the encoder sees anything finer than its 16×16 patches
        self.decoder = nn.ModuleList(
            conv_block(w if stage == len(widths) - 1 else 2 * w, w) for stage, w in enumerate(widths)
        )
        self.dropout = nn.Dropout2d(decoder_dropout)
        self.head = nn.Conv2d(widths[-1], num_outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to logits (N, K, H, W); H and W must divide by 16."""
        _, (*skips, x) = self.encoder(x)
        x = self.stem(x)
        for stage, (up, block) in enumerate(zip(self.up, self.decoder, strict=True)):
            x = up(self.dropout(x))
            if stage < len(self.skips):
                x = torch.cat([x, self.skips[stage](skips[-1 - stage])], dim=1)
            x = block(x)
        logits: torch.Tensor = self.head(x)
        return logits


def sam_conv(spec: ModelSpec) -> nn.Module:
    """Attempt 04: 1.7 M trainable parameters over 89.7 M frozen ones."""
    width = 64 if spec.small else 256
    return SamConv(_encoder(spec), spec.num_outputs, width=width, decoder_dropout=spec.decoder_dropout)


def sam_unet(spec: ModelSpec) -> nn.Module:
    """Attempt 05: 7.4 M trainable parameters over 89.7 M frozen ones."""
    width = 64 if spec.small else 256
    return SamUNet(_encoder(spec), spec.num_outputs, width=width, decoder_dropout=spec.decoder_dropout)


def _raised(in_channels: int, out_channels: int, times: int) -> nn.Sequential:
    """Projects features to `out_channels` and doubles their side `times`."""
    layers: list[nn.Module] = [nn.Conv2d(in_channels, out_channels, 1)]
    for _ in range(times):
        layers += [
            nn.ConvTranspose2d(out_channels, out_channels, 2, stride=2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _encoder(spec: ModelSpec) -> SamEncoder:
    """The encoder of a spec: SAM's weights, or random ones from a fixed seed."""
    path = fetch_weights(spec.weights, ENCODER, spec.weights_digest)
    assert not (spec.small and path), "`check_config` refuses weights for the small variant"
    dim, neck_dim = (192, 64) if spec.small else (768, 256)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        vit = ImageEncoderViT(
            img_size=SIDE_PX,
            in_chans=spec.num_bands if path is None else 3,
            embed_dim=dim,
            depth=12,
            num_heads=3 if spec.small else 12,
            out_chans=neck_dim,
            norm_layer=functools.partial(nn.LayerNorm, eps=1e-6),
            use_abs_pos=not spec.small,  # without the table of positions the small one takes any size
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=() if spec.small else (2, 5, 8, 11),
        )
    if path is not None:
        prefix = "image_encoder."
        state = {key.removeprefix(prefix): value for key, value in read_state(path).items() if key.startswith(prefix)}
        try:
            vit.load_state_dict(state)
        except RuntimeError as error:
            raise UserError(f"{path} does not fit SAM's ViT-B: pass sam_vit_b_01ec64.pth") from error
        take_bands(vit.patch_embed.proj, spec.num_bands)
    return SamEncoder(vit, dim=dim, neck_dim=neck_dim)
