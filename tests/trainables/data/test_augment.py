"""Single transforms: how often and how far they change what, and what their arguments may be."""

from collections import Counter

import albumentations as A
import numpy as np
import pytest

from tests.trainables.data.test_conformance_presets import KINDS, SEEDS, SIDE_PX, example
from trainables.data.augmentation import presets as augment_module
from trainables.data.augmentation.own_transforms import D4, Elastic, Fog, HueSaturationValue, Shadow, maps
from trainables.data.augmentation.presets import PRESETS, Pipeline, transforms

EACH = [(kind, index) for kind, rgb in KINDS.items() for index in range(len(transforms("EXTREME", rgb_uint8=rgb)))]


@pytest.mark.parametrize(("kind", "index"), EACH)
def test_transform_changes_the_image(kind, index, monkeypatch):
    transform = transforms("EXTREME", rgb_uint8=KINDS[kind])[index]
    transform.p = 1.0
    monkeypatch.setattr(augment_module, "transforms", lambda *_, **__: [transform])
    image, mask = example(kind)
    augment = Pipeline("EXTREME", rgb_uint8=KINDS[kind])
    changed = [not np.array_equal(augment(image.copy(), mask.copy(), seed)[0], image) for seed in SEEDS]
    # D4 draws the identity once in eight; 7 times of 12 or more has odds of 1 in 4,800
    assert sum(changed) >= (6 if isinstance(transform, A.D4) else len(SEEDS))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,), (8,), (13,)])
def test_symmetries_are_those_of_the_library(dtype, channels):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9, *channels)).astype(dtype)
    for element in ("e", "r90", "r180", "r270", "v", "hvt", "h", "t"):
        expected = A.D4().apply(pixels, element)
        turned = D4().apply(pixels.copy(), element)
        assert turned.dtype == dtype
        assert np.array_equal(turned, expected), element


@pytest.mark.parametrize("height", [1, 64, 150])  # less than a strip, one, and some and a rest
@pytest.mark.parametrize("shifts", [(7.3, -11.2, 5.9), (-10.0, 0.0, 0.0), (0.0, 15.0, -15.0)])
def test_hues_are_those_of_the_library(height, shifts):
    image = np.random.default_rng(0).integers(0, 256, (height, 90, 3), dtype=np.uint8)
    image[:, :9] = image[:, :9, :1]  # greys, which no saturation is given to
    params = dict(zip(("hue_shift", "sat_shift", "val_shift"), shifts, strict=True))
    theirs = A.HueSaturationValue(p=1.0).apply(image.copy(), **params)
    assert not np.array_equal(theirs, image)
    for seen in (image, np.asfortranarray(image), image[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(HueSaturationValue(p=1.0).apply(seen, **params), theirs)


def test_shadows_are_those_of_the_library():
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    settings = {"shadow_roi": (0, 0, 1, 1), "shadow_intensity_range": (0.3, 0.5), "p": 1.0}
    ours, theirs = (A.Compose([kind(num_shadows_limit=(1, 3), **settings)]) for kind in (Shadow, A.RandomShadow))
    for seed in range(60):
        results = []
        for pipeline in (ours, theirs):
            pipeline.set_random_seed(seed)
            results.append(pipeline(image=image.copy())["image"])
        assert np.array_equal(*results), seed
        assert not np.array_equal(results[0], image)


class Adds(A.ImageOnlyTransform):
    """Adds a number to an image."""

    def __init__(self, number, p):
        super().__init__(p=p)
        self.number = number

    def apply(self, img, **_):
        return img + np.uint8(self.number)


def test_transforms_are_applied_independently_of_each_other(monkeypatch):
    odds = (0.3, 0.3, 0.6)
    made_up = [Adds(2**index, p) for index, p in enumerate(odds)]
    monkeypatch.setattr(augment_module, "transforms", lambda *_, **__: made_up)
    augment = Pipeline("EXTREME", rgb_uint8=True)
    empty = np.zeros((1, 1, 1), np.uint8)
    counts = Counter(int(augment(empty, empty[..., 0], seed)[0].item()) for seed in range(4000))
    for sum_of_numbers in range(8):
        share = np.prod([p if sum_of_numbers >> index & 1 else 1 - p for index, p in enumerate(odds)])
        deviation = np.sqrt(4000 * share * (1 - share))
        assert abs(counts[sum_of_numbers] - 4000 * share) < 5 * deviation, sum_of_numbers


def test_elastic_moves_all_pixels_by_as_much_and_neighbours_alike():
    elastic, side = Elastic(std_px=1.4, sigma=12), 512
    moved = []
    for seed in range(24):
        elastic.set_random_seed(seed)
        across, down = maps(**elastic.get_params_dependent_on_data({"shape": (side, side, 3)}, {}), shape=(side, side))
        moved.append((across - np.arange(side), down.T - np.arange(side)))
    moved = np.array(moved)
    assert moved.std() == pytest.approx(1.4, rel=0.05)
    assert moved[..., :16].std() == pytest.approx(1.4, rel=0.15)  # at an edge as well
    assert abs((moved[:, 0] * moved[:, 1].transpose(0, 2, 1)).mean()) < 0.1  # x and y have nothing in common
    for distance in (4, 12, 24):  # noise that was blurred by a Gaussian is alike by exp(-d² / 4σ²)
        alike = (moved[..., distance:] * moved[..., :-distance]).mean() / moved.var()
        assert alike == pytest.approx(np.exp(-((distance / 24) ** 2)), abs=0.04)


def test_elastic_moves_an_image_and_its_mask_to_where_its_maps_say():
    elastic = Elastic(p=1.0)
    rows, columns = np.indices((96, 80), dtype=np.float32)
    field = elastic.get_params_dependent_on_data({"shape": rows.shape}, {})["field"]
    across, down = maps(field, rows.shape)
    inside = (slice(8, -8), slice(8, -8))  # where nothing comes from behind an edge
    assert np.allclose(
        elastic.apply(np.stack([columns, rows], 2), field=field)[inside], np.stack([across, down], 2)[inside], atol=0.04
    )
    mask = elastic.apply_to_mask(rows.astype(np.uint8), field=field)
    assert (abs(mask[inside].astype(float) - down[inside]) <= 0.54).all()


def test_light_shows_the_eight_symmetries_equally_often():
    # 800 draws, 100 expected of each, standard deviation 9.4: one of eight more than 45 off has odds of 1 in 80,000
    image, mask = example("rgb")
    symmetries = [np.rot90(flipped, turns) for flipped in (image, image[:, ::-1]) for turns in range(4)]
    keys = {np.ascontiguousarray(symmetry).tobytes() for symmetry in symmetries}
    augment = Pipeline("LIGHT", rgb_uint8=True)
    counts = Counter(np.ascontiguousarray(augment(image, mask, seed)[0]).tobytes() for seed in range(800))
    assert set(counts) == keys
    assert all(abs(count - 100) < 45 for count in counts.values())


@pytest.mark.parametrize("bands", [1, 2, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_extreme_takes_any_number_of_bands(bands, dtype):
    most = 255 if dtype is np.uint8 else 1
    image = (np.random.default_rng(0).random((SIDE_PX, SIDE_PX, bands)) * most).astype(dtype)
    augment = Pipeline("EXTREME", rgb_uint8=False)
    for seed in SEEDS:
        new_image, _ = augment(image.copy(), np.zeros((SIDE_PX, SIDE_PX), np.uint8), seed)
        assert (new_image.shape, new_image.dtype) == (image.shape, dtype)


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
    new_image, new_mask = Pipeline("EXTREME", rgb_uint8=True)(image.copy(), mask.copy(), 3)
    assert (new_image == 0).all(axis=2).any()
    assert np.array_equal(new_mask, mask)


@pytest.mark.parametrize("grey", [0, 90, 200])
def test_fog_brightens_towards_light_grey_and_more_with_a_higher_density(grey):
    fog = A.Compose([Fog(density_range=(0.1, 0.3), p=1.0)], strict=True, seed=0)
    for seed in SEEDS:
        fog.set_random_seed(seed)
        image = fog(image=np.full((SIDE_PX, SIDE_PX, 3), grey, np.uint8))["image"].astype(int)
        assert (image > grey).all()
        # thickness is density times 0.5..1: on average within 0.05 and 0.3 of the way to 235
        assert 0.05 <= (image.mean() - grey) / (235 - grey) <= 0.3
    image = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    field = np.ones((4, 4), np.float32)
    assert (Fog().apply(image, 0.2, field) == 47).all()  # 235 · 0.2
    assert (Fog().apply(image, 0.4, field) == 94).all()


@pytest.mark.filterwarnings("ignore:Argument")
def test_wrong_arguments_are_refused(monkeypatch):
    monkeypatch.setitem(PRESETS, "LIGHT", lambda: [A.D4(p=1.0, strength=3)])
    with pytest.raises(ValueError, match="'strength' are not valid for transform D4"):
        Pipeline("LIGHT", rgb_uint8=True)
    for wrong in ("thick", (0.1, 0.2, 0.3)):
        with pytest.raises(ValueError, match="density_range"):
            Fog(density_range=wrong)
