"""What every preset keeps, for 8-bit RGB and for other bands: a new preset is tested as soon as it is in the table."""

from collections import Counter
from typing import Any

import albumentations as A
import numpy as np
import pytest

from trainables.common.errors import UserError
from trainables.data.augmentation import presets as augment_module
from trainables.data.augmentation.presets import NEEDS_RGB_UINT8, PRESETS, Pipeline, transforms
from trainables.data.tiles import IGNORE
from trainables.names import left_out

KINDS = {"rgb": True, "bands": False}
SEEDS = range(12)
SIDE_PX = 64
EACH = [(preset, kind) for preset in PRESETS for kind in KINDS]
CHANGING = [(preset, kind) for preset, kind in EACH if preset != "NONE"]


def example(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A textured image, uint8 RGB or float32 of four bands, and a mask of classes 0, 1 and 3 with ignored pixels."""
    rng = np.random.default_rng(5)
    image = rng.integers(20, 200, (SIDE_PX, SIDE_PX, 3 if kind == "rgb" else 4), dtype=np.uint8)
    image[16:48, 16:48] //= 2
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    mask[:20, 8:40], mask[30:50, 30:60], mask[:, :3] = 1, 3, IGNORE
    return (image if kind == "rgb" else image.astype(np.float32) / 255), mask


@pytest.mark.parametrize(("preset", "kind"), EACH)
def test_preset_is_a_function_of_the_seed_that_keeps_shapes_types_mask_values_and_constant_masks(preset, kind):
    image, mask = example(kind)
    one, other = (Pipeline(preset, rgb_uint8=KINDS[kind]) for _ in range(2))
    forwards = [one(image.copy(), mask.copy(), seed) for seed in SEEDS]
    backwards = [other(image.copy(), mask.copy(), seed) for seed in reversed(SEEDS)][::-1]
    for (new_image, new_mask), (same_image, same_mask) in zip(forwards, backwards, strict=True):
        assert (new_image.shape, new_image.dtype) == (image.shape, image.dtype)
        assert (new_mask.shape, new_mask.dtype) == (mask.shape, mask.dtype)
        assert set(np.unique(new_mask)) <= {0, 1, 3, IGNORE}
        assert np.isfinite(new_image).all()
        assert np.array_equal(new_image, same_image)
        assert np.array_equal(new_mask, same_mask)
    for seed in SEEDS:
        assert all((one(image.copy(), np.full_like(mask, value), seed)[1] == value).all() for value in (0, 1))
    shown = {new_image.tobytes() for new_image, _ in forwards}
    if preset == "NONE":
        assert shown == {image.tobytes()}
        assert all(np.array_equal(new_mask, mask) for _, new_mask in forwards)
    else:  # LIGHT, the mildest, has 8 outcomes: 12 seeds with one outcome have odds of 1 in 8 ** 11
        assert len(shown) > 1


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_moves_image_and_mask_together(preset, monkeypatch):
    # With nothing but geometry, an image that shows its mask goes on showing it but for interpolated edges
    geometry = [t for t in transforms(preset, rgb_uint8=True) if isinstance(t, A.DualTransform)]
    geometry = [t for t in geometry if not isinstance(t, A.CoarseDropout)]
    monkeypatch.setattr(augment_module, "transforms", lambda *_, **__: geometry)
    _, mask = example("rgb")
    mask = (mask == 1).astype(np.uint8)
    augment = Pipeline(preset, rgb_uint8=True)
    for seed in SEEDS:
        new_image, new_mask = augment(np.repeat(mask[..., None] * np.uint8(200), 3, axis=2), mask, seed)
        assert ((new_image[..., 0] > 100) == new_mask).mean() > 0.97
        assert new_mask.any()


@pytest.mark.parametrize(("preset", "kind"), CHANGING)
def test_preset_fires_each_of_its_transforms(preset, kind, monkeypatch):
    # The rarest has p = 0.2: missing in 80 draws has odds of 0.8 ** 80, 1 in 56 million
    fired: Counter[str] = Counter()
    original = A.BasicTransform.apply_with_params

    def spy(self: A.BasicTransform, *args: Any, **kwargs: Any) -> Any:
        fired[type(self).__name__] += "image" in kwargs
        return original(self, *args, **kwargs)

    monkeypatch.setattr(A.BasicTransform, "apply_with_params", spy)
    image, mask = example(kind)
    augment = Pipeline(preset, rgb_uint8=KINDS[kind])
    for seed in range(80):
        augment(image.copy(), mask.copy(), seed)
    expected = {type(t).__name__: t.p for t in transforms(preset, rgb_uint8=KINDS[kind])}
    assert set(fired) == set(expected)
    # 80 draws, standard deviation at most 4.5: one of at most eleven more than 20 off has odds below 1 in 9,000
    assert all(abs(fired[name] - 80 * p) < 20 for name, p in expected.items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", list(PRESETS)[:-1])
def test_extreme_without_its_later_transforms_is_the_smaller_preset(preset, kind, monkeypatch):
    image, mask = example(kind)
    smaller = Pipeline(preset, rgb_uint8=KINDS[kind])
    chain = transforms("EXTREME", rgb_uint8=KINDS[kind])
    for transform in chain[len(transforms(preset, rgb_uint8=KINDS[kind])) :]:
        transform.p = 0.0  # asked, and so part of the stream, but never applied
    monkeypatch.setattr(augment_module, "transforms", lambda *_, **__: chain)
    larger = Pipeline("EXTREME", rgb_uint8=KINDS[kind])
    for seed in SEEDS:
        (image_1, mask_1), (image_2, mask_2) = (a(image.copy(), mask.copy(), seed) for a in (smaller, larger))
        assert np.array_equal(image_1, image_2)
        assert np.array_equal(mask_1, mask_2)


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("NONE", []),
        ("LIGHT", []),
        ("MEDIUM", ["HueSaturationValue"]),
        ("HEAVY", ["HueSaturationValue", "Shadow", "CLAHE", "ImageCompression"]),
        ("EXTREME", ["HueSaturationValue", "Shadow", "CLAHE", "ImageCompression", "Fog"]),
    ],
)
def test_other_bands_do_without_exactly_what_needs_rgb(preset, names):
    full, reduced = (transforms(preset, rgb_uint8=rgb) for rgb in (True, False))
    assert [repr(t) for t in reduced] == [repr(t) for t in full if not isinstance(t, NEEDS_RGB_UINT8)]
    assert left_out(preset) == [type(t).__name__ for t in full if isinstance(t, NEEDS_RGB_UINT8)] == names
    assert not [t for t in full if "Blur" in type(t).__name__ or "Noise" in type(t).__name__]  # left out on purpose


@pytest.mark.parametrize("preset", ["light", "", "ULTRA"])
def test_unknown_preset_is_refused(preset):
    rule = f"^augmentation {preset!r} is unknown, but must be one of NONE, LIGHT, MEDIUM, HEAVY, EXTREME$"
    with pytest.raises(UserError, match=rule):
        Pipeline(preset, rgb_uint8=True)
