"""Scores an arm's models together, as the mean of their probabilities, at the opening at which each is scored."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from studies.models.scores import ModelScores, ScoringJob, ScoringResult, SideScores
from studies.search.plans import Finals
from studies.search.trials import TrialKey


def ensemble_jobs(jobs: Mapping[TrialKey, ScoringJob], plan: Finals) -> dict[TrialKey, ScoringJob]:
    """The jobs of the ensembles: of the models of each arm and tile subset, where there are several.

    Args:
        jobs: Those of the models.
        plan: Of the models.

    Returns:
        By arm and a number below 0, which no model has.
    """
    ensembles = {}
    for (arm, number), keys in _members(jobs, plan).items():
        first, *others = (jobs[key] for key in keys)
        beat = first.folder.parent / f"beat-ensemble{number}"  # the models have their own
        members = tuple(job.folder for job in others)
        if members:
            ensembles[arm, number] = replace(
                first, members=members, beat=beat, pictures=None, keeps_all=False, tta=False
            )
    return ensembles


def with_ensembles(
    results: Mapping[TrialKey, ScoringResult], models: Mapping[TrialKey, ScoringJob], plan: Finals
) -> dict[TrialKey, ScoringResult]:
    """The results of models alone, each with what its ensemble came to, as far as that has scores."""
    found = {key: results[key] for key in models}
    for number, keys in _members(models, plan).items():
        ensemble = results.get(number)
        if isinstance(ensemble, ModelScores):
            its = SideScores(iou=ensemble.iou, f1=ensemble.f1, tile_iou=ensemble.tile_iou)
            for key in keys:
                result = found[key]
                found[key] = replace(result, ensemble=its) if isinstance(result, ModelScores) else result
    return found


def _members(models: Mapping[TrialKey, ScoringJob], plan: Finals) -> dict[TrialKey, list[TrialKey]]:
    """The models of each ensemble, by its key."""
    members: dict[TrialKey, list[TrialKey]] = defaultdict(list)
    for arm, number in models:
        members[arm, -1 - plan.subset_and_seed(arm, number)[0]].append((arm, number))
    return dict(members)
