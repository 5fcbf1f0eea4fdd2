"""Which models are scored together, and where their score is kept."""

from dataclasses import replace
from pathlib import Path

from studies.models.ensembles import ensemble_jobs, with_ensembles
from studies.models.scores import ModelScores, ScoringFailure, ScoringJob
from studies.search.plans import Finals
from studies.spec import StudySpec


def test_models_of_one_tile_subset_are_scored_together_and_single_ones_are_not():
    spec = StudySpec(phase="phase3_data_budget", architectures=("unet",), tiles=(2, 4), seeds=2, subsets=2)
    plan = Finals.of_phase(spec, {}, 4)
    few, _ = plan.arms
    folders = {number: Path(f"checkpoints/unet-2/{number:04d}") for number in range(3)}  # the fourth failed
    job = ScoringJob(folder=Path(), beat=Path("beat"), permit=None, pictures=Path("p"), keeps_all=True, tta=True)
    jobs = {(few, number): replace(job, folder=folder) for number, folder in folders.items()}
    assert [plan.subset_and_seed(few, number) for number in range(3)] == [(0, 0), (1, 0), (0, 1)]
    ((key, ensemble),) = ensemble_jobs(jobs, plan).items()
    assert key == (few, -1)
    assert (ensemble.folder, ensemble.members) == (folders[0], (folders[2],))
    assert ensemble.beat not in {job.beat for job in jobs.values()}
    assert (ensemble.pictures, ensemble.keeps_all, ensemble.tta, ensemble.permit) == (None, False, False, None)
    scores = ModelScores(iou=0.5, f1=0.6, tile_iou={"t": 0.5})
    alone = dict.fromkeys(jobs, scores)
    found = with_ensembles(alone | {key: replace(scores, iou=0.7)}, jobs, plan)
    its = {"iou": 0.7, "f1": 0.6, "tile_iou": {"t": 0.5}}
    assert [result.ensemble for result in found.values()] == [its, None, its]
    assert with_ensembles(alone | {key: ScoringFailure(reason="no luck")}, jobs, plan) == alone
