"""What searches find for the same epochs, on made-up learning curves and on recorded ones: Fewtile and its peers."""

import json
import math
import operator
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import optuna

from benchmarks.table import Row, Spread
from searchspace.ranges import Choices
from searchspace.spaces import Point
from studies.search.memory_ledger import MemoryLedger
from studies.settings.arms import Arm
from studies.simulate.clock import NEAR, Simulated, simulate
from studies.simulate.curves import Curves, MadeUp, Recorded, best_known
from studies.simulate.recording import Recording
from studies.spec import StudySpec
from trainables.config import Recipe

ROOT = Path(__file__).parents[1]
RECORDING = Path(__file__).parent / "recorded" / "roofs.json"
SEEDS, SEEDS_RECORDED = 5, 10
EPOCHS, TRIALS = 20, 48
TRIALS_RECORDED = 24
REDUCTION, GRACE = 3, 2

FULL = "TPE per architecture, no early stopping"

Found = Mapping[str, float]
"""The best value that was seen of each arm, by its name; 0 where none was trained."""

Peer = Callable[[StudySpec, Curves, int], Found]
"""Searches for so many epochs of all arms together."""


def rows() -> Iterator[Row]:
    """What is found on curves of either kind."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made_up = [(make_spec(seed), MadeUp(spec=make_spec(seed), seed=seed)) for seed in range(SEEDS)]
    peers: dict[str, Peer] = {
        FULL: _full_training,
        "Optuna, one study with a median pruner": _optuna,
        "Ray Tune with ASHA over all architectures": _ray_tune,
    }
    yield from rows_of(made_up, "", peers)
    recording = Recording.read(RECORDING)
    specs = [recorded_spec(recording, seed) for seed in range(SEEDS_RECORDED)]
    cases = [(spec, Recorded(recording, spec)) for spec in specs]
    # Data budgets are arms, too, and a study that chooses among them would drop the small ones
    yield from rows_of(cases, "recorded curves: ", {FULL: _full_training})


def rows_of(cases: Sequence[tuple[StudySpec, Curves]], prefix: str, peers: Mapping[str, Peer]) -> Iterator[Row]:
    """The regret of the mean, of the worst and of each arm for the epochs of Fewtile's search, and epochs to the best.

    Args:
        cases: Studies of the same arms, with their curves.
        prefix: Of each row's words.
        peers: By name.
    """
    names = [arm.name for arm in cases[0][0].arms()]
    regrets: dict[str, list[list[float]]] = {"": [], **{name: [] for name in peers}}
    spent, targets = [], {"": list[float](), FULL: list[float]()}
    for spec, curves in cases:
        ledger = MemoryLedger({arm.name: "" for arm in spec.arms()})
        budget = num_epochs(simulate(spec, curves, gpus=1, ledger=ledger))
        spent.append(float(budget))
        seen = {"": best_seen(ledger, spec)} | {name: search(spec, curves, budget) for name, search in peers.items()}
        of_arm = spec.trials * spec.recipe.epochs
        more = spec.trials * math.ceil(of_arm * len(names) / budget)  # that spend as many epochs as without stopping
        all_out = {"": simulate(spec.model_copy(update={"trials": more}), curves, gpus=1)}
        all_out[FULL] = simulate(to_the_end(spec), curves, gpus=1)
        known = {}
        for arm in spec.arms():
            found = [its[arm.name] for its in seen.values()] + [its.arms[arm].best for its in all_out.values()]
            known[arm] = max(best_known(spec, curves, arm), *found)
        for name, its in seen.items():
            regrets[name].append([best - its[arm.name] for arm, best in known.items()])
        for name, one in all_out.items():
            until = [one.arms[arm].epochs_until(best - NEAR) or of_arm for arm, best in known.items()]
            targets[name] += [float(min(of_arm, epochs)) for epochs in until]
    spec = cases[0][0]
    yield Row(
        what=f"{prefix}epochs of a search of {spec.trials} trials for each of {len(names)} arms",
        unit="epochs",
        ours=Spread.of(spent),
        peer="the same trials without early stopping",
        theirs=Spread.of([float(len(names) * of_arm)]),
    )
    yield Row(
        what=f"{prefix}epochs of an arm until within {NEAR:g} of its best, {of_arm} where it never was",
        unit="epochs",
        ours=Spread.mean_of(targets[""]),
        peer=FULL,
        theirs=Spread.mean_of(targets[FULL]),
    )
    wanted: dict[str, Callable[[Sequence[float]], float]] = {"the mean arm": statistics.fmean, "the worst arm": max}
    wanted |= {name: operator.itemgetter(place) for place, name in enumerate(names)}
    for words, of_arms in wanted.items():
        for name in peers if words.startswith("the ") else (FULL,):
            yield Row(
                what=f"{prefix}regret of {words} after so many epochs",
                unit="IoU",
                ours=Spread.mean_of([of_arms(its) for its in regrets[""]]),
                peer=name,
                theirs=Spread.mean_of([of_arms(its) for its in regrets[name]]),
            )


def make_spec(seed: int) -> StudySpec:
    """The study that is simulated on made-up curves."""
    names = ("unet", "unet_resnet34", "deeplabv3plus_resnet34")
    settings = {"architectures": names, "tiles": (24,), "trials": TRIALS, "seed": seed}
    settings |= {"grace_epochs": GRACE, "reduction_factor": REDUCTION}
    return StudySpec.model_validate(settings | {"recipe": Recipe(epochs=EPOCHS, small=True, frozen_fraction=0.0)})


def recorded_spec(recording: Recording, seed: int) -> StudySpec:
    """The study that was recorded, with the searcher and the ladder of the made-up one."""
    changes = {"sampler": "tpe", "trials": TRIALS_RECORDED, "grace_epochs": GRACE, "reduction_factor": REDUCTION}
    return StudySpec.from_flat(StudySpec().flat() | dict(recording.settings) | changes | {"seed": seed})


def num_epochs(found: Simulated) -> int:
    """Of all arms together."""
    return sum(arm.epochs for arm in found.arms.values())


def to_the_end(spec: StudySpec) -> StudySpec:
    """The study with no trial stopped early."""
    return spec.model_copy(update={"grace_epochs": spec.recipe.epochs})


def best_seen(ledger: MemoryLedger, spec: StudySpec) -> Found:
    """Of each arm, over all epochs of all trials."""
    return {
        arm.name: max(
            (value for trial in ledger.trials(arm.name) for value in trial.intermediate_values.values()), default=0.0
        )
        for arm in spec.arms()
    }


def _full_training(spec: StudySpec, curves: Curves, budget: int) -> Found:
    """Fewtile's search without a ladder, of as many trials as the epochs allow."""
    trials = budget // (len(spec.arms()) * spec.recipe.epochs)
    whole = to_the_end(spec).model_copy(update={"trials": trials})
    ledger = MemoryLedger({arm.name: "" for arm in spec.arms()})
    simulate(whole, curves, gpus=1, ledger=ledger)
    return best_seen(ledger, whole)


def _optuna(spec: StudySpec, curves: Curves, budget: int) -> Found:
    """The arm is a hyperparameter, as Optuna's tutorials have it of architectures."""
    arms = {arm.name: arm for arm in spec.arms()}
    best = dict.fromkeys(arms, 0.0)
    left = budget

    def objective(trial: optuna.Trial) -> float:
        nonlocal left
        name = trial.suggest_categorical("arm", list(arms))
        value = 0.0
        for epoch, value in enumerate(curves.values(arms[name], suggested(trial, arms[name], spec)), start=1):
            if left == 0:
                trial.study.stop()
                raise optuna.TrialPruned
            left -= 1
            best[name] = max(best[name], value)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    sampler = optuna.samplers.TPESampler(seed=spec.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.MedianPruner())
    while left:
        study.optimize(objective, n_trials=1)
    return best


def suggested(trial: optuna.Trial, arm: Arm, spec: StudySpec) -> Point:
    """A point of an arm, whose hyperparameters have its name before theirs."""
    point: Point = {}
    for name, its in arm.space(spec).items():
        own = f"{arm.name}/{name}"
        if isinstance(its, Choices):
            point[name] = trial.suggest_categorical(own, its.choices)
        else:
            point[name] = trial.suggest_float(own, its.low, its.high, log=its.log)
    return point


def _ray_tune(spec: StudySpec, curves: Curves, budget: int) -> Found:
    """On made-up curves, in a process of its own, since Ray starts with it."""
    command = [sys.executable, "-m", "benchmarks.search_ray_tune", f"--seed={spec.seed}", f"--budget={budget}"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    best: dict[str, float] = json.loads(output.splitlines()[-1])
    return {arm.name: best.get(arm.name, 0.0) for arm in spec.arms()}
