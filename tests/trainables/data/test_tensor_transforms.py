"""Transforms for tensors against those of the CPU, with the same parameters: pixels, masks and batches."""

from contextlib import closing
from dataclasses import replace
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch

from tests.trainables.data.test_conformance_presets import KINDS, SEEDS
from trainables.data.augmentation import presets
from trainables.data.augmentation.own_transforms import D4, Elastic, Fog, HueSaturationValue, Shadow
from trainables.data.augmentation.presets import PRESETS, Pipeline, transforms
from trainables.data.augmentation.tensor_transforms import augment
from trainables.data.draws import DrawSource
from trainables.data.tiles import Tiles, TrainVal

SHAPE = (150, 128)
"""A height that CLAHE's cells and JPEG's blocks do not divide, beside a width that they do."""

NEAR = {
    D4: (1.0, 0.0),
    A.Affine: (0.99, 0.01),
    A.RandomBrightnessContrast: (1.0, 0.0),
    HueSaturationValue: (0.5, 0.6),
    Shadow: (0.97, 2.0),  # which takes up to half of the light from pixels on edges
    A.RandomGamma: (1.0, 0.0),
    A.CLAHE: (0.4, 0.9),
    A.ImageCompression: (0.4, 0.8),
    Elastic: (0.99, 0.01),
    A.CoarseDropout: (1.0, 0.0),
    Fog: (0.99, 0.01),
}
"""The least share of values of an 8-bit image that are equal, and the largest mean difference (grey levels)."""


def example(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image with some texture and sharp edges, uint8 RGB or float32 of four bands, and a mask of its edges."""
    rng = np.random.default_rng(3)
    rows, columns = np.indices(SHAPE)
    waves = [110 + 70 * np.sin(rows / a) * np.cos(columns / b) for a, b in ((9, 21), (15, 13), (31, 8), (12, 12))]
    image = np.stack(waves, axis=2)
    mask = ((rows - 70) ** 2 + (columns - 60) ** 2 < 900).astype(np.uint8)
    image[mask == 1] *= 0.5
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    return (image[..., :3].copy(), mask) if kind == "rgb" else (image.astype(np.float32) / 255, mask)


def both(pipeline: Pipeline, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[Any, Any]:
    """Image (H, W, C) and mask (H, W) from the CPU's transforms, and from those for tensors."""
    tensors = (torch.from_numpy(np.atleast_3d(part).transpose(2, 0, 1).copy()) for part in (image, mask))
    new_image, new_mask = augment(*tensors, pipeline.applied(image.shape, image.dtype, seed))
    return pipeline(image, mask, seed), (new_image.permute(1, 2, 0).numpy(), new_mask[0].numpy())


EACH = [(kind, index) for kind, rgb in KINDS.items() for index in range(len(transforms("EXTREME", rgb_uint8=rgb)))]


@pytest.mark.parametrize(("kind", "index"), EACH)
def test_transform_of_tensors_is_that_of_the_cpu(kind, index, monkeypatch):
    transform = transforms("EXTREME", rgb_uint8=KINDS[kind])[index]
    transform.p = 1.0
    monkeypatch.setattr(presets, "transforms", lambda *_, **__: [transform])
    pipeline = Pipeline("EXTREME", rgb_uint8=KINDS[kind])
    image, mask = example(kind)
    differences, changes, wrong = [], [], []
    for seed in SEEDS:
        (expected, expected_mask), (found, found_mask) = both(pipeline, image, mask, seed)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        differences.append(np.abs(found.astype(float) - expected))
        changes.append(np.abs(expected - image.astype(float)).mean() if expected.shape == image.shape else np.inf)
        wrong.append((found_mask != expected_mask).mean())
    mean = np.mean([difference.mean() for difference in differences])
    assert max(wrong) < 0.002
    assert mean < 0.25 * np.mean(changes)  # much nearer to each other than either is to the image
    if kind == "bands":
        assert mean < 1e-4
    else:
        least_equal, most = NEAR[type(transform)]
        assert np.mean([(difference == 0).mean() for difference in differences]) >= least_equal
        assert mean <= most


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_preset_for_tensors_shows_what_the_cpu_shows(preset, kind):
    pipeline = Pipeline(preset, rgb_uint8=KINDS[kind])
    image, mask = example(kind)
    for seed in range(40):
        (expected, expected_mask), (found, found_mask) = both(pipeline, image, mask, seed)
        if preset in ("NONE", "LIGHT"):
            assert np.array_equal(found, expected)
        # A level more or less, which JPEG's steps and CLAHE's tables make more of
        assert np.abs(found.astype(float) - expected).mean() < (4 if kind == "rgb" else 0.002)
        assert (found_mask != expected_mask).mean() < 0.002


def batches(tiles: TrainVal, *, size: int = 4, **settings: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    usual: dict[str, Any] = {"preset": "EXTREME", "window_px": 64, "subset_seed": 0, "draw_seed": 1}
    with closing(DrawSource(tiles, **(usual | settings))) as source:
        return list(source.batches(2, num_draws=16, batch_size=size))


@pytest.mark.parametrize("changes", [{"size": 2}, {"size": 8}, {"num_threads": 2}], ids=str)
@pytest.mark.parametrize("preset", PRESETS)
def test_draws_are_bit_identical_in_any_batch(tiles, preset, changes):
    usual = batches(tiles, preset=preset, augments_on_device=True)
    other = batches(tiles, preset=preset, augments_on_device=True, **changes)
    for one, same in zip(zip(*usual, strict=True), zip(*other, strict=True), strict=True):
        assert torch.equal(torch.cat(one), torch.cat(same))


def lacking(tiles: TrainVal) -> TrainVal:
    """The same tiles, of which the first has no data in a corner."""
    missing = np.zeros(tiles.train.masks[0].shape, bool)
    missing[:40, :40] = True
    nodata = (missing, *(None for _ in tiles.train.ids[1:]))
    return replace(tiles, train=Tiles(tiles.train.ids, tiles.train.images, tiles.train.masks, nodata))


@pytest.mark.parametrize("preset", ["LIGHT", "EXTREME"])
@pytest.mark.parametrize("kind", ["tiles", "band_tiles", "lacking", "lacking_bands"])
def test_batches_of_the_device_are_those_of_the_cpu(kind, preset, request):
    pool = request.getfixturevalue("band_tiles" if kind in ("band_tiles", "lacking_bands") else "tiles")
    pool = lacking(pool) if kind.startswith("lacking") else pool
    for on_cpu, on_device in zip(
        batches(pool, preset=preset), batches(pool, preset=preset, augments_on_device=True), strict=True
    ):
        for expected, found in zip(on_cpu, on_device, strict=True):
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            is_known = ~expected.isnan() if expected.is_floating_point() else torch.ones_like(expected, dtype=bool)
            if expected.is_floating_point():
                assert (found.isnan() != expected.isnan()).float().mean() < 0.002
                is_known &= ~found.isnan()
            scale = 1 if expected.dtype == torch.uint8 else pool.scale
            difference = (found.double() - expected.double()).abs()[is_known] / scale
            assert difference.mean() < (1e-3 if preset == "LIGHT" else 3)
            if preset == "LIGHT" and kind == "tiles":
                assert torch.equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no CUDA device here")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_gpu_shows_what_the_tensors_of_a_cpu_show(tiles, preset):
    settings: dict[str, Any] = {"preset": preset, "augments_on_device": True, "num_threads": 2}
    on_gpu = batches(tiles, device=torch.device("cuda"), **settings)
    for expected, found in zip(batches(tiles, **settings), on_gpu, strict=True):
        for one, same in zip(expected, found, strict=True):
            assert same.device.type == "cuda"
            difference = (same.cpu().double() - one.double()).abs()
            assert difference.mean() < (1e-9 if preset in ("NONE", "LIGHT") else 1)
