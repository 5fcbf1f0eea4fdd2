"""A peer: Ray Tune with OptunaSearch and one ASHA over all architectures, on the curves of `benchmarks.search`.

Prints, as JSON, the best value that was seen of each arm.
"""

import functools
import json
import tempfile
from collections.abc import Iterator
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search import EPOCHS, GRACE, REDUCTION, make_spec, suggested
from studies.simulate.curves import MadeUp
from studies.spec import StudySpec
from trainables.common.command import Parser, run


class Budget(tune.Stopper):  # type: ignore[misc]
    """Ends the search after so many epochs, and keeps the best of each arm."""

    def __init__(self, budget: int):
        self.left, self.best = budget, dict[str, float]()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Of a trial: it never ends it."""
        if self.left > 0:
            self.left -= 1
            name = result["config"]["arm"]
            self.best[name] = max(self.best.get(name, 0.0), result["iou"])
        return False

    def stop_all(self) -> bool:
        """Whether the budget is spent."""
        return self.left <= 0


def _suggest(spec: StudySpec, trial: optuna.Trial) -> dict[str, Any]:
    """An arm and its hyperparameters; not within `main`, since Tune pickles it."""
    arms = {arm.name: arm for arm in spec.arms()}
    suggested(trial, arms[trial.suggest_categorical("arm", list(arms))], spec)
    return {}


def main() -> int:
    parser = Parser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--budget", type=int, required=True, help="epochs of all trials together")
    options = parser.parse_args()
    spec = make_spec(options.seed)
    curves, arms = MadeUp(spec=spec, seed=options.seed), {arm.name: arm for arm in spec.arms()}

    class Trial(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            name = config["arm"]
            self._values: Iterator[float] = iter(curves.values(arms[name], config[name]))  # Tune takes / for nesting

        def step(self) -> dict[str, Any]:
            return {"iou": next(self._values), "done": self.iteration + 1 == EPOCHS}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

    ray.init(address="local", log_to_driver=False)  # not one that runs here for something else
    budget = Budget(options.budget)
    with tempfile.TemporaryDirectory(prefix="fewtile-bench-") as folder:
        tune.Tuner(
            tune.with_resources(Trial, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(functools.partial(_suggest, spec), metric="iou", mode="max", seed=options.seed),
                scheduler=ASHAScheduler(
                    metric="iou", mode="max", max_t=EPOCHS, grace_period=GRACE, reduction_factor=REDUCTION
                ),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder,
                verbose=0,
                stop=budget,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    print(json.dumps(budget.best))
    return 0


if __name__ == "__main__":
    run(main)
