from collections import Counter
from itertools import pairwise
from typing import Any

import albumentations as A
import numpy as np
import pytest

from trainables.common.errors import UserError
from trainables.data import augment as augment_module
from trainables.data.augment import NEEDS_RGB_UINT8, PRESETS, Fog, make_augment, transforms
from trainables.data.tiles import IGNORE
from trainables.names import left_out

KINDS = {"rgb": True, "bands": False}
SEEDS = range(12)
SIDE_PX = 64


def example(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A textured image, uint8 RGB or float32 of four bands, and a mask of classes 0, 1 and 3 with ignored pixels."""
    rng = np.random.default_rng(5)
    image = rng.integers(20, 200, (SIDE_PX, SIDE_PX, 3 if kind == "rgb" else 4), dtype=np.uint8)
    image[16:48, 16:48] //= 2
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    mask[:20, 8:40], mask[30:50, 30:60], mask[:, :3] = 1, 3, IGNORE
    return (image if kind == "rgb" else image.astype(np.float32) / 255), mask


def rename(pairs: list[tuple[str, int]]) -> list[str]:
    return [f"{kind}-{index}" for kind, index in pairs]


EACH = [(kind, index) for kind, rgb in KINDS.items() for index in range(len(transforms("EXTREME", rgb_uint8=rgb)))]


# Every preset, for every kind of tile


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_preset_keeps_shapes_types_and_mask_values(preset, kind):
    image, mask = example(kind)
    augment = make_augment(preset, rgb_uint8=KINDS[kind])
    for seed in SEEDS:
        new_image, new_mask = augment(image.copy(), mask.copy(), seed)
        assert (new_image.shape, new_image.dtype) == (image.shape, image.dtype)
        assert (new_mask.shape, new_mask.dtype) == (mask.shape, mask.dtype)
        assert set(np.unique(new_mask)) <= {0, 1, 3, IGNORE}
        assert np.isfinite(new_image).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("value", [0, 1])
def test_preset_leaves_constant_masks_constant(preset, kind, value):
    image, mask = example(kind)
    augment = make_augment(preset, rgb_uint8=KINDS[kind])
    for seed in SEEDS:
        assert (augment(image.copy(), np.full_like(mask, value), seed)[1] == value).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_preset_is_a_function_of_the_seed(preset, kind):
    image, mask = example(kind)
    one, other = (make_augment(preset, rgb_uint8=KINDS[kind]) for _ in range(2))
    forwards = [one(image.copy(), mask.copy(), seed) for seed in SEEDS]
    backwards = [other(image.copy(), mask.copy(), seed) for seed in reversed(SEEDS)][::-1]
    for (image_1, mask_1), (image_2, mask_2) in zip(forwards, backwards, strict=True):
        assert np.array_equal(image_1, image_2)
        assert np.array_equal(mask_1, mask_2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", list(PRESETS)[1:])
def test_preset_differs_between_seeds(preset, kind):
    image, mask = example(kind)
    augment = make_augment(preset, rgb_uint8=KINDS[kind])
    # LIGHT, the mildest, has 8 outcomes: 12 seeds with one outcome have odds of 1 in 8 ** 11
    assert len({augment(image.copy(), mask.copy(), seed)[0].tobytes() for seed in SEEDS}) > 1


@pytest.mark.parametrize("bands", [1, 2, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_extreme_takes_any_number_of_bands(bands, dtype):
    image = (np.random.default_rng(0).random((SIDE_PX, SIDE_PX, bands)) * (255 if dtype is np.uint8 else 1)).astype(
        dtype
    )
    augment = make_augment("EXTREME", rgb_uint8=False)
    for seed in SEEDS:
        new_image, _ = augment(image.copy(), np.zeros((SIDE_PX, SIDE_PX), np.uint8), seed)
        assert (new_image.shape, new_image.dtype) == (image.shape, dtype)


def test_none_changes_nothing():
    image, mask = example("rgb")
    augment = make_augment("NONE", rgb_uint8=True)
    for seed in SEEDS:
        new_image, new_mask = augment(image.copy(), mask.copy(), seed)
        assert np.array_equal(new_image, image)
        assert np.array_equal(new_mask, mask)


def test_light_shows_the_eight_symmetries_equally_often():
    # 800 draws, 100 expected of each, standard deviation 9.4: one of eight more than 45 off has odds of 1 in 80,000
    image, mask = example("rgb")
    symmetries = [np.rot90(flipped, turns) for flipped in (image, image[:, ::-1]) for turns in range(4)]
    keys = {np.ascontiguousarray(symmetry).tobytes() for symmetry in symmetries}
    augment = make_augment("LIGHT", rgb_uint8=True)
    counts = Counter(np.ascontiguousarray(augment(image, mask, seed)[0]).tobytes() for seed in range(800))
    assert set(counts) == keys
    assert all(abs(count - 100) < 45 for count in counts.values())


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_moves_image_and_mask_together(preset, monkeypatch):
    # With nothing but geometry, an image that shows its mask goes on showing it but for interpolated edges
    geometry = [t for t in transforms(preset, rgb_uint8=True) if isinstance(t, A.DualTransform)]
    geometry = [t for t in geometry if not isinstance(t, A.CoarseDropout)]
    monkeypatch.setattr(augment_module, "transforms", lambda *_, **__: geometry)
    _, mask = example("rgb")
    mask = (mask == 1).astype(np.uint8)
    augment = make_augment(preset, rgb_uint8=True)
    for seed in SEEDS:
        new_image, new_mask = augment(np.repeat(mask[..., None] * np.uint8(200), 3, axis=2), mask, seed)
        assert ((new_image[..., 0] > 100) == new_mask).mean() > 0.97
        assert new_mask.any()


# Presets extend one stream


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", list(PRESETS)[:-1])
def test_extreme_without_its_later_transforms_is_the_smaller_preset(preset, kind, monkeypatch):
    image, mask = example(kind)
    smaller = make_augment(preset, rgb_uint8=KINDS[kind])
    chain = transforms("EXTREME", rgb_uint8=KINDS[kind])
    for transform in chain[len(transforms(preset, rgb_uint8=KINDS[kind])) :]:
        transform.p = 0.0  # asked, and so part of the stream, but never applied
    monkeypatch.setattr(augment_module, "transforms", lambda *_, **__: chain)
    larger = make_augment("EXTREME", rgb_uint8=KINDS[kind])
    for seed in SEEDS:
        (image_1, mask_1), (image_2, mask_2) = (a(image.copy(), mask.copy(), seed) for a in (smaller, larger))
        assert np.array_equal(image_1, image_2)
        assert np.array_equal(mask_1, mask_2)


def test_presets_flip_a_draw_alike(monkeypatch):
    chosen: list[str] = []
    original = A.D4.apply

    def spy(self: A.D4, img: np.ndarray, group_element: Any, **params: Any) -> np.ndarray:
        chosen.append(group_element)
        return original(self, img, group_element, **params)

    monkeypatch.setattr(A.D4, "apply", spy)
    image, mask = example("rgb")
    flips = {}
    for preset in list(PRESETS)[1:]:
        chosen.clear()
        augment = make_augment(preset, rgb_uint8=True)
        for seed in range(40):
            augment(image.copy(), mask.copy(), seed)
        flips[preset] = list(chosen)
    assert len(set(flips["LIGHT"])) > 4
    assert flips["LIGHT"] == flips["MEDIUM"] == flips["HEAVY"] == flips["EXTREME"]


def test_heavy_places_tiles_as_medium_does():
    # HEAVY adds no geometry, so with nothing patched the masks are the same
    image, mask = example("rgb")
    medium, heavy = (make_augment(preset, rgb_uint8=True) for preset in ("MEDIUM", "HEAVY"))
    for seed in range(30):
        assert np.array_equal(medium(image.copy(), mask, seed)[1], heavy(image.copy(), mask, seed)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_presets_each_begin_with_the_one_before(kind):
    chains = [[repr(t) for t in transforms(preset, rgb_uint8=KINDS[kind])] for preset in PRESETS]
    for shorter, longer in pairwise(chains):
        assert longer[: len(shorter)] == shorter
        assert len(longer) > len(shorter)


# Every transform


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", list(PRESETS)[1:])
def test_preset_fires_each_of_its_transforms(preset, kind, monkeypatch):
    # The rarest has p = 0.2: missing in 80 draws has odds of 0.8 ** 80, 1 in 56 million
    fired: Counter[str] = Counter()
    original = A.BasicTransform.apply_with_params

    def spy(self: A.BasicTransform, *args: Any, **kwargs: Any) -> Any:
        fired[type(self).__name__] += 1
        return original(self, *args, **kwargs)

    monkeypatch.setattr(A.BasicTransform, "apply_with_params", spy)
    image, mask = example(kind)
    augment = make_augment(preset, rgb_uint8=KINDS[kind])
    for seed in range(80):
        augment(image.copy(), mask.copy(), seed)
    expected = {type(t).__name__: t.p for t in transforms(preset, rgb_uint8=KINDS[kind])}
    assert set(fired) == set(expected)
    # 80 draws, standard deviation at most 4.5: one of at most eleven more than 20 off has odds below 1 in 9,000
    assert all(abs(fired[name] - 80 * p) < 20 for name, p in expected.items())


@pytest.mark.parametrize(("kind", "index"), EACH, ids=rename(EACH))
def test_transform_changes_the_image(kind, index, monkeypatch):
    transform = transforms("EXTREME", rgb_uint8=KINDS[kind])[index]
    transform.p = 1.0
    monkeypatch.setattr(augment_module, "transforms", lambda *_, **__: [transform])
    image, mask = example(kind)
    augment = make_augment("EXTREME", rgb_uint8=KINDS[kind])
    changed = [not np.array_equal(augment(image.copy(), mask.copy(), seed)[0], image) for seed in SEEDS]
    # D4 draws the identity once in eight; 7 times of 12 or more has odds of 1 in 4,800
    assert sum(changed) >= (6 if isinstance(transform, A.D4) else len(SEEDS))


def test_medium_rotates_by_tenths_of_degrees_only():
    affine = next(t for t in transforms("MEDIUM", rgb_uint8=True) if isinstance(t, A.Affine))
    assert affine.rotate == (-0.4, 0.4)
    assert affine.scale == {"x": (0.7, 1.3), "y": (0.7, 1.3)}
    assert affine.keep_ratio


def test_extreme_leaves_masks_of_dropped_squares_alone(monkeypatch):
    dropout = next(t for t in transforms("EXTREME", rgb_uint8=True) if isinstance(t, A.CoarseDropout))
    dropout.p = 1.0
    monkeypatch.setattr(augment_module, "transforms", lambda *_, **__: [dropout])
    image, mask = example("rgb")
    new_image, new_mask = make_augment("EXTREME", rgb_uint8=True)(image.copy(), mask.copy(), 3)
    assert (new_image == 0).all(axis=2).any()
    assert np.array_equal(new_mask, mask)


@pytest.mark.parametrize("grey", [0, 90, 200])
def test_fog_brightens_towards_light_grey(grey):
    fog = A.Compose([Fog(density_range=(0.1, 0.3), p=1.0)], strict=True, seed=0)
    for seed in SEEDS:
        fog.set_random_seed(seed)
        image = fog(image=np.full((SIDE_PX, SIDE_PX, 3), grey, np.uint8))["image"].astype(int)
        assert (image > grey).all()
        # thickness is density times 0.5..1: on average within 0.05 and 0.3 of the way to 235
        assert 0.05 <= (image.mean() - grey) / (235 - grey) <= 0.3


def test_fog_is_thicker_for_higher_density():
    image = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    field = np.ones((4, 4), np.float32)
    assert (Fog().apply(image, 0.2, field) == 47).all()  # 235 · 0.2
    assert (Fog().apply(image, 0.4, field) == 94).all()


# What the room promises about itself


def test_transforms_without_rgb_leave_out_exactly_those_that_need_it():
    for preset in PRESETS:
        full, reduced = (transforms(preset, rgb_uint8=rgb) for rgb in (True, False))
        assert [repr(t) for t in reduced] == [repr(t) for t in full if not isinstance(t, NEEDS_RGB_UINT8)]
        assert left_out(preset) == [type(t).__name__ for t in full if isinstance(t, NEEDS_RGB_UINT8)]


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("NONE", []),
        ("LIGHT", []),
        ("MEDIUM", ["HueSaturationValue"]),
        ("HEAVY", ["HueSaturationValue", "RandomShadow", "CLAHE", "ImageCompression"]),
        ("EXTREME", ["HueSaturationValue", "RandomShadow", "CLAHE", "ImageCompression", "Fog"]),
    ],
)
def test_left_out_names_what_other_bands_do_without(preset, names):
    assert left_out(preset) == names


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_neither_blur_nor_noise(preset):
    names = {type(t).__name__ for t in transforms(preset, rgb_uint8=True)}
    assert not {name for name in names if "Blur" in name or "Noise" in name}


@pytest.mark.filterwarnings("ignore:Argument")
def test_make_augment_refuses_a_wrong_argument(monkeypatch):
    monkeypatch.setitem(PRESETS, "LIGHT", lambda: [A.D4(p=1.0, strength=3)])
    with pytest.raises(ValueError, match="'strength' are not valid for transform D4"):
        make_augment("LIGHT", rgb_uint8=True)


@pytest.mark.parametrize("wrong", [{"density_range": "thick"}, {"density_range": (0.1, 0.2, 0.3)}])
def test_fog_refuses_a_wrong_argument(wrong):
    with pytest.raises(ValueError, match="density_range"):
        Fog(**wrong)


@pytest.mark.parametrize("preset", ["light", "", "ULTRA"])
def test_make_augment_refuses_unknown_preset(preset):
    with pytest.raises(UserError) as caught:
        make_augment(preset, rgb_uint8=True)
    assert str(caught.value) == (
        f"augmentation {preset!r} is unknown, but must be one of NONE, LIGHT, MEDIUM, HEAVY, EXTREME"
    )
