"""Tiles by windows: they cover each pixel once, and networks that see no farther than the margin say the same."""

import math
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.trainables.network_input import Brightness, Recorder
from trainables.data.tiles import IGNORE, DatasetInfo, Tiles
from trainables.data.windows import MARGIN_PX, cut, margin_of, windows
from trainables.losses import Loss
from trainables.models.architectures import ARCHITECTURES
from trainables.models.segmenter import Segmenter
from trainables.models.spec import ModelSpec
from trainables.predict import evaluate, predict_logits, predict_parts

CPU = torch.device("cpu")
INFO = DatasetInfo(bands=("red", "green", "blue"), scale=1 / 255)
ARGS: dict[str, Any] = {"stride": 8, "loss": Loss(), "device": CPU}


# Where they lie


@pytest.mark.parametrize(
    ("sides", "settings", "seen"),
    [
        ((100, 130), {}, (128, 160)),  # padded to the stride
        ((5000, 1000), {}, (2048, 1024)),  # more than 2048² px
        ((4000, 500), {}, (4000, 512)),  # no more than that
        ((1500, 1500), {"whole_px": 1024}, (1024, 1024)),
        ((900, 3000), {"only_px": 1024}, (1024, 1024)),
        ((900, 3000), {"window_px": 520}, (512, 512)),
    ],
)
def test_largest_part_of_a_tile_that_is_predicted_at_once(sides, settings, seen):
    assert cut(*sides, stride=32, **settings).seen_px == seen


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), window=st.integers(1, 12), stride=st.sampled_from([1, 8, 32])
)
def test_windows_keep_each_pixel_once_and_lie_on_the_strides_grid(height, width, window, stride):
    kept = np.zeros((height * stride, width * stride), int)
    for one in windows(*kept.shape, window_px=window * stride, stride=stride):
        for span, length in ((one.rows, len(kept)), (one.columns, kept.shape[1])):
            assert 0 <= span.start <= span.kept_start < span.kept_stop <= span.stop <= length
            assert span.stop - span.start == min(window * stride, length)
            assert span.start % stride == 0
            margin = margin_of(window * stride, stride)
            assert span.start == 0 or span.kept_start - span.start >= margin
            assert span.stop == length or span.stop - span.kept_stop >= margin
        kept[one.rows.kept_start : one.rows.kept_stop, one.columns.kept_start : one.columns.kept_stop] += 1
    assert (kept == 1).all()


@pytest.mark.parametrize(
    ("window", "stride", "margin"), [(2048, 16, 256), (1024, 32, 128), (512, 16, 128), (256, 32, 64), (64, 32, 0)]
)
def test_margins_are_an_eighth_or_what_a_quarter_leaves_of_the_least(window, stride, margin):
    assert margin_of(window, stride) == margin
    (one,) = windows(window, stride, window_px=window, stride=stride)  # of a tile that is no larger
    assert (one.rows.kept_stop, one.columns.kept_stop) == (window, stride)
    assert list(windows(window, stride, window_px=None, stride=stride)) == [one]


# What is predicted by them


def shapes_of(model: Segmenter) -> list[tuple[int, ...]]:
    return [tuple(pixels.shape[2:]) for pixels in model.network.seen]


def segmenter(network: nn.Module, **sides: Any) -> Segmenter:
    return Segmenter(network, [0.0] * 3, [1.0] * 3, **sides).eval()


@given(height=st.integers(1, 70), width=st.integers(1, 70), window=st.none() | st.integers(1, 50), only=st.booleans())
def test_parts_give_every_pixel_back_exactly(height, width, window, only):
    image = np.random.default_rng(0).integers(0, 65536, (height, width, 3)).astype(np.uint16)
    model = segmenter(Recorder(), only_px=48 if only else None)
    logits = predict_logits(model, image, scale=1.0, stride=8, device=CPU, window_px=window)
    assert np.array_equal(logits.numpy(), image.transpose(2, 0, 1))
    shapes = shapes_of(model)
    if only:
        assert set(shapes) == {(48, 48)}
    elif window is None:
        assert shapes == [(-(-height // 8) * 8, -(-width // 8) * 8)]
    else:
        side = max(8, window // 8 * 8)
        assert all(s <= max(side, 8) for shape in shapes for s in shape)


@pytest.mark.parametrize(
    ("size", "shapes"), [((64, 64), [(64, 64)]), ((72, 72), [(64, 64)] * 4), ((32, 128), [(32, 128)])]
)
def test_tiles_are_predicted_by_windows_above_the_models_bound_alone(size, shapes):
    model = segmenter(Recorder(), whole_px=64)
    predict_logits(model, np.zeros((*size, 3), np.uint8), scale=1.0, stride=8, device=CPU)
    assert shapes_of(model) == shapes


@pytest.fixture(scope="module")
def unet() -> Segmenter:
    """With features of unit variance in every layer, as after training, so that what is far away shows."""
    torch.manual_seed(0)
    network = ARCHITECTURES["unet"].build(ModelSpec(num_bands=3, num_outputs=1, small=True))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model = segmenter(network)
    model.train()(torch.rand(2, 3, 256, 256))
    return model.eval()


def test_unet_sees_no_farther_than_the_margin(unet):
    # Pixels on both sides of a border of every grid that it pools to
    for at in (255, 256):
        pixels = torch.rand(1, 3, 512, 32, requires_grad=True)
        unet(pixels)[0, 0, at, 15].backward()
        assert pixels.grad is not None
        rows = pixels.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
        assert max(at - int(rows[0]), int(rows[-1]) - at) < MARGIN_PX


def test_unet_says_by_windows_what_it_says_of_the_whole_tile(unet):
    image = np.random.default_rng(1).integers(0, 256, (576, 96, 3)).astype(np.uint8)
    args: dict[str, Any] = {"scale": 1 / 255, "stride": 16, "device": CPU}
    with torch.inference_mode():
        whole = predict_logits(unet, image, **args)
        parts = predict_logits(unet, image, **args, window_px=512)
        few = predict_logits(unet, image, **args, window_px=64)
    assert (parts - whole).abs().max() < 1e-5 * whole.std()
    assert (few - whole).abs().max() > 1e-2 * whole.std()  # with margins of 16 px


# What is made of them


@pytest.fixture
def large() -> Tiles:
    """Two tiles of other sizes with ignored pixels in one."""
    rng = np.random.default_rng(3)
    images = tuple(rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in ((90, 130), (70, 61)))
    masks = [(rng.random(image.shape[:2]) < 0.4).astype(np.uint8) for image in images]
    masks[0][:50] = IGNORE
    return Tiles(("a", "b"), images, tuple(masks))


def test_evaluate_by_windows_predicts_and_scores_alike_and_asks_between_them(large):
    args = ARGS | {"loss": Loss(bce_weight=1.0), "keeps_probabilities": True}
    asked: list[str] = []
    whole = evaluate(Brightness(), large, INFO, **args, before_tile=lambda: asked.append("tile"))
    evaluate(Brightness(), large, INFO, **args, before_tile=lambda: asked.append("window"), window_px=64)
    assert (asked.count("tile"), asked.count("window")) == (2, 10)
    parts = evaluate(Brightness(), large, INFO, **args, window_px=32)
    for name in ("predictions", "probabilities"):
        pairs = list(zip(getattr(whole, name), getattr(parts, name), strict=True))
        assert len(pairs) == 2
        assert all(np.array_equal(*pair) for pair in pairs)
    assert parts.scores == whole.scores
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)  # BCE is a mean over pixels, in parts or not
    empty = replace(large, masks=tuple(np.full_like(mask, IGNORE) for mask in large.masks))
    assert math.isnan(evaluate(Brightness(), empty, INFO, **args, window_px=32).loss)  # of nothing


def test_evaluate_keeps_what_it_is_told_and_hands_over_all(large):
    whole = evaluate(Brightness(), large, INFO, **ARGS, keeps_probabilities=True)
    handed: list[tuple[Any, ...]] = []
    keeps: dict[str, Any] = {"keeps_predictions": {1}, "keeps_probabilities": [0]}
    some = evaluate(Brightness(), large, INFO, **ARGS, **keeps, on_tile=lambda *its: handed.append(its))
    assert [its[0] for its in handed] == [0, 1]
    for index, prediction, probability in handed:
        assert np.array_equal(prediction, whole.predictions[index])
        assert np.array_equal(probability, whole.probabilities[index])
    assert len(some.predictions) == len(some.probabilities) == 1
    assert some.predictions[0] is handed[1][1]
    assert some.probabilities[0] is handed[0][2]
    assert some.scores == whole.scores


class Classes(nn.Module):
    """As many classes as it is told, from the first band."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1].expand(-1, self.count, -1, -1)


def test_evaluate_hands_no_probability_over_of_more_than_two_classes(band_tiles):
    handed: list[Any] = []
    args = ARGS | {"stride": 16, "on_tile": lambda *its: handed.append(its[2]), "keeps_probabilities": True}
    evaluate(Classes(4), band_tiles.val, band_tiles.info, **args)
    assert handed == [None] * len(band_tiles.val)


@pytest.mark.parametrize(("keeps", "least", "most"), [(True, 30, 99), (False, 0, 4), ({7}, 1, 5)])
def test_evaluate_over_many_tiles_has_the_memory_of_what_it_keeps(keeps, least, most):
    side, num_tiles = 256, 32  # one prediction is 64 KiB
    image, mask = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
    tiles = Tiles(tuple(map(str, range(num_tiles))), (image,) * num_tiles, (mask,) * num_tiles)
    args = ARGS | {"keeps_predictions": keeps}
    evaluate(Brightness(), tiles.take([0]), INFO, **args)
    tracemalloc.start()
    try:
        result = evaluate(Brightness(), tiles, INFO, **args)
        kept = tracemalloc.get_traced_memory()[0] / side**2
    finally:
        tracemalloc.stop()
    assert least <= kept <= most
    assert len(result.predictions) == (num_tiles if keeps is True else len(keeps or ()))


def test_parts_of_a_tile_with_many_classes_are_no_larger_than_windows():
    image = np.zeros((256, 256, 3), np.uint8)
    parts = list(predict_parts(Classes(19), image, scale=1.0, stride=8, device=CPU, window_px=64))
    assert max(part.logits[0].numel() for part in parts) <= 64**2
    assert sum(part.logits[0].numel() for part in parts) == 256**2
