"""Where one pixel of an image looks: SegFormer's self-attention from it, stage by stage, as arrays in a file."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.checkpoints import TrainedModel, load_model
from trainables.common.errors import UserError
from trainables.common.whole_files import write_whole
from trainables.data.formats.raster import read_image
from trainables.data.pictures import to_rgb
from trainables.predict import predict_logits

NUM_STAGES = 4

WITH_ATTENTION = ("segformer_mit_b3",)
"""Architectures whose encoder is a MiT."""


@dataclass(frozen=True, slots=True)
class Attention:
    """The self-attention of one module, for some of its tokens.

    Attributes:
        weights: (N, heads, queries, keys) float32 in 0..1; each query's sum to 1.
        values: (N, heads, keys, C/heads): what the weights weigh.
        key_grid: Rows and columns of the keys.
    """

    weights: torch.Tensor
    values: torch.Tensor
    key_grid: tuple[int, int]


def attention_of(module: Any, tokens: torch.Tensor, height: int, width: int, queries: torch.Tensor) -> Attention:
    """The efficient self-attention of a MiT block, which reduces keys and values by a strided convolution.

    Args:
        module: Its `attn`.
        tokens: (N, height·width, C), what the module is called with.
        height: Rows of the tokens' grid.
        width: Columns of it.
        queries: Indices of the tokens that look, row by row.

    Source: Xie et al. 2021, arXiv:2105.15203, eqs. 1 and 2, as in segmentation-models-pytorch's MiT.
    """
    batch_size, _, channels = tokens.shape
    split = (module.num_heads, channels // module.num_heads)
    query = module.q(tokens[:, queries]).unflatten(-1, split).transpose(1, 2)
    grid = (height, width)
    if module.sr_ratio > 1:
        reduced = module.sr(tokens.transpose(1, 2).reshape(batch_size, channels, height, width))
        grid = (reduced.shape[2], reduced.shape[3])
        tokens = module.norm(reduced.flatten(2).transpose(1, 2))
    key, value = module.kv(tokens).unflatten(-1, (2, *split)).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-2, -1) * module.scale).softmax(dim=-1)
    return Attention(weights, value, grid)


def stage_attentions(trained: TrainedModel, image: NDArray[Any], x: int, y: int) -> list[NDArray[np.float32]]:
    """From the token that has a pixel to all keys, in the last block of each stage.

    Args:
        trained: A SegFormer.
        image: (H, W, bands) as stored; it is reflect-padded at its bottom and right to the stride, as for prediction.
        x: Column of the pixel, from 0.
        y: Row of it, from 0.

    Returns:
        An array (heads, h, w) per stage, whose sum over keys is 1 for each head. Keys cover the padded image.
    """
    found: list[NDArray[np.float32]] = []
    height_px, width_px = (side + -side % trained.stride for side in image.shape[:2])

    def look(module: Any, arguments: tuple[torch.Tensor, int, int]) -> None:
        tokens, height, width = arguments
        query = y * height // height_px * width + x * width // width_px
        seen = attention_of(module, tokens, height, width, torch.tensor([query]))
        found.append(seen.weights[0, :, 0].reshape(-1, *seen.key_grid).float().cpu().numpy())

    encoder: Any = trained.model.encoder
    hooks = [
        getattr(encoder, f"block{stage}")[-1].attn.register_forward_pre_hook(look) for stage in range(1, NUM_STAGES + 1)
    ]
    assert trained.info.scale is not None, "checkpoints have it"
    try:
        with torch.inference_mode():
            predict_logits(
                trained.model,
                image,
                scale=trained.info.scale,
                stride=trained.stride,
                device=torch.device("cpu"),
                window_px=max(height_px, width_px),  # in one part, however large: attention is all over the image
            )
    finally:
        for hook in hooks:
            hook.remove()
    return found


def write_attention(
    checkpoint: Path, image_path: Path, x: int, y: int, to: Path, bands: Sequence[int] | None = None
) -> list[tuple[int, ...]]:
    """Writes the image, the pixel and the arrays of `stage_attentions`; returns the arrays' shapes.

    The file has `image` (H, W, 3) uint8 RGB, `pixel` (x, y), `padded_px` (height, width) that the keys cover, `model`
    (the architecture's label) and `stage1` to `stage4`, (heads, h, w) float32.

    Args:
        checkpoint: A `best.pt`.
        image_path: An image of any size.
        x: Column of the pixel, from 0.
        y: Row of it, from 0.
        to: The file to write.
        bands: Which bands of the image the model knows, from 1; all if None.

    Raises:
        UserError: The checkpoint or image cannot be read, do not belong together or are of another architecture, or the
            pixel is not in the image.
    """
    trained = load_model(checkpoint)
    if trained.config.architecture not in WITH_ATTENTION:
        raise UserError(
            f"{checkpoint} is of {trained.config.architecture}, but attention can be shown of "
            f"{' and '.join(WITH_ATTENTION)} only: pass a checkpoint of that"
        )
    image = read_image(image_path, len(trained.info.bands), as_stored=bands is not None)
    image = _with_bands(image, image_path, bands)
    height, width, num_bands = image.shape
    if num_bands != len(trained.info.bands):
        raise UserError(
            f"{image_path} has {num_bands} band{'s' * (num_bands > 1)}, but {checkpoint} was trained on "
            f"{len(trained.info.bands)} ({', '.join(trained.info.bands)}): name these by --bands, or pass an image "
            "with these"
        )
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(
            f"--pixel is {x} {y}, but {image_path} has columns 0 to {width - 1} and rows 0 to {height - 1}: choose one "
            "of these"
        )
    stages = stage_attentions(trained, image, x, y)
    padded = [side + -side % trained.stride for side in (height, width)]
    content: dict[str, Any] = {f"stage{number}": stage for number, stage in enumerate(stages, start=1)}
    content |= {"image": to_rgb(image, trained.info), "pixel": np.array([x, y]), "padded_px": np.array(padded)}
    packed = io.BytesIO()
    np.savez_compressed(packed, model=np.array(trained.config.label), **content)
    try:
        write_whole(to, packed.getvalue())
    except OSError as error:
        raise UserError(f"{to} cannot be written ({error}): make room, or choose another place by --to") from error
    return [stage.shape for stage in stages]


def _with_bands(image: NDArray[Any], path: Path, bands: Sequence[int] | None) -> NDArray[Any]:
    """The chosen bands of an image (H, W, bands), counted from 1; all if None."""
    if bands is None:
        return image
    if unknown := [band for band in bands if not 1 <= band <= image.shape[2]]:
        raise UserError(f"--bands names {unknown[0]}, but {path} has bands 1 to {image.shape[2]}: name some of these")
    return image[..., [band - 1 for band in bands]]
