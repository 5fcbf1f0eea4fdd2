"""What a study's trials are, without Ray: final models by seed and tile subset, grids, random points."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.spaces import levels, recipe_point
from studies.profiles import PHASES
from studies.search.plans import Finals, Grid, Plan, Search, first_plan
from studies.search.trials import Trial
from studies.settings.arms import Arm
from studies.spec import StudySpec
from studies.tuned_config import TunedConfig
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import coordinate
from trainables.config import Recipe, TrialConfig
from trainables.data.augmentation.presets import PRESETS
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal

NUM_TILES = 24
POINT = {"lr": 2e-3, "augmentation": "HEAVY", "decoder_dropout": 0.2, "bce_weight": 0.4}
RECIPE = Recipe(epochs=4, subset_seed=42, draw_seed=42)


def make_spec(**changes: Any) -> StudySpec:
    settings = {"architectures": ("unet", "unet_resnet34"), "tiles": (24,), "trials": 4, "seeds": 3, "recipe": RECIPE}
    return StudySpec.model_validate(settings | changes)


FROM: dict[str, Any] = {"study": "phase2", "study_id": "f00", "profile": "quick", "tiles_digest": "d16e57"}


def seeds_of(found: list[TrialConfig], name: str) -> set[int]:
    return {getattr(config, name, None) or getattr(config.recipe, name) for config in found}


def phase3(**changes: Any) -> StudySpec:
    chosen = {
        name: TunedConfig(point=POINT | {"lr": lr}, tiles=24, signature="f0", val_iou=0.5, **FROM)
        for name, lr in (("unet", 2e-3), ("unet_resnet34", 1e-3))
    }
    settings = {"phase": "phase3_data_budget", "chosen": chosen, "tiles": (5, 12, 24), "subsets": 3, "seeds": 2}
    return make_spec(**settings | changes)


def configs(plan: Plan, arm: Arm) -> list[TrialConfig]:
    return [plan.config(arm, number, plan.point(arm, number, [])) for number in range(plan.allowance(arm))]


@pytest.fixture(scope="module")
def pool():
    """24 tiles, of a pixel each."""
    ids = tuple(f"t{number:02d}" for number in range(NUM_TILES))
    image, mask = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)
    tiles = Tiles(ids, (image,) * NUM_TILES, (mask,) * NUM_TILES)
    return TrainVal(DatasetInfo(scale=1.0), tiles, tiles.take([0]))


# Which plan


def test_first_plan_follows_from_the_phase_and_what_it_varies():
    for phase, changes, kind in (
        ("phase1_comparison", {}, Finals),
        ("phase2_tuning", {}, Search),
        ("phase2_tuning", {"vary": "lr"}, Grid),
        ("phase3_data_budget", {}, Finals),
    ):
        plan = first_plan(phase3(phase=phase, **changes), {}, NUM_TILES)
        assert type(plan) is kind
        assert plan.stage == ("final" if kind is Finals else "search")
        assert [arm.name for arm in plan.arms] == [arm.name for arm in phase3().arms()]


# Final models


def test_phase_1_trains_every_architecture_by_the_recipe():
    spec = make_spec(phase="phase1_comparison", subsets=5)
    plan = first_plan(spec, {}, NUM_TILES)
    for arm in plan.arms:
        assert plan.allowance(arm) == 3
        for config in configs(plan, arm):
            assert config.hyperparameters == recipe_point(arm.architecture)
            assert config.recipe == RECIPE.model_copy(update={"draw_seed": config.recipe.draw_seed})
            assert config.tiles == 24
    dropouts = [configs(plan, arm)[0].decoder_dropout for arm in plan.arms]
    assert dropouts == [0.0, 0.3]  # the reference's U-Net has none


def test_phase_3_trains_what_was_chosen_with_every_budget():
    plan = Finals.of_phase(phase3(), {}, NUM_TILES)
    assert [(arm.name, plan.allowance(arm)) for arm in plan.arms if arm.architecture == "unet"] == [
        ("unet-5", 6),
        ("unet-12", 6),
        ("unet-24", 2),
    ]
    for arm in plan.arms:
        for config in configs(plan, arm):
            lr = {"unet": 2e-3, "unet_resnet34": 1e-3}[arm.architecture]
            assert {name: getattr(config, name) for name in POINT} == POINT | {"lr": lr}
            assert config.tiles == arm.tiles
        assert len({config.signature() for config in configs(plan, arm)}) == plan.allowance(arm)
        places = [plan.subset_and_seed(arm, number) for number in range(plan.allowance(arm))]
        assert sorted(places) == [(subset, seed) for subset in range({24: 1}.get(arm.tiles, 3)) for seed in range(2)]


def test_a_seed_is_the_same_for_all_arms_budgets_and_subsets():
    plan = Finals.of_phase(phase3(), {}, NUM_TILES)
    found: dict[int, set[tuple[int, int]]] = {}
    for arm in plan.arms:
        for number, config in enumerate(configs(plan, arm)):
            pairs = found.setdefault(plan.subset_and_seed(arm, number)[1], set())
            pairs.add((config.init_seed, config.recipe.draw_seed))
    assert {seed: len(pairs) for seed, pairs in found.items()} == {0: 1, 1: 1}
    values = {value for pairs in found.values() for pair in pairs for value in pair}
    assert len(values) == 4  # no seed is used for two things
    assert 42 not in values


def test_confirmation_retrains_what_was_chosen_with_seeds_that_are_new_to_the_search_and_the_same_for_all_arms():
    spec = make_spec(trials=20, subsets=5)  # which are for phase 3 alone
    search = Search(spec)
    chosen = {arm: search.config(arm, 3, POINT) for arm in spec.arms()}
    plan = Finals.confirming(spec, chosen, NUM_TILES)
    for arm, config in zip(plan.arms, chosen.values(), strict=True):
        assert arm.name == f"{arm.architecture}-24-confirmation-{config.signature()[:8]}"
        final = configs(plan, arm)
        for one in final:
            recipe = one.recipe.model_copy(update={"draw_seed": config.recipe.draw_seed})
            assert one.model_copy(update={"init_seed": config.init_seed, "recipe": recipe}) == config
        for name in ("init_seed", "draw_seed"):
            searched = [search.config(config_arm, number, POINT) for config_arm in chosen for number in range(20)]
            assert len(seeds_of(final, name)) == 3
            assert not seeds_of(final, name) & seeds_of(searched, name)
            assert seeds_of(final, name) == seeds_of(configs(plan, plan.arms[0]), name)


def test_recipe_is_trained_beside_what_was_selected_with_the_same_seeds_and_draws_unless_it_was_selected():
    spec = make_spec(with_recipe=True)
    search = Search(spec)
    unet, resnet = spec.arms()
    start = search.config(unet, 0, search.point(unet, 0, []))
    plan = Finals.confirming(spec, {unet: start, resnet: search.config(resnet, 3, POINT)}, NUM_TILES)
    assert [arm.parent for arm in plan.arms] == ["unet-24", "unet_resnet34-24", "unet_resnet34-24-recipe"]
    tuned, recipe = (configs(plan, arm) for arm in plan.arms[1:])
    assert {config.lr for config in tuned} == {POINT["lr"]}
    assert all(config.hyperparameters == recipe_point("unet_resnet34") for config in recipe)
    for name in ("init_seed", "draw_seed"):
        assert seeds_of(tuned, name) == seeds_of(recipe, name)
    assert all(config.signature() != other.signature() for config in tuned for other in recipe)
    assert [arm.label(spec) for arm in plan.arms[1:]] == ["unet_resnet34", "unet_resnet34 (recipe)"]
    assert spec.num_confirming == 2 * make_spec().num_confirming == 6


@settings(max_examples=25)
@given(
    seeds=st.integers(1, 6),
    more=st.integers(0, 6),
    subsets=st.integers(1, 4),
    phase=st.sampled_from(["phase1_comparison", "phase2_tuning", "phase3_data_budget"]),
)
def test_models_keep_their_numbers_when_seeds_are_added(seeds, more, subsets, phase):
    few, many = (
        Finals.of_phase(phase3(phase=phase, seeds=count, subsets=subsets), {}, NUM_TILES)
        for count in (seeds, seeds + more)
    )
    for arm in few.arms:
        signatures = [config.signature() for config in configs(many, arm)]
        assert [config.signature() for config in configs(few, arm)] == signatures[: few.allowance(arm)]


def test_subsets_are_nested_over_budgets_and_the_first_is_the_study_s_own(pool):
    plan = Finals.of_phase(phase3(), {}, NUM_TILES)
    drawn: dict[tuple[int, int], set[frozenset[str]]] = {}
    for arm in plan.arms:
        for number, config in enumerate(configs(plan, arm)):
            tiles = pool.budget(config.tiles, config.recipe.subset_seed).train.ids
            drawn.setdefault((arm.tiles, plan.subset_and_seed(arm, number)[0]), set()).add(frozenset(tiles))
    assert sorted(drawn) == [*((tiles, subset) for tiles in (5, 12) for subset in range(3)), (24, 0)]
    assert all(len(found) == 1 for found in drawn.values())  # over seeds and architectures
    learned_from = {key: next(iter(found)) for key, found in drawn.items()}
    for tiles in (5, 12, 24):
        assert learned_from[tiles, 0] == set(pool.budget(tiles, RECIPE.subset_seed).train.ids)
    for subset in range(3):
        assert learned_from[5, subset] < learned_from[12, subset]
    assert len(set(learned_from.values())) == len(drawn)


@pytest.mark.parametrize("name", ["init_seed", "draw_seed"])
def test_seeds_of_a_phase_are_new_to_those_before_it(name):
    """Phase 3 takes the best of what phase 2 confirmed: its own models are new to that choice."""
    plans = [Finals.of_phase(phase3(phase=phase), {}, NUM_TILES) for phase in PHASES]
    seeds = [seeds_of([config for arm in plan.arms for config in configs(plan, arm)], name) for plan in plans]
    assert len(set().union(*seeds)) == sum(map(len, seeds)) == 3 * 2


def test_final_models_run_their_course():
    plan = Finals.of_phase(phase3(grace_epochs=1), {}, NUM_TILES)
    assert {epoch for arm in plan.arms for epoch in plan.ladder(arm).rungs} == set()
    for arm in plan.arms:
        space = plan.space(arm)
        assert {name: choice for name, kind in space.items() for choice in kind.choices} == plan.point(arm, 0, [])


# Grids


def grid(**changes: Any) -> Grid:
    return Grid(make_spec(**{"vary": "decoder_dropout"} | changes))


@pytest.mark.parametrize("vary", ["augmentation", "lr", "bce_weight", "decoder_dropout"])
def test_grid_has_every_value_with_every_seed_and_all_else_at_the_recipe(vary):
    plan = grid(vary=vary)
    for arm in plan.arms:
        values = levels(arm.architecture, vary)
        found = configs(plan, arm)
        assert len(found) == len(values) * 3
        assert Counter(getattr(config, vary) for config in found) == dict.fromkeys(values, 3)
        others = {name: value for name, value in recipe_point(arm.architecture).items() if name != vary}
        assert all(getattr(config, name) == value for config in found for name, value in others.items())
        choices = {name: kind.choices for name, kind in plan.space(arm).items()}
        assert choices == {name: (value,) for name, value in others.items()} | {vary: tuple(values)}
        assert plan.ladder(arm).rungs == {}


def test_grid_pairs_values_and_arms_by_seed_and_grows_by_seeds():
    plan = grid(seeds=2)
    assert all(configs(plan, arm)[:4] == configs(grid(seeds=1), arm) for arm in plan.arms)
    pairs = [[(config.init_seed, config.recipe.draw_seed) for config in configs(plan, arm)] for arm in plan.arms]
    assert pairs[0] == pairs[1]
    first, second = pairs[0][:4], pairs[0][4:]
    assert len(set(first)) == len(set(second)) == 1
    assert first[0] != second[0]
    finals = Finals.of_phase(phase3(), {}, NUM_TILES)
    assert not {seed for seed, _ in pairs[0]} & seeds_of(configs(finals, finals.arms[0]), "init_seed")
    assert not {seed for _, seed in pairs[0]} & seeds_of(configs(finals, finals.arms[0]), "draw_seed")


@pytest.mark.parametrize(
    ("seeds", "best", "number"),
    [
        # Four values: the second has the best single trial, the third the best mean; its median trial stands for it
        (3, [0.2, 0.9, 0.5, 0.1, 0.2, 0.1, 0.7, 0.1, 0.2, 0.1, 0.6, 0.1], 10),
        # The best value lacks a trial that failed; of two, the poorer
        (2, [0.2, 0.9, 0.5, 0.1, 0.2, None, 0.4, 0.1], 6),
        # All values lack one: any is better than none
        (2, [0.2, 0.9, 0.5], 1),
        (2, [], None),
    ],
)
def test_grid_selects_the_median_of_the_value_with_the_best_mean_over_all_seeds(seeds, best, number):
    plan = grid(seeds=seeds)
    arm = plan.arms[0]
    trials = [
        Trial(arm, place, config, epoch=4, best=value, best_epoch=4, outcome="finished")
        for (place, config), value in zip(enumerate(configs(plan, arm)), best, strict=False)
        if value is not None
    ]
    for found in (plan.best(trials), plan.best(trials[::-1])):  # in whatever order they ended
        assert (found and found.number) == number


def test_grid_goes_on_with_more_seeds(ledger):
    for seeds, before in ((1, 0), (2, len(PRESETS))):
        spec = make_spec(architectures=("unet",), vary="augmentation", seeds=seeds)
        coordinator = coordinate(spec, Grid(spec), ledger)
        (arm,) = coordinator.arms
        assert len(coordinator.of_arm(arm)) == before
        while (job := coordinator.next()) is not None:
            coordinator.report(job.key, epoch_report(4, 0.5, ended="epochs"))
        assert coordinator.is_complete
        tried = [trial.config.augmentation for trial in coordinator.of_arm(arm)]
        assert tried == list(PRESETS) * seeds


# Random points


def test_random_search_draws_points_that_nothing_else_decides():
    plan = Search(make_spec(sampler="random", trials=6))
    unet, resnet = plan.arms
    points = [plan.point(unet, number, []) for number in range(6)]
    assert points == [plan.point(unet, number, ["anything"]) for number in range(6)]
    assert len({point["lr"] for point in points}) == 6
    assert points[0] != recipe_point("unet")
    assert points != [plan.point(resnet, number, []) for number in range(6)]
    assert points == [Search(make_spec(sampler="random", trials=99)).point(unet, number, []) for number in range(6)]
    other = Search(make_spec(sampler="random", trials=6, seed=1))
    assert points != [other.point(unet, number, []) for number in range(6)]
