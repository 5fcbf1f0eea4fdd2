"""More seeds for final models whose arms val does not tell apart: `--seeds auto`. Test tiles stay sealed meanwhile."""

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from analysis.stats.sequential import needed_seeds
from studies.models.scores import ModelScores, ScoringResult
from studies.search.coordinator import Coordinator
from studies.search.plans import Finals
from studies.search.trials import TrialKey
from studies.session import Session
from studies.settings.arms import Arm


def restore_seeds(coordinator: Coordinator, plan: Finals) -> None:
    """Plans the seeds that an earlier driver gave the arms, as far as it had begun them."""
    for arm in plan.arms:
        begun = -(-len(coordinator.of_arm(arm)) // plan.num_subsets(arm))
        plan.num_seeds[arm] = max(plan.num_seeds[arm], begun)


def add_seeds(
    session: Session, coordinator: Coordinator, plan: Finals, scores: Mapping[TrialKey, ScoringResult]
) -> bool:
    """Plans more seeds of those arms that val leaves undecided; whether there are any.

    Arms of one tile budget are compared (`stats.sequential`), so a study that resumes comes to the same seeds.

    Args:
        session: Of the study.
        coordinator: Of the final models.
        plan: The coordinator's, which grows.
        scores: Of the final models on whole val tiles.
    """
    spec = session.inputs.spec
    if spec.max_seeds is None or len(coordinator.arms) < 2 or session.permit.ending is not None:
        return False
    val, groups = session.inputs.tiles.val, session.inputs.tiles.info.groups
    if len({groups.get(tile, tile) for tile in val.ids}) < 2:
        session.say("no more seeds: val tiles of one place do not say how arms would differ in others")
        return False
    before = dict(plan.num_seeds)
    competing = [arm for arm in coordinator.arms if not arm.is_recipe]
    for _, group in groupby(sorted(competing, key=lambda arm: arm.tiles), key=lambda arm: arm.tiles):
        arms = list(group)
        for arm, count in zip(arms, _needed(session, plan, arms, scores, spec.max_seeds), strict=True):
            plan.num_seeds[arm] = max(count, before[arm])
    tuned = {(arm.architecture, arm.tiles): plan.num_seeds[arm] for arm in competing}
    for arm in coordinator.arms:  # a recipe is paired with what was tuned from it
        plan.num_seeds[arm] = tuned[arm.architecture, arm.tiles]
    grown = [arm for arm in coordinator.arms if plan.num_seeds[arm] > before[arm]]
    if grown:
        names = ", ".join(f"{arm.parent} ({plan.num_seeds[arm]})" for arm in grown)
        session.say(f"more seeds, since val leaves open which of these leads: {names}")
    return bool(grown)


def _needed(
    session: Session,
    plan: Finals,
    arms: Sequence[Arm],
    scores: Mapping[TrialKey, ScoringResult],
    most: int,
) -> list[int]:
    """How many seeds each of some arms with the same number of tiles needs."""
    val, groups = session.inputs.tiles.val, session.inputs.tiles.info.groups
    num_models = max(plan.allowance(arm) for arm in arms)
    iou = np.full((len(arms), num_models, len(val)), np.nan)
    for place, arm in enumerate(arms):
        for number in range(plan.allowance(arm)):
            result = scores.get((arm, number))
            if isinstance(result, ModelScores):
                iou[place, number] = [np.nan if (v := result.tile_iou[i]) is None else v for i in val.ids]
    levels = np.array([plan.subset_and_seed(arms[0], number) for number in range(num_models)])
    places = np.unique([groups.get(tile, tile) for tile in val.ids], return_inverse=True)[1]
    trained = [plan.num_seeds[arm] for arm in arms]
    return needed_seeds(iou, (levels[:, 0], levels[:, 1]), places, trained, first=session.inputs.spec.seeds, most=most)
