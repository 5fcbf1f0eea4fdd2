import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.ranges import Bounds, Choices
from searchspace.spaces import (
    COMMON,
    LEVELS,
    OVERRIDES,
    RECIPE_POINT,
    levels,
    random_point,
    recipe_point,
    space_for,
    starting_points,
    trial_config,
)
from studies.profiles import REFERENCE
from trainables.attempts.reference import ATTEMPTS
from trainables.models.architecture import ADAPTATIONS
from trainables.models.architectures import ARCHITECTURES
from trainables.models.composed.names import get_architecture
from trainables.names import LOSS_WEIGHTS, LOSSES, PRESETS

NAMES = [*ARCHITECTURES, *(f"unet:efficientnet_lite0@{adaptation}" for adaptation in ADAPTATIONS)]
SEEDS = st.integers(0, 2**32 - 1)


def in_unit_cube(space, point) -> list[float | str]:
    """Where a point lies in its ranges, 0..1; categories as they are."""
    place: list[float | str] = []
    for name, distribution in space.items():
        if isinstance(distribution, Choices):
            place.append(point[name])
            continue
        low, high, value = distribution.low, distribution.high, point[name]
        if distribution.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        place.append(round((value - low) / (high - low), 9))
    return place


@pytest.mark.parametrize("name", NAMES)
def test_space_centres_lr_on_its_track_or_its_own(name):
    lr = space_for(name)["lr"]
    track = {"cnn": 1e-3, "frozen_encoder": 1e-4, "transformer": 1e-4}[get_architecture(name).track]
    own = {"lavit": 1e-3} | {f"unet:efficientnet_lite0@{its}": 3e-3 for its in ADAPTATIONS if its != "scratch"}
    center = {**own, "unet:efficientnet_lite0@scratch": 4e-3}.get(name, track)
    assert recipe_point(name)["lr"] == center
    assert lr.log
    assert math.sqrt(lr.low * lr.high) == pytest.approx(center)
    assert lr.high / lr.low == pytest.approx(100)


@pytest.mark.parametrize("name", NAMES)
def test_space_has_the_hyperparameters_of_its_architecture_in_order(name):
    space, row = space_for(name), get_architecture(name)
    weights = LOSS_WEIGHTS[row.recipe.get("loss", "bce_dice")]
    of_encoder = ["encoder_lr_factor"] * name.endswith(("@staged", "@full"))
    assert list(space) == ["lr", "augmentation", "decoder_dropout", *weights, *of_encoder, *row.settings]
    assert set(space["augmentation"].choices) <= set(PRESETS)
    assert "tiles" not in space  # crossed, never sampled


@pytest.mark.parametrize("name", NAMES)
def test_space_makes_valid_configurations(name):
    for point in starting_points(space_for(name), recipe_point(name), 16, seed=0):
        config = trial_config(name, recipe_point(name) | point, tiles=5)
        assert config.hyperparameters == recipe_point(name) | point


def test_override_takes_effect_in_its_space_only(monkeypatch):
    before = {name: space_for(name) for name in NAMES}
    narrow = Bounds(0.0, 0.1)
    monkeypatch.setitem(OVERRIDES, "unet", {"decoder_dropout": narrow})
    assert space_for("unet") == before["unet"] | {"decoder_dropout": narrow}
    assert list(space_for("unet")) == list(before["unet"])
    assert all(space_for(name) == before[name] for name in NAMES if name != "unet")
    assert COMMON["decoder_dropout"] == Bounds(0.0, 0.5)


@pytest.mark.parametrize("override", [{"decoder_dropout": Bounds(0.0, 0.1)}, {"augmentation": Choices(("NONE",))}])
def test_starting_points_lie_inside_overridden_ranges(override, monkeypatch):
    monkeypatch.setitem(OVERRIDES, "unet", override)
    (name, distribution) = next(iter(override.items()))
    for point in starting_points(space_for("unet"), recipe_point("unet"), 8, seed=0):
        assert distribution.has(point[name]), point


@pytest.mark.parametrize("name", NAMES)
def test_starting_points_begin_with_the_recipe(name):
    first = starting_points(space_for(name), recipe_point(name), 5, seed=3)[0]
    assert first == pytest.approx({key: recipe_point(name)[key] for key in first})
    assert recipe_point(name).keys() - first.keys() == {"loss"}  # which is no range of a search


@given(name=st.sampled_from(NAMES), count=st.integers(1, 40), seed=SEEDS)
def test_starting_points_lie_inside_their_ranges(name, count, seed):
    space = space_for(name)
    points = starting_points(space, RECIPE_POINT, count, seed)
    assert len(points) == count
    for point in points:
        assert list(point) == list(space)
        assert all(d.has(point[key]) for key, d in space.items())


@given(count=st.integers(1, 20), more=st.integers(0, 20), seed=SEEDS)
def test_starting_points_are_the_first_of_more(count, more, seed):
    space = space_for("unet")
    assert starting_points(space, RECIPE_POINT, count + more, seed)[:count] == starting_points(
        space, RECIPE_POINT, count, seed
    )


@given(seed=SEEDS)
def test_starting_points_are_the_same_places_for_all_arms(seed):
    places = [
        [in_unit_cube(space_for(n), p) for p in starting_points(space_for(n), RECIPE_POINT, 8, seed)] for n in REFERENCE
    ]
    assert all(place == places[0] for place in places)


@given(seed=SEEDS)
def test_starting_points_after_the_recipe_are_balanced(seed):
    # Eight points of a Sobol sequence: one in each eighth of every range, two of each of four presets
    space = space_for("unet")
    points = starting_points(space, RECIPE_POINT, 9, seed)[1:]
    places = [in_unit_cube(space, point) for point in points]
    for axis, (name, distribution) in enumerate(space.items()):
        if isinstance(distribution, Choices):
            assert sorted(place[axis] for place in places) == sorted(2 * distribution.choices)
        else:
            assert sorted(int(place[axis] * 8) for place in places) == list(range(8)), name


def test_readable_writes_ranges_as_people_do():
    space = space_for("unet")
    assert {name: str(distribution) for name, distribution in space.items()} == {
        "lr": "0.0001 … 0.01 (log)",
        "augmentation": "LIGHT | MEDIUM | HEAVY | EXTREME",
        "decoder_dropout": "0 … 0.5",
        "bce_weight": "0.1 … 0.9",
    }


@pytest.mark.parametrize("name", REFERENCE)
def test_recipe_point_is_the_reference_attempts(name):
    attempt = next(attempt for attempt in ATTEMPTS.values() if attempt.architecture == name)
    expected = {"lr": attempt.lr, "augmentation": "MEDIUM", "decoder_dropout": attempt.decoder_dropout}
    assert recipe_point(name) == pytest.approx(expected | {"loss": "bce_dice", "bce_weight": 0.5})


@pytest.mark.parametrize(
    ("name", "varied"),
    [(name, varied) for name in NAMES for varied in ("lr", *LEVELS) if varied != "encoder_lr_factor"]
    + [(name, "encoder_lr_factor") for name in NAMES if name.endswith(("@staged", "@full"))],
)
def test_levels_are_valid_rising_and_hold_the_recipe(name, varied):
    loss = {"bce_weight": "bce_dice", "focal_weight": "focal_dice", "cldice_weight": "bce_dice_cldice"}.get(varied)
    recipe = recipe_point(name, {} if loss is None else {"loss": loss})
    values = levels(name, varied)
    assert len(set(values)) == len(values) >= 4
    named = {"augmentation": tuple(PRESETS), "loss": LOSSES}
    assert values == named.get(varied, tuple(sorted(values)))
    own = recipe[varied]
    assert own in values if isinstance(own, str) else min(abs(value - own) for value in values) < 1e-12
    for value in values:
        assert trial_config(name, recipe | {varied: value}, tiles=5).hyperparameters[varied] == value


def test_lr_levels_span_the_range():
    assert levels("unet", "lr") == pytest.approx((1e-4, 1e-3 / 3, 1e-3, 3e-3, 1e-2))
    assert levels("sam_unet", "lr") == pytest.approx((1e-5, 1e-4 / 3, 1e-4, 3e-4, 1e-3))
    assert levels("lavit", "lr") == levels("unet", "lr")


@given(name=st.sampled_from(NAMES), seed=SEEDS)
def test_random_points_lie_in_the_ranges_and_follow_from_the_seed(name, seed):
    space = space_for(name)
    point = random_point(space, seed)
    assert list(point) == list(space)
    assert all(d.has(point[key]) for key, d in space.items())
    assert random_point(space, seed) == point != random_point(space, seed + 1)


def test_random_points_are_even_in_the_logarithm_of_lr():
    lrs = [random_point(space_for("unet"), seed)["lr"] for seed in range(1000)]
    below = sum(lr < 1e-3 for lr in lrs)  # half of a range of two decades; 5 sigma of a fair coin are 79
    assert 421 <= below <= 579


def test_described_ranges_can_be_logged_and_read():
    space = space_for("unet")
    found = json.loads(json.dumps({name: distribution.described() for name, distribution in space.items()}))
    assert found == {
        "lr": {"low": pytest.approx(1e-4), "high": pytest.approx(1e-2), "log": True},
        "augmentation": {"choices": ["LIGHT", "MEDIUM", "HEAVY", "EXTREME"]},
        "decoder_dropout": {"low": 0.0, "high": 0.5, "log": False},
        "bce_weight": {"low": 0.1, "high": 0.9, "log": False},
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_is_fixed_leaves_the_space_and_stands_in_the_recipe(name):
    fixed = {"loss": "dice", "augmentation": "HEAVY"}
    before = space_for(name)
    idle = ("augmentation", "bce_weight", "focal_weight", "cldice_weight")  # Dice alone has no weight
    assert space_for(name, fixed) == {key: value for key, value in before.items() if key not in idle}
    assert fixed.items() <= recipe_point(name, fixed).items()
    config = trial_config(name, recipe_point(name, fixed), tiles=5)
    assert (config.loss, config.augmentation) == ("dice", "HEAVY")


@pytest.mark.parametrize("loss", LOSSES)
def test_the_space_has_the_weights_of_its_loss_and_no_others(loss):
    names = set(space_for("unet", {"loss": loss}))
    assert names == {"lr", "augmentation", "decoder_dropout", *LOSS_WEIGHTS[loss]}


def test_what_an_architecture_does_not_have_is_not_fixed_in_it():
    assert recipe_point("unet", {"depth": 8}) == recipe_point("unet")
    assert space_for("unet", {"depth": 8}) == space_for("unet")
