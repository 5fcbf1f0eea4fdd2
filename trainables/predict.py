"""Predicts tiles and scores predictions; tiles are reflect-padded to the stride, large ones predicted by windows."""

import math
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainables.data.tiles import IGNORE, DatasetInfo, Tiles
from trainables.data.windows import WHOLE_PX, Span, cut, windows
from trainables.losses import Loss
from trainables.metrics import Scores, confusion, only_class, scores

OnTile = Callable[[int, NDArray[np.uint8], NDArray[np.uint8] | None], None]
"""Takes a tile's index, its (H, W) class indices and (H, W) the foreground's probability times 255, if it has one."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Loss, scores and predictions of a model on a split.

    Attributes:
        loss: Mean over the tiles that have a pixel that counts; NaN where none has.
        scores: Of the split.
        predictions: (H, W) uint8 class indices of each tile whose prediction is kept, in the tiles' order.
        only_class: The class that all pixels that count were predicted as; None if there were several.
        confusions: (K, K) pixel counts of each tile, rows truth and columns prediction.
        probabilities: (H, W) uint8, the foreground's probability times 255, of each tile where they are kept.
    """

    loss: float
    scores: Scores
    predictions: tuple[NDArray[np.uint8], ...]
    only_class: int | None = None
    confusions: tuple[NDArray[np.int64], ...] = ()
    probabilities: tuple[NDArray[np.uint8], ...] = ()


def to_tensor(
    image: NDArray[Any], scale: float, device: torch.device, missing: NDArray[np.bool_] | None = None
) -> torch.Tensor:
    """(H, W, C) as stored to scaled (1, C, H, W) float32 on `device`, NaN where (H, W) `missing` is true."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    scaled = pixels.to(device, torch.float32) * scale
    if missing is not None:
        scaled[:, torch.from_numpy(np.array(missing)).to(device)] = torch.nan
    return scaled[None]


class Part(NamedTuple):
    """The logits of one window of a tile.

    Attributes:
        rows: The rows of the tile that they are of.
        columns: The columns.
        logits: (K, rows, columns) float32, on the device that they were computed on.
    """

    rows: slice
    columns: slice
    logits: torch.Tensor


def predict_parts(
    model: nn.Module,
    image: NDArray[Any],
    *,
    scale: float,
    stride: int,
    device: torch.device,
    window_px: int | None = None,
    missing: NDArray[np.bool_] | None = None,
) -> Iterator[Part]:
    """Logits of a tile (H, W, C) of any size, nothing resized: in one part, or in one per window where it is large.

    The tile is reflect-padded at its bottom and right to a multiple of `stride`, and the logits are cropped back. A
    tile of more than `WHOLE_PX` (or the model's own `whole_px`) squared is predicted by windows of that side. They
    overlap, and of each its middle is kept (see `windows.margin_of`). So each pixel has its logits from one window, the
    same on every machine: those of the whole tile where the network sees no farther than the margin, as `unet` does,
    and close to them elsewhere. What a network pools over a whole image it pools over the window. A model that takes
    one side only (`only_px`) gets windows of that side, of smaller tiles by reflection.

    Args:
        model: Scaled pixels to logits; a `Segmenter` says by itself which sides it takes.
        image: As stored.
        scale: Factor on stored pixels.
        stride: See `Architecture.stride`.
        device: Where the model is.
        window_px: Another side for windows, rounded down to `stride`: of any tile with a longer side, where memory is
            scarce. A model of one side keeps to that.
        missing: (H, W), true where the image has no data, whatever its pixels are there; None where it has everywhere.
    """
    height, width = image.shape[:2]
    only_px: int | None = getattr(model, "only_px", None)
    whole_px: int = getattr(model, "whole_px", WHOLE_PX)
    tile = cut(height, width, stride=stride, only_px=only_px, whole_px=whole_px, window_px=window_px)
    bottom, right = tile.height - height, tile.width - width
    if bottom or right:
        image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="reflect")
        missing = None if missing is None else np.pad(missing, ((0, bottom), (0, right)), mode="reflect")
    for window in windows(tile.height, tile.width, window_px=tile.window_px, stride=stride):
        rows, columns = window.rows, window.columns
        seen = (slice(rows.start, rows.stop), slice(columns.start, columns.stop))
        pixels = to_tensor(image[seen], scale, device, None if missing is None else missing[seen])
        logits = _logits(model, pixels)
        kept_rows, kept_columns = _kept(rows, height), _kept(columns, width)
        inner = (_shifted(kept_rows, -rows.start), _shifted(kept_columns, -columns.start))
        yield Part(kept_rows, kept_columns, logits[0, :, inner[0], inner[1]].float())


def _logits(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """The model's logits; where activations leave float16's range, which is small, those of float32."""
    logits: torch.Tensor = model(pixels)
    kind = pixels.device.type
    if torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16 and not _is_finite(logits):
        with torch.autocast(kind, enabled=False):
            logits = model(pixels)
    return logits


def _is_finite(logits: torch.Tensor) -> bool:
    return bool(logits.isfinite().all())


def _kept(span: Span, length: int) -> slice:
    """The part of a window that is kept, without the padding of the tile."""
    return slice(span.kept_start, min(span.kept_stop, length))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def predict_logits(
    model: nn.Module,
    image: NDArray[Any],
    *,
    scale: float,
    stride: int,
    device: torch.device,
    window_px: int | None = None,
    missing: NDArray[np.bool_] | None = None,
) -> torch.Tensor:
    """Logits (K, H, W) float32 of one whole tile (H, W, C); see `predict_parts`.

    They are on `device`, or on the CPU where several windows made them: of a large tile with many classes they may not
    fit elsewhere.
    """
    whole: torch.Tensor | None = None
    for part in predict_parts(
        model, image, scale=scale, stride=stride, device=device, window_px=window_px, missing=missing
    ):
        if part.logits.shape[1:] == image.shape[:2]:
            return part.logits
        if whole is None:
            whole = torch.empty(len(part.logits), *image.shape[:2])
        whole[:, part.rows, part.columns] = part.logits.cpu()
    assert whole is not None, "every tile has a window"
    return whole


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
    on_tile: OnTile | None = None,
    keeps_predictions: bool | Container[int] = True,
    keeps_probabilities: bool | Container[int] = False,
    window_px: int | None = None,
) -> Evaluation:
    """Loss and scores of a model over tiles, in inference mode; the model's own mode is put back.

    Besides what is kept, memory holds the pixels of one tile and the logits of one window at a time (see
    `predict_parts`). The loss of a tile that is predicted by windows is the mean over its parts, weighted by their
    pixels that count.

    Args:
        model: Scaled pixels to logits.
        tiles: What to predict.
        info: Their classes and scale.
        stride: See `Architecture.stride`.
        loss: What is averaged over tiles.
        device: Where the model is.
        before_tile: Called before each tile, and between the windows of a large one; an exception that it raises ends
            the evaluation.
        on_tile: Called after each tile with its index, its prediction and its probabilities; it may change the arrays
            unless they are kept.
        keeps_predictions: Whether to keep predictions; or the indices of the tiles whose predictions to keep.
        keeps_probabilities: The same for probabilities, which binary tasks have.
        window_px: See `predict_parts`.
    """
    assert info.scale is not None, "decode_train_val fills the scale in"
    losses, confusions, predictions, probabilities = [], [], [], []
    with _inference(model):
        for index, (image, mask) in enumerate(zip(tiles.images, tiles.masks, strict=True)):
            has_probability = info.num_outputs == 1 and (on_tile is not None or _has(keeps_probabilities, index))
            prediction = np.empty(mask.shape, np.uint8)
            probability = np.empty(mask.shape, np.uint8) if has_probability else None
            matrix = np.zeros((len(info.classes), len(info.classes)), np.int64)
            part_losses: list[float] = []
            weights: list[int] = []
            before_tile()
            for part in predict_parts(
                model,
                image,
                scale=info.scale,
                stride=stride,
                device=device,
                window_px=window_px,
                missing=tiles.missing(index),
            ):
                if part_losses:
                    before_tile()
                where = (part.rows, part.columns)
                truth = torch.from_numpy(np.array(mask[where])).to(device)
                part_losses.append(loss(part.logits[None], truth[None]).item())
                weights.append(int((mask[where] != IGNORE).sum()))
                prediction[where] = to_classes(part.logits)
                matrix += confusion(prediction[where], mask[where], len(info.classes))
                if probability is not None:
                    probability[where] = (255 * part.logits[0].sigmoid()).round().to(torch.uint8).cpu().numpy()
            losses.append(part_losses[0] if len(part_losses) == 1 else _mean(part_losses, weights))
            confusions.append(matrix)
            if on_tile is not None:
                on_tile(index, prediction, probability)
            if _has(keeps_predictions, index):
                predictions.append(prediction)
            if probability is not None and _has(keeps_probabilities, index):
                probabilities.append(probability)
    scored = [loss for loss, matrix in zip(losses, confusions, strict=True) if matrix.any()]
    return Evaluation(
        float(np.mean(scored)) if scored else math.nan,
        scores(confusions),
        tuple(predictions),
        only_class(confusions),
        tuple(confusions),
        tuple(probabilities),
    )


def _has(kept: bool | Container[int], index: int) -> bool:
    return kept if isinstance(kept, bool) else index in kept


def _mean(values: Sequence[float], weights: Sequence[int]) -> float:
    """Weighted; 0, as losses are, where nothing counts."""
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / max(1, sum(weights))


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
