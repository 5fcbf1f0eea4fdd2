"""Draws per second on one core, beside the naive data set that decodes and augments a whole tile for each draw."""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np

from benchmarks.table import Row, Spread
from trainables.data.augmentation.own_transforms import D4, Elastic, Fog, HueSaturationValue, Shadow
from trainables.data.augmentation.presets import PRESETS, transforms
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.draws import DrawSource, draw
from trainables.datasets.demo import write_demo_tiles

TILE_PX, WINDOW_PX = 1024, 256
NUM_TILES = 2
NUM_DRAWS = {"NONE": 96, "LIGHT": 96, "MEDIUM": 96, "HEAVY": 64, "EXTREME": 32}
NUM_TURNS = 8


def rows() -> Iterator[Row]:
    """Of each preset on whole tiles, and of one on windows, which the naive data set cuts from an augmented tile."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="fewtile-bench-") as name:
        data = Path(name) / "tiles"
        write_demo_tiles(data, size_px=TILE_PX, num_train=NUM_TILES, num_val=1, num_test=0)
        tiles = decode_train_val(read_dataset(data))
        files = [
            (data / "train" / "images" / f"{tile}.jpg", data / "train" / "masks" / f"{tile}.png")
            for tile in tiles.train.ids
        ]
        for preset, window_px in [(preset, None) for preset in PRESETS] + [("MEDIUM", WINDOW_PX)]:
            source = DrawSource(tiles, preset=preset, window_px=window_px, subset_seed=0, draw_seed=0)
            ours, theirs = by_turns(partial(source.sample, 1), _naive(files, preset, window_px), NUM_DRAWS[preset])
            on = f"whole tiles of {TILE_PX} px" if window_px is None else f"windows of {window_px} px"
            yield Row(
                what=f"draws on one core, {preset}, {on}",
                unit="draws/s",
                ours=ours,
                peer="decode and augment each draw",
                theirs=theirs,
                is_better_when="more",
            )


def by_turns(one: Callable[[int], Any], other: Callable[[int], Any], num_draws: int) -> tuple[Spread, Spread]:
    """How many of the same draws a second each makes, in turns of a few, so that both meet the same noise."""
    one(0)
    other(0)
    rates: tuple[list[float], list[float]] = ([], [])
    for start in range(0, num_draws, num_draws // NUM_TURNS):
        for call, into in zip((one, other), rates, strict=True):
            started = time.perf_counter()
            for index in range(start, start + num_draws // NUM_TURNS):
                call(index)
            into.append(num_draws // NUM_TURNS / (time.perf_counter() - started))
    return _mean_rate(rates[0]), _mean_rate(rates[1])


def _mean_rate(rates: list[float]) -> Spread:
    """The rate of all turns together, which what fires by chance in one does not change, and their quartiles."""
    spread = Spread.of(rates)
    return replace(spread, value=statistics.harmonic_mean(rates))


def _naive(files: list[tuple[Path, Path]], preset: str, window_px: int | None) -> Callable[[int], Any]:
    """The data set of a short tutorial: OpenCV reads both files, the library's own transforms augment them."""
    chain = [_of_library(one) for one in transforms(preset, rgb_uint8=True)]
    assert not any(type(one).__module__.startswith("trainables") for one in chain), "one is no transform of the library"
    chain += [A.RandomCrop(window_px, window_px)] if window_px else []

    def sample(index: int) -> dict[str, Any]:
        chosen = draw(0, 0, 1, index, len(files))  # what fires by chance fires in both
        image, mask = files[chosen.tile]
        generators = np.random.default_rng(chosen.augment_seed), random.Random(chosen.augment_seed)
        pixels = cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB)
        result: dict[str, Any] = {"image": pixels, "mask": cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)}
        for transform in chain:
            transform.set_random_state(*generators)
            result = transform(**result)
        return result

    return sample


def _of_library(one: A.BasicTransform) -> A.BasicTransform:
    """What the library has in place of a transform of ours."""
    if isinstance(one, Fog):
        return A.RandomFog(fog_coef_range=(0.1, 0.3), p=one.p)
    if isinstance(one, Shadow):
        return A.RandomShadow(shadow_roi=one.shadow_roi, shadow_intensity_range=one.shadow_intensity_range, p=one.p)
    if isinstance(one, HueSaturationValue):
        return A.HueSaturationValue(one.hue_shift_limit, one.sat_shift_limit, one.val_shift_limit, p=one.p)
    if isinstance(one, Elastic):
        return A.ElasticTransform(alpha=300, sigma=one.sigma, border_mode=one.border_mode, p=one.p)
    return A.D4(p=one.p) if isinstance(one, D4) else one
