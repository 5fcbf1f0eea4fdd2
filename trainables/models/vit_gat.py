"""A vision transformer whose patches are the nodes of a fully connected graph with attention."""

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import nn

from trainables.common.errors import UserError
from trainables.models.spec import ModelSpec
from trainables.models.state_dicts import read_state, take_bands
from trainables.models.weights import fetch_weights

ENCODER = "vit_small_patch16_224"

SLOPE = 0.2
"""Of LeakyReLU below zero. Source: Velickovic et al. 2018, section 2.1."""


class ViTEncoder(nn.Module):
    """Patch embeddings, and a transformer that refines them; it has no class token, since images are not classified.

    Attributes:
        vit: Timm's `VisionTransformer`; its positions are interpolated to the grid of any image.
        dim: C of both grids.
    """

    vit: Any

    def __init__(self, vit: nn.Module):
        super().__init__()
        self.vit = vit
        self.dim: int = self.vit.embed_dim

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, H, W) to two grids (N, H/patch, W/patch, dim): the patch embeddings and the refined ones."""
        embedded = self.vit.patch_embed(x)
        tokens = self.vit.blocks(self.vit._pos_embed(embedded))
        return embedded, self.vit.norm(tokens).view(embedded.shape)


class GraphAttention(nn.Module):
    """One graph attention layer over a fully connected graph whose edges have affinities.

    For node i and neighbour j, which may be i itself, and per head: W x is the projection, the score is
    LeakyReLU(a·W x_i + b·W x_j) + affinity_ij, its softmax over j weighs W x_j, and ELU comes last. Heads are
    concatenated.

    PyTorch Geometric's DenseGATConv does not fit: it takes the adjacency as a mask, 0 or not, and so loses affinities.

    Memory: some arrays of heads·num_nodes² numbers per image, e.g. 4·4096² float32 = 256 MiB each at 1024² and
    patches of 16 px.

    Source: Velickovic et al. 2018, arXiv:1710.10903, eqs. 1 to 5; the affinity is the cloud system's.
    """

    def __init__(self, in_channels: int, channels_per_head: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.project = nn.Linear(in_channels, num_heads * channels_per_head, bias=False)
        self.of_node = nn.Parameter(torch.empty(num_heads, channels_per_head))
        self.of_neighbour = nn.Parameter(torch.empty(num_heads, channels_per_head))
        self.bias = nn.Parameter(torch.zeros(num_heads * channels_per_head))
        for parameter in (self.project.weight, self.of_node, self.of_neighbour):
            nn.init.xavier_uniform_(parameter)

    def forward(self, nodes: torch.Tensor, affinity: torch.Tensor) -> torch.Tensor:
        """Nodes (N, V, in_channels) and affinities (N, V, V) to nodes (N, V, num_heads·channels_per_head)."""
        projected = self.project(nodes).unflatten(-1, (self.num_heads, -1))  # (N, V, heads, c)
        to_node = (projected * self.of_node).sum(-1).transpose(1, 2)  # (N, heads, V)
        to_neighbour = (projected * self.of_neighbour).sum(-1).transpose(1, 2)
        scores = F.leaky_relu(to_node[..., :, None] + to_neighbour[..., None, :], SLOPE) + affinity[:, None]
        gathered = scores.softmax(dim=-1).to(projected.dtype) @ projected.transpose(1, 2)  # (N, heads, V, c)
        return F.elu(gathered.transpose(1, 2).flatten(2) + self.bias)


class ViTGAT(nn.Module):
    """Encoder, graph attention, and a decoder of one convolution on both grids.

    Source: the cloud segmentation system (ViT and graph attention); widths and the number of heads are ours.
    """

    def __init__(
        self,
        encoder: ViTEncoder,
        num_outputs: int,
        *,
        channels_per_head: int,
        num_heads: int,
        width: int,
        decoder_dropout: float,
    ):
        super().__init__()
        self.encoder = encoder
        self.gat = GraphAttention(encoder.dim, channels_per_head, num_heads)
        self.fuse = nn.Conv2d(num_heads * channels_per_head + encoder.dim, width, 3, padding=1)
        self.dropout = nn.Dropout2d(decoder_dropout)
        self.head = nn.Conv2d(width, num_outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to logits (N, K, H, W); H and W must divide by the patch's side."""
        skip, refined = self.encoder(x)
        nodes = refined.flatten(1, 2)
        gathered = self.gat(nodes, affinity_of(nodes)).view(*skip.shape[:3], -1)
        grid = torch.cat([gathered, skip], dim=-1).permute(0, 3, 1, 2)
        logits = self.head(self.dropout(F.relu(self.fuse(grid))))
        # The source raises the features and then projects each pixel; both are linear and bilinear weights sum to 1, so
        # the order makes no difference but to memory
        return F.interpolate(logits, size=x.shape[2:], mode="bilinear", align_corners=False)


def affinity_of(nodes: torch.Tensor) -> torch.Tensor:
    """Dot products of all pairs of nodes (N, V, C), over C: (N, V, V).

    Layer norm leaves nodes a length of about √C, so they lie within about ±1; without that every node's own product
    (C itself) would leave nothing to its neighbours in the softmax.
    """
    return nodes @ nodes.transpose(1, 2) / nodes.shape[-1]


def vit_gat(spec: ModelSpec) -> nn.Module:
    """ViT-S/16 under graph attention, or a narrow one with patches of 8 px as the small variant.

    Raises:
        UserError: The weights do not fit.
    """
    path = fetch_weights(spec.weights, ENCODER, spec.weights_digest)
    assert not (spec.small and path), "`check_config` refuses weights for the small variant"
    small = {"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3} if spec.small else {}
    vit = timm.create_model(
        ENCODER,
        pretrained=False,
        in_chans=spec.num_bands if path is None else 3,
        num_classes=0,
        class_token=False,
        global_pool="",
        dynamic_img_size=True,
        **small,
    )
    if path is not None:
        try:
            vit.load_state_dict(_without_class(read_state(path), vit.pos_embed.shape[1]))
        except RuntimeError as error:
            raise UserError(f"{path} does not fit {ENCODER}: pass a state dict of timm's {ENCODER}") from error
        take_bands(vit.patch_embed.proj, spec.num_bands)
    return ViTGAT(
        ViTEncoder(vit),
        spec.num_outputs,
        # The projection is wider than the nodes, as in the source
        channels_per_head=32 if spec.small else 128,
        num_heads=4,
        width=64 if spec.small else 256,
        decoder_dropout=spec.decoder_dropout,
    )


def _without_class(state: dict[str, torch.Tensor], num_patches: int) -> dict[str, torch.Tensor]:
    """Leaves out what only a classifier needs: its head, the class token and that token's position, the first one."""
    state = {key: value for key, value in state.items() if key != "cls_token" and not key.startswith("head.")}
    if "pos_embed" in state:
        state["pos_embed"] = state["pos_embed"][:, -num_patches:]
    return state
