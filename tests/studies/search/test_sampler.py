"""What TPE is asked: of many trials it learns from some."""

import copy
import random
from datetime import datetime

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from searchspace.ranges import Bounds
from studies.search import sampler

SPACE = {"lr": Bounds(1e-4, 1e-2, log=True)}


def make_trial(number: int, state: TrialState, value: float | None = None) -> FrozenTrial:
    trial = create_trial(state=state, value=value, params={"lr": 1e-3}, distributions=sampler.distributions(SPACE))
    trial.number, trial.datetime_start = number, datetime(2026, 11, 1)
    return trial


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(sampler, "MOST_TRIALS", 5)
    monkeypatch.setattr(sampler, "NUM_GOOD", 2)


STATES = [
    (TrialState.COMPLETE, 0.9),
    (TrialState.RUNNING, None),
    (TrialState.COMPLETE, 0.1),
    (TrialState.FAIL, None),
    (TrialState.COMPLETE, 0.8),
    (TrialState.COMPLETE, 0.2),
    (TrialState.COMPLETE, 0.3),
    (TrialState.COMPLETE, 0.4),
]


def test_tpe_remembers_the_best_those_that_run_and_the_newest(few):
    trials = [make_trial(number, state, value) for number, (state, value) in enumerate(STATES)]
    assert [trial.number for trial in sampler.remembered(trials)] == [0, 1, 4, 6, 7]
    assert sampler.remembered(trials[:5]) == trials[:5]


def test_a_suggestion_from_many_trials_is_one_from_those_that_are_remembered(few):
    trials = [make_trial(number, state, value) for number, (state, value) in enumerate(STATES)]
    suggested = sampler.suggest(trials, SPACE, seed=3)
    assert suggested == sampler.suggest(sampler.remembered(trials), SPACE, seed=3)
    assert 1e-4 <= suggested["lr"] <= 1e-2


@pytest.mark.parametrize("count", [1, 4, 30])
def test_a_suggestion_is_that_of_a_study_which_optuna_was_given_the_trials_of(count):
    draw = random.Random(count)
    trials = []
    for number in range(count):
        state, value = draw.choice(STATES)
        trials.append(make_trial(number, state, value))
        trials[-1].params = {"lr": 10 ** draw.uniform(-4, -2)}
        trials[-1].intermediate_values = {1: draw.random(), 2: draw.random()}
        if number % 3 == 2:
            trials[-1].state, trials[-1].value = TrialState.PRUNED, trials[-1].intermediate_values[2]
        if trials[-1].state != TrialState.RUNNING:
            trials[-1].datetime_complete = datetime(2026, 11, 2)
    before = copy.deepcopy(trials)
    own = optuna.samplers.TPESampler(seed=3, n_startup_trials=0)
    study = optuna.create_study(direction="maximize", sampler=own)
    study.add_trials(trials)
    expected = study.ask(fixed_distributions=sampler.distributions(SPACE)).params
    assert sampler.suggest(trials, SPACE, seed=3) == expected
    assert trials == before


def test_a_gaussian_process_learns_from_stopped_trials_too():
    """Those in the middle of the range were stopped, and are the better: the next point is among them."""
    hill = {0.3: 0.30, 0.4: 0.45, 0.5: 0.5, 0.6: 0.45, 0.7: 0.30, 0.8: 0.2, 0.9: 0.15, 1.0: 0.1}
    trials = []
    for number, (place, value) in enumerate(hill.items()):
        trials.append(make_trial(number, TrialState.COMPLETE if place > 0.7 else TrialState.PRUNED, value))
        trials[-1].params = {"lr": 10 ** (-4 + 2 * place)}
    suggested = sampler.suggest(trials, SPACE, seed=3, kind="gp")
    assert suggested == sampler.suggest(trials, SPACE, seed=3, kind="gp")
    assert 10**-3.4 < suggested["lr"] < 10**-2.6
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert sampler.suggest(finished, SPACE, seed=3, kind="gp") != suggested
    assert {trial.state for trial in trials} == {TrialState.PRUNED, TrialState.COMPLETE}
