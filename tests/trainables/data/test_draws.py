import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.augmentation import presets
from trainables.data.augmentation.presets import PRESETS
from trainables.data.draws import Draw, DrawSource, draw
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal

SEEDS = st.integers(0, 2**32)


def make_source(tiles: TrainVal, **changes: Any) -> DrawSource:
    settings: dict[str, Any] = {"preset": "NONE", "window_px": 32, "subset_seed": 0, "draw_seed": 0}
    return DrawSource(tiles, **(settings | changes))


def batches_of(tiles: TrainVal, *, epoch: int = 1, num_draws: int = 8, **changes: Any) -> list[Any]:
    with closing(make_source(tiles, **changes)) as source:
        return list(source.batches(epoch, num_draws=num_draws, batch_size=2))


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.fixture(scope="module")
def numbered() -> TrainVal:
    """Tiles whose every pixel tells its tile (first band), row and column."""
    rows, columns = np.mgrid[:48, :80].astype(np.uint8)
    images = tuple(np.stack([np.full_like(rows, number), rows, columns], axis=2) for number in range(3))
    tiles = Tiles(("a", "b", "c"), images, tuple(((rows + columns) % 2).astype(np.uint8) for _ in range(3)))
    return TrainVal(DatasetInfo(bands=("red", "green", "blue"), scale=1 / 255), tiles, tiles)


# One draw


@given(subset=SEEDS, seed=SEEDS, epoch=st.integers(1, 10**6), index=st.integers(0, 10**6), count=st.integers(1, 24))
def test_draw_lies_in_its_ranges_and_repeats(subset, seed, epoch, index, count):
    drawn = draw(subset, seed, epoch, index, count)
    assert 0 <= drawn.tile < count
    assert 0 <= drawn.top < 1
    assert 0 <= drawn.left < 1
    assert 0 <= drawn.augment_seed < 2**31
    assert draw(subset, seed, epoch, index, count) == drawn


def test_draw_differs_with_each_key():
    keys = [(0, 0, 1, 0), (1, 0, 1, 0), (0, 1, 1, 0), (0, 0, 2, 0), (0, 0, 1, 1)]
    drawn = [draw(*key, 24) for key in keys]
    assert len({one.augment_seed for one in drawn}) == len(keys)
    assert len({one.top for one in drawn}) == len(keys)


def test_draw_shows_all_tiles_equally_often_and_spreads_windows_evenly():
    # 2000 draws of 5 tiles: 400 expected, standard deviation 17.9; one of five more than 80 off has odds of 1 in 25,000
    counts = Counter(draw(0, 0, epoch, index, 5).tile for epoch in range(1, 6) for index in range(400))
    assert set(counts) == set(range(5))
    assert all(abs(count - 400) < 80 for count in counts.values())
    # The mean of 2000 uniform numbers is 1/2 with a standard deviation of 0.0065: 0.03 off has odds of 1 in 300,000
    drawn = [draw(0, 0, 1, index, 5) for index in range(2000)]
    assert abs(np.mean([one.top for one in drawn]) - 0.5) < 0.03
    assert abs(np.mean([one.left for one in drawn]) - 0.5) < 0.03
    # two independent uniform numbers: the correlation's standard deviation is 0.022
    assert abs(np.corrcoef([one.top for one in drawn], [one.left for one in drawn])[0, 1]) < 0.1


# One sample


def test_sample_cuts_the_window_that_the_draw_says(numbered):
    source = make_source(numbered, subset_seed=2, draw_seed=3)
    for index in range(30):
        drawn = draw(2, 3, 4, index, 3)
        image, mask = source.sample(4, index)
        top, left = int(drawn.top * (48 - 32 + 1)), int(drawn.left * (80 - 32 + 1))
        part = (slice(top, top + 32), slice(left, left + 32))
        assert np.array_equal(image, numbered.train.images[drawn.tile][part])
        assert np.array_equal(mask, numbered.train.masks[drawn.tile][part])


@pytest.mark.parametrize("end", [0.0, 1 - 2**-53])
def test_sample_reaches_both_ends_of_a_tile(numbered, monkeypatch, end):
    monkeypatch.setattr("trainables.data.draws.draw", lambda *_: Draw(1, end, end, 0))
    image, mask = make_source(numbered).sample(1, 0)
    assert mask.shape == (32, 32)
    first, last = image[0, 0], image[-1, -1]
    assert first.tolist() == ([1, 0, 0] if end == 0 else [1, 16, 48])
    assert last.tolist() == ([1, 31, 31] if end == 0 else [1, 47, 79])


def test_sample_without_a_window_is_the_whole_tile_scaled_where_it_is_not_uint8(tiles, band_tiles):
    for pool, scale in ((tiles, 1), (band_tiles, 1e-4)):
        image, mask = make_source(pool, window_px=None).sample(1, 0)
        chosen = draw(0, 0, 1, 0, len(pool.train)).tile
        assert image.dtype == (np.uint8 if scale == 1 else np.float32)
        np.testing.assert_allclose(image, pool.train.images[chosen] * scale, rtol=1e-6)
        assert np.array_equal(mask, pool.train.masks[chosen])


def test_sample_shows_the_same_tile_and_window_for_all_presets(tiles, monkeypatch):
    seen: list[Any] = []

    def record(image: np.ndarray, mask: np.ndarray, seed: int) -> Any:
        seen.append((image.tobytes(), mask.tobytes(), seed))
        return image, mask

    monkeypatch.setattr(DrawSource, "_pipeline", lambda _: record)
    shown = {}
    for preset in PRESETS:
        seen.clear()
        batches_of(tiles, preset=preset)
        shown[preset] = list(seen)
    assert len(set(shown["NONE"])) > 1
    assert all(one == shown["NONE"] for one in shown.values())


# Batches


@pytest.mark.parametrize("name", ["tiles", "band_tiles"])
@pytest.mark.parametrize("preset", PRESETS)
def test_batches_are_equal_with_and_without_threads_and_leave_the_tiles_alone(request, name, preset):
    args: dict[str, Any] = {"preset": preset, "num_draws": 16}
    tiles = request.getfixturevalue(name)
    before = tiles.digest()
    assert same(batches_of(tiles, **args), batches_of(tiles, **args, num_threads=2))
    assert tiles.digest() == before


def test_batches_are_the_samples_in_order(tiles):
    source = make_source(tiles, preset="EXTREME")
    assert {images.dtype for images, _ in source.batches(2, num_draws=6, batch_size=2)} == {torch.uint8}
    for number, (images, masks) in enumerate(source.batches(2, num_draws=6, batch_size=2)):
        for place in range(2):
            image, mask = source.sample(2, 2 * number + place)
            assert np.array_equal(images[place].numpy(), image.transpose(2, 0, 1))
            assert np.array_equal(masks[place].numpy(), mask)


@pytest.mark.parametrize(("num_draws", "count"), [(2, 1), (7, 3), (8, 4), (1, 0)])
@pytest.mark.parametrize("num_threads", [0, 2])
def test_batches_leave_out_a_short_last_one(tiles, num_draws, count, num_threads):
    made = batches_of(tiles, num_draws=num_draws, num_threads=num_threads)
    assert len(made) == count
    assert all(images.shape == (2, 3, 32, 32) for images, _ in made)
    assert all(masks.shape == (2, 32, 32) for _, masks in made)


def test_close_ends_the_threads_and_batches_raise_what_one_raised(tiles, monkeypatch):
    before = threading.active_count()
    source = make_source(tiles, num_threads=2)
    batches = source.batches(1, num_draws=8, batch_size=2)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    source.close()
    assert threading.active_count() == before
    monkeypatch.setattr(DrawSource, "sample", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batches_of(tiles, num_threads=2)


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint16, 1 / 65535), (np.float32, 1.0)])
def test_samples_of_other_types_keep_their_own_range_under_strong_colour_changes(dtype, scale):
    # Reflectance far below full scale, or floats far above 1, is neither blackened nor saturated by brightness
    rng = np.random.default_rng(0)
    images = tuple(rng.uniform(500, 5000, (48, 48, 4)).astype(dtype) for _ in range(2))
    mask = np.zeros((48, 48), np.uint8)
    info = DatasetInfo(bands=("a", "b", "c", "d"), scale=scale)
    pixels = Tiles(("x", "y"), images, (mask, mask))
    source = make_source(TrainVal(info, pixels, pixels), preset="MEDIUM")
    spread = images[0].std() * scale
    for index in range(30):
        image, _ = source.sample(1, index)
        assert image.dtype == np.float32
        assert 499 * scale <= image.min() <= image.max() <= 5001 * scale
        assert image.std() > 0.3 * spread


def test_8_bit_tiles_are_drawn_without_a_look_at_their_range(tiles, monkeypatch):
    monkeypatch.setattr("trainables.data.draws.value_ranges", lambda _: pytest.fail("nobody needs it"))
    assert make_source(tiles, preset="MEDIUM").sample(1, 0)[0].dtype == np.uint8


@pytest.mark.parametrize(("bands", "is_photograph"), [("red green blue", True), ("nir red green", False)])
def test_false_colour_is_no_photograph_and_keeps_its_hue(tiles, bands, is_photograph, monkeypatch):
    asked: list[bool] = []
    original = presets.Pipeline

    def spy(preset: str, *, rgb_uint8: bool) -> Any:
        asked.append(rgb_uint8)
        return original(preset, rgb_uint8=rgb_uint8)

    monkeypatch.setattr(presets, "Pipeline", spy)
    named = replace(tiles, info=tiles.info.model_copy(update={"bands": tuple(bands.split())}))
    assert named.is_photograph is is_photograph
    make_source(named, preset="EXTREME").sample(1, 0)
    assert asked == [is_photograph]
