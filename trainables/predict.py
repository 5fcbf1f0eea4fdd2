"""From a network to scores and masks: reflect-pads tiles to the stride, predicts and crops back."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainables.losses import Loss
from trainables.metrics import Scores, confusion, scores
from trainables.tiles import DatasetInfo, Tiles


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model came to on a split.

    Attributes:
        loss: Mean over the tiles that have a pixel that counts; NaN where none has.
        scores: Of the split.
        predictions: (H, W) uint8 class indices of each tile.
        only_class: The one that all pixels that count were predicted as; None where there were several.
        confusions: (K, K) pixel counts of each tile, rows truth and columns prediction.
        probabilities: (H, W) uint8 of each tile, the foreground's probability times 255, where asked for.
    """

    loss: float
    scores: Scores
    predictions: tuple[NDArray[np.uint8], ...]
    only_class: int | None = None
    confusions: tuple[NDArray[np.int64], ...] = ()
    probabilities: tuple[NDArray[np.uint8], ...] = ()


def to_tensor(image: NDArray[Any], scale: float, device: torch.device) -> torch.Tensor:
    """(H, W, C) as stored to scaled (1, C, H, W) float32 on `device`."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return (pixels.to(device, torch.float32) * scale)[None]


def predict_logits(
    model: nn.Module, image: NDArray[Any], *, scale: float, stride: int, device: torch.device
) -> torch.Tensor:
    """Logits (K, H, W) float32 of one whole tile (H, W, C), whatever its size: nothing is resized.

    The tile is reflect-padded at its bottom and right to a multiple of `stride`, and the logits are cropped back.
    """
    height, width = image.shape[:2]
    bottom, right = -height % stride, -width % stride
    if bottom or right:
        image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="reflect")
    logits: torch.Tensor = model(to_tensor(image, scale, device))
    return logits[0, :, :height, :width].float()


def to_classes(logits: torch.Tensor) -> NDArray[np.uint8]:
    """(K, H, W) logits to (H, W) uint8 class indices: probability above 0.5 for K = 1, else the largest."""
    classes = (logits[0] > 0) if logits.shape[0] == 1 else logits.argmax(dim=0)
    result: NDArray[np.uint8] = classes.to(torch.uint8).cpu().numpy()
    return result


def evaluate(
    model: nn.Module,
    tiles: Tiles,
    info: DatasetInfo,
    *,
    stride: int,
    loss: Loss,
    device: torch.device,
    before_tile: Callable[[], None] = lambda: None,
    keeps_probabilities: bool = False,
) -> Evaluation:
    """Loss and scores of a model over tiles, in inference mode; the model's own mode is put back.

    `before_tile` is called before each tile; what it raises ends the evaluation. `keeps_probabilities` asks for those
    of the foreground of two classes.
    """
    assert info.scale is not None, "read_dataset fills the scale in"
    losses, confusions, predictions, probabilities = [], [], [], []
    with _inference(model):
        for image, mask in zip(tiles.images, tiles.masks, strict=True):
            before_tile()
            logits = predict_logits(model, image, scale=info.scale, stride=stride, device=device)
            truth = torch.from_numpy(np.array(mask)).to(device)
            losses.append(loss(logits[None], truth[None]).item())
            predictions.append(to_classes(logits))
            confusions.append(confusion(predictions[-1], mask, len(info.classes)))
            if keeps_probabilities and len(logits) == 1:
                probabilities.append((255 * logits[0].sigmoid()).round().to(torch.uint8).cpu().numpy())
    predicted = np.flatnonzero(np.sum(confusions, axis=(0, 1)))
    only_class = int(predicted[0]) if len(predicted) == 1 else None
    scored = [loss for loss, matrix in zip(losses, confusions, strict=True) if matrix.any()]
    return Evaluation(
        float(np.mean(scored)) if scored else math.nan,
        scores(confusions),
        tuple(predictions),
        only_class,
        tuple(confusions),
        tuple(probabilities),
    )


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
