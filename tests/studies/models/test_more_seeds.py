"""`--seeds auto`: arms that val does not tell from the leader get more seeds, and resuming comes to the same."""

import dataclasses
import json
import shutil
import statistics
import types
from collections import Counter

import pytest

from studies.models.evaluation import VAL_SCORES
from studies.models.more_seeds import add_seeds, restore_seeds
from studies.models.scores import ModelScores, ScoringFailure
from studies.models.val_scores import score_finals_on_val
from studies.search.plans import Finals
from studies.spec import StudySpec
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import coordinate
from trainables.checkpoints import BEST
from trainables.common.whole_files import digest, write_whole
from trainables.config import Recipe
from trainables.data.dataset import read_dataset

NOISE = (0.01, -0.02, 0.015, -0.005, 0.02, -0.01)


@pytest.fixture
def grow(tmp_path, write_rgb, make_session):
    """Trains and scores round by round two arms whose IoU differs by `ahead`; how many models each has in the end."""
    dataset = read_dataset(write_rgb(tmp_path / "tiles", counts={"train": 2, "val": 6, "test": 1}))

    def run(ahead: float, *, fails: str = ""):
        settings = {"architectures": ("unet", "unet_width16"), "tiles": (2,), "phase": "phase1_comparison"}
        spec = StudySpec.model_validate(settings | {"seeds": "auto", "max_seeds": 6, "recipe": Recipe(epochs=1)})
        plan = Finals.of_phase(spec, {}, 2)
        coordinator = coordinate(spec, plan)
        session = make_session(tmp_path, spec, dataset, ledger=coordinator.ledger)
        scored = Counter()
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)

        def score(jobs, tiles):
            scored.update(jobs.keys())
            results = {key: made_up(*key, tiles) for key in jobs}
            for key, job in jobs.items():
                if isinstance(results[key], ModelScores):  # as the scoring worker leaves it
                    write_whole(job.folder / BEST, b"weights")
                    content = {"tiles": job.scores_of, "model": digest(job.folder / BEST)}
                    text = json.dumps(content | {"scores": dataclasses.asdict(results[key])})
                    write_whole(job.folder / VAL_SCORES, text.encode())
            return results

        def made_up(arm, number, tiles):
            if arm.name == fails:
                return ScoringFailure(reason="CUDA error: no luck")
            base = 0.6 + (ahead if arm.architecture == "unet" else 0.0) + NOISE[number]
            iou = {
                tile: base + NOISE[(place * (1 + (arm.architecture == "unet"))) % 6]
                for place, tile in enumerate(tiles.ids)
            }
            return ModelScores(iou=statistics.fmean(iou.values()), f1=0.5, tile_iou=iou)

        rounds = 0
        while True:
            while (job := coordinator.next()) is not None:
                coordinator.report(job.key, epoch_report(1, 0.6, ended="epochs"))
            val = score_finals_on_val(session, types.SimpleNamespace(score=score), coordinator)
            if not add_seeds(session, coordinator, plan, val):
                again = Finals.of_phase(spec, {}, 2)
                restore_seeds(coordinator, again)
                assert again.num_seeds == plan.num_seeds
                assert fails or set(scored.values()) == {1}, "a model of an earlier round was scored again"
                return [len(coordinator.of_arm(arm)) for arm in coordinator.arms], rounds
            rounds += 1

    return run


def test_arms_that_val_tells_apart_keep_their_first_seeds_and_others_grow_to_the_cap(grow):
    assert grow(0.2) == ([3, 3], 0)
    assert grow(0.0) == ([6, 6], 2)  # 3, 5, 6
    assert grow(0.0, fails="unet-2") == ([3, 3], 0)  # nothing to compare with


def test_auto_is_three_seeds_and_a_cap():
    assert (StudySpec(seeds="auto").seeds, StudySpec(seeds="auto").max_seeds) == (3, 10)
    assert StudySpec(seeds="auto", max_seeds=5).max_seeds == 5
    spec = StudySpec(seeds="auto", tiles=(5,))
    assert StudySpec.from_flat(spec.flat()) == spec
    for seeds, most in ((3, 3), (1, 4), (0, 2)):
        with pytest.raises(ValueError, match=f"--max-seeds is {most} and --seeds is {seeds}, but "):
            StudySpec(seeds=seeds, max_seeds=most)
