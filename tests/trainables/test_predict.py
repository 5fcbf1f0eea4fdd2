from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainables.network_input import Brightness, Recorder
from trainables.data.tiles import IGNORE
from trainables.losses import Loss, segmentation_loss
from trainables.metrics import confusion, scores
from trainables.predict import evaluate, predict_logits, to_classes, to_tensor

CPU = torch.device("cpu")
ARGS: dict[str, Any] = {"stride": 16, "loss": Loss(bce_weight=0.5), "device": CPU}


def test_predict_logits_pads_with_reflections_at_the_bottom_and_right():
    model = Recorder()
    predict_logits(model, np.arange(6, dtype=np.uint8).reshape(2, 3, 1), scale=1.0, stride=4, device=CPU)
    assert model.seen[0][0, 0].tolist() == [[0, 1, 2, 1], [3, 4, 5, 4], [0, 1, 2, 1], [3, 4, 5, 4]]


class Large(nn.Module):
    """Features of 1000 times the input, and half of them as logits: a product, which autocast computes in its type."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[torch.dtype] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = x.movedim(1, 3) @ torch.full((1, 1), 1000.0)
        self.dtypes.append(features.dtype)
        return (features.float() * 0.5).movedim(3, 1)


@pytest.mark.parametrize(
    ("dtype", "level", "dtypes"),
    [
        (torch.float16, 60.0, [torch.float16]),
        (torch.float16, 80.0, [torch.float16, torch.float32]),  # float16 ends at 65504
        (torch.bfloat16, 80.0, [torch.bfloat16]),
        (None, 80.0, [torch.float32]),
    ],
)
def test_predict_logits_beyond_float16_are_those_of_float32(dtype, level, dtypes):
    model = Large()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        logits = predict_logits(model, np.full((4, 4, 1), level, np.float32), scale=1.0, stride=4, device=CPU)
    assert torch.allclose(logits, torch.full((1, 4, 4), 500 * level), rtol=5e-3)
    assert model.dtypes == dtypes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_to_tensor_scales_any_type_and_takes_views(dtype):
    image = np.arange(48).reshape(4, 4, 3).astype(dtype)[1:3, 1:3]
    tensor = to_tensor(image, 0.5, CPU)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 2, 2), torch.float32)
    assert np.array_equal(tensor[0].numpy(), image.transpose(2, 0, 1) * np.float32(0.5))


def test_to_classes_is_above_one_half_or_the_largest():
    binary = torch.tensor([[[-0.1, 0.0], [0.1, 5.0]]])
    assert to_classes(binary).tolist() == [[0, 0], [1, 1]]
    three = torch.tensor([[[1.0, 0.0]], [[0.5, 2.0]], [[0.9, 3.0]]])
    assert to_classes(three).tolist() == [[0, 2]]
    assert to_classes(binary).dtype == np.uint8


def test_evaluate_scores_whole_tiles(tiles):
    result = evaluate(Brightness(), tiles.val, tiles.info, stride=24, loss=Loss(bce_weight=0.5), device=CPU)
    expected = [(image[..., 0] > 127).astype(np.uint8) for image in tiles.val.images]
    assert all(np.array_equal(one, other) for one, other in zip(result.predictions, expected, strict=True))
    assert result.scores == scores([confusion(p, t, 2) for p, t in zip(expected, tiles.val.masks, strict=True)])
    assert 0 < result.scores.iou < 1
    losses = [
        segmentation_loss(
            torch.from_numpy(image[None, None, ..., 0] / np.float32(255)) - 0.5, torch.from_numpy(mask)[None], 0.5
        ).item()
        for image, mask in zip(tiles.val.images, tiles.val.masks, strict=True)
    ]
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_evaluate_leaves_ignored_pixels_out(tiles):
    masks = [mask.copy() for mask in tiles.val.masks]
    for mask, image in zip(masks, tiles.val.images, strict=True):
        mask[(image[..., 0] > 127) != (mask == 1)] = IGNORE  # every pixel that the model gets wrong
    result = evaluate(Brightness(), replace(tiles.val, masks=tuple(masks)), tiles.info, **ARGS)
    assert result.scores.iou == 1


def test_evaluate_leaves_tiles_without_a_scored_pixel_out_of_every_mean(tiles):
    one = tiles.val.take([0])
    void = replace(one, masks=(np.full_like(one.masks[0], IGNORE),))
    both = replace(one, ids=("a", "b"), images=2 * one.images, masks=one.masks + void.masks)
    alone = evaluate(Constant(-1.0), one, tiles.info, **ARGS)
    result = evaluate(Constant(-1.0), both, tiles.info, **ARGS)
    assert (result.loss, result.scores.iou, result.scores.f1) == (alone.loss, alone.scores.iou, alone.scores.f1)
    assert np.isnan(result.scores.tile_iou[1])
    nothing = evaluate(Constant(-1.0), void, tiles.info, **ARGS)
    assert np.isnan([nothing.loss, nothing.scores.iou]).all()
    assert np.isnan(evaluate(Constant(np.nan), both, tiles.info, **ARGS).loss)  # of a tile that is scored


class Constant(nn.Module):
    """The same logit for every pixel."""

    def __init__(self, logit: float):
        super().__init__()
        self.logit = logit

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.full_like(pixels[:, :1], self.logit)


def test_evaluate_names_the_only_class_of_a_collapsed_model(tiles):
    class OnePixel(Constant):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits = super().forward(pixels)
            logits[0, 0, 5, 7] *= -1
            return logits

    for logit, label in ((-1.0, 0), (1.0, 1)):
        assert evaluate(Constant(logit), tiles.val, tiles.info, **ARGS).only_class == label
    one = tiles.val.take([0])
    assert evaluate(OnePixel(-1.0), one, tiles.info, **ARGS).only_class is None
    mask = one.masks[0].copy()
    mask[5, 7] = IGNORE  # a pixel that does not count is no second class
    assert evaluate(OnePixel(-1.0), replace(one, masks=(mask,)), tiles.info, **ARGS).only_class == 0


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_puts_the_models_mode_back_also_after_an_error(tiles, training):
    model = nn.Sequential(Recorder(), Brightness()).train(training)
    evaluate(model, tiles.val, tiles.info, **ARGS)
    assert model[0].modes == [(False, True)] * 2
    assert model.training is training
    assert not torch.is_inference_mode_enabled()
    model[0].forward = lambda _: 1 / 0
    with pytest.raises(ZeroDivisionError):
        evaluate(model, tiles.val, tiles.info, **ARGS)
    assert model.training is training


def test_evaluate_keeps_probabilities_where_asked_for_and_confusions_always(tiles):
    result = evaluate(Constant(1.0), tiles.val, tiles.info, **ARGS, keeps_probabilities=True)
    # The logit 1 is the probability 0.7311, times 255
    assert [np.unique(its).tolist() for its in result.probabilities] == [[186]] * len(tiles.val)
    assert [its.shape for its in result.probabilities] == [mask.shape for mask in tiles.val.masks]
    result = evaluate(Constant(1.0), tiles.val, tiles.info, **ARGS)
    assert result.probabilities == ()
    for matrix, mask in zip(result.confusions, tiles.val.masks, strict=True):
        assert matrix.tolist() == [[0, int((mask == 0).sum())], [0, int((mask == 1).sum())]]
