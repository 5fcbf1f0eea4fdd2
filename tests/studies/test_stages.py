"""When the stages of a study begin."""

import pytest

from studies import stages
from studies.search.coordinator import Coordinator
from studies.search.plans import Search
from studies.spec import StudySpec
from tests.studies.reports import epoch_report
from trainables.config import Recipe


@pytest.fixture
def spec():
    recipe = Recipe(epochs=2, small=True)
    return StudySpec(architectures=("unet",), tiles=(2, 4), trials=1, seeds=2, grace_epochs=2, recipe=recipe)


def test_final_models_of_an_arm_are_planned_as_soon_as_its_search_ended(spec, make_session, tmp_path, monkeypatch):
    """Trials are what ended here; two drivers, of which the second one finds what the first one left."""
    seen = []

    def run_trials(coordinators, *_, on_end, **__):
        search, final = coordinators
        seen.append([arm.tiles for arm in final.arms])
        trial = search.next()
        search.report(trial.key, epoch_report(2, 0.5, ended="epochs"))
        on_end(trial)
        seen.append([arm.tiles for arm in final.arms])
        return False

    monkeypatch.setattr(stages, "run_trials", run_trials)
    session = make_session(tmp_path, spec)
    for _ in range(2):
        stages.run_stages(session, Coordinator(spec, session.ledger, Search(spec)), ())
    assert seen == [[], [2], [2], [2, 4]]
