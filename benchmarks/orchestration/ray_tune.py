"""A peer: Ray Tune with OptunaSearch and ASHA, as its documentation has it; or a class with `--reuse-actors`."""

from collections.abc import Iterator
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.orchestration.objective import DROPOUT, LR, flags_of, values
from trainables.common.command import run


def main() -> int:
    parser = flags_of(__doc__)
    parser.add_argument("--reuse-actors", action="store_true")
    options = parser.parse_args()
    reports, events = options.reports, options.events.resolve()

    def train(config: dict[str, Any]) -> None:
        for value in values(**config, reports=reports, events=events):
            tune.report({"iou": value})

    class Trial(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self._values: Iterator[float] = values(**config, reports=reports, events=events)

        def step(self) -> dict[str, Any]:
            return {"iou": next(self._values), "done": self.iteration + 1 == reports}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

    ray.init(address="local")  # not one that runs here for something else
    trainable = tune.with_resources(Trial if options.reuse_actors else train, {"cpu": 1})
    tuner = tune.Tuner(
        trainable,
        param_space={"lr": tune.loguniform(*LR), "decoder_dropout": tune.uniform(*DROPOUT)},
        tune_config=tune.TuneConfig(
            metric="iou",
            mode="max",
            search_alg=OptunaSearch(),
            scheduler=ASHAScheduler(max_t=reports, grace_period=reports),
            num_samples=options.trials,
            reuse_actors=options.reuse_actors,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(options.folder.resolve()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # there is nothing to save
        ),
    )
    tuner.fit()
    return 0


if __name__ == "__main__":
    run(main)
