"""When the stages of a study begin."""

from dataclasses import replace

import pytest

from studies import stages
from studies.backend.scoring import Scorers
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


@pytest.mark.parametrize(
    ("address", "gpus", "is_prepared"), [(None, 0.0, True), ("auto", 0.0, False), (None, 0.5, False)]
)
def test_scoring_is_prepared_in_free_slots_of_this_machine_s_cpus_only(
    spec, address, gpus, is_prepared, make_session, tmp_path, monkeypatch
):
    prepared = []
    monkeypatch.setattr(Scorers, "prepare", lambda self, count: prepared.append(count))

    def run_trials(*_, on_free, **__):
        on_free(1)
        return False

    monkeypatch.setattr(stages, "run_trials", run_trials)
    session = make_session(tmp_path, spec.model_copy(update={"address": address}))
    session = replace(session, slots=replace(session.slots, gpus=gpus))
    stages.run_stages(session, Coordinator(spec, session.ledger, Search(spec)), ())
    assert prepared == [1] * is_prepared
