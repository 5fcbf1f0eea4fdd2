"""What searches find for the same epochs, on made-up learning curves of three architectures: Fewtile and its peers."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import optuna

from benchmarks.table import Row, Spread
from searchspace.ranges import Choices
from searchspace.spaces import Point
from studies.search.memory_ledger import MemoryLedger
from studies.settings.arms import Arm
from studies.simulate.clock import simulate
from studies.simulate.curves import MadeUp, best_known
from studies.spec import StudySpec
from trainables.config import Recipe

ROOT = Path(__file__).parents[1]
SEEDS = 5
EPOCHS, TRIALS = 20, 48
REDUCTION, GRACE = 3, 2

Found = Mapping[str, float]
"""The best value that was seen of each architecture; 0 where none was trained."""


def rows() -> Iterator[Row]:
    """The regret of the mean and of the worst architecture, for as many epochs as Fewtile's search has."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    peers: dict[str, Callable[[StudySpec, int], Found]] = {
        "TPE per architecture, no early stopping": _full_training,
        "Optuna, one study with a median pruner": _optuna,
        "Ray Tune with ASHA over all architectures": _ray_tune,
    }
    regrets: dict[str, list[list[float]]] = {"": [], **{name: [] for name in peers}}
    spent = []
    for seed in range(SEEDS):
        spec = make_spec(seed)
        known = {arm.architecture: best_known(spec, MadeUp(spec=spec, seed=seed), arm) for arm in spec.arms()}
        ledger = MemoryLedger({arm.name: "" for arm in spec.arms()})
        found = simulate(spec, MadeUp(spec=spec, seed=seed), gpus=1, ledger=ledger)
        budget = sum(arm.epochs for arm in found.arms.values())
        spent.append(float(budget))
        seen = {"": best_seen(ledger, spec)} | {name: search(spec, budget) for name, search in peers.items()}
        known = {name: max(best, *(its.get(name, 0.0) for its in seen.values())) for name, best in known.items()}
        for name, its in seen.items():
            regrets[name].append([best - its.get(architecture, 0.0) for architecture, best in known.items()])
    whole = float(len(spec.arms()) * TRIALS * EPOCHS)
    yield Row(
        what=f"epochs of a search of {TRIALS} trials for each of {len(spec.arms())} architectures",
        unit="epochs",
        ours=Spread.of(spent),
        peer="the same trials without early stopping",
        theirs=Spread.of([whole]),
    )
    for words, of_arms in (("mean", statistics.fmean), ("worst", max)):
        for name in peers:
            yield Row(
                what=f"regret of the {words} architecture after so many epochs",
                unit="IoU",
                ours=Spread.mean_of([of_arms(its) for its in regrets[""]]),
                peer=name,
                theirs=Spread.mean_of([of_arms(its) for its in regrets[name]]),
            )


def make_spec(seed: int) -> StudySpec:
    """The study that is simulated."""
    names = ("unet", "unet_resnet34", "deeplabv3plus_resnet34")
    settings = {"architectures": names, "tiles": (24,), "trials": TRIALS, "seed": seed}
    settings |= {"grace_epochs": GRACE, "reduction_factor": REDUCTION}
    return StudySpec.model_validate(settings | {"recipe": Recipe(epochs=EPOCHS, small=True, frozen_fraction=0.0)})


def best_seen(ledger: MemoryLedger, spec: StudySpec) -> Found:
    """Of each architecture, over all epochs of all trials."""
    return {
        arm.architecture: max(
            (value for trial in ledger.trials(arm.name) for value in trial.intermediate_values.values()), default=0.0
        )
        for arm in spec.arms()
    }


def _full_training(spec: StudySpec, budget: int) -> Found:
    """Fewtile's search without a ladder, of as many trials as the epochs allow."""
    trials = budget // (len(spec.arms()) * EPOCHS)
    whole = spec.model_copy(update={"grace_epochs": EPOCHS, "trials": trials})
    ledger = MemoryLedger({arm.name: "" for arm in spec.arms()})
    simulate(whole, MadeUp(spec=whole, seed=spec.seed), gpus=1, ledger=ledger)
    return best_seen(ledger, whole)


def _optuna(spec: StudySpec, budget: int) -> Found:
    """The architecture is a hyperparameter, as Optuna's tutorials have it."""
    curves, arms = MadeUp(spec=spec, seed=spec.seed), {arm.architecture: arm for arm in spec.arms()}
    best: dict[str, float] = {}
    left = budget

    def objective(trial: optuna.Trial) -> float:
        nonlocal left
        name = trial.suggest_categorical("architecture", list(arms))
        value = 0.0
        for epoch, value in enumerate(curves.values(arms[name], suggested(trial, arms[name], spec)), start=1):
            if left == 0:
                trial.study.stop()
                raise optuna.TrialPruned
            left -= 1
            best[name] = max(best.get(name, 0.0), value)
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
    """A point of an architecture, whose hyperparameters have its name before theirs."""
    point: Point = {}
    for name, its in arm.space(spec).items():
        own = f"{arm.architecture}/{name}"
        if isinstance(its, Choices):
            point[name] = trial.suggest_categorical(own, its.choices)
        else:
            point[name] = trial.suggest_float(own, its.low, its.high, log=its.log)
    return point


def _ray_tune(spec: StudySpec, budget: int) -> Found:
    """In a process of its own, since Ray starts with it."""
    command = [sys.executable, "-m", "benchmarks.search_ray_tune", f"--seed={spec.seed}", f"--budget={budget}"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    best: dict[str, float] = json.loads(output.splitlines()[-1])
    return best
