"""Fewtile: phase 2 of one architecture, with the trial of all orchestrators in place of training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.orchestration.objective import flags_of, values
from studies.models.scores import ModelScores, ScoringJob, ScoringMode, ScoringResult
from studies.options import Options
from studies.spec import StudySpec
from studies.study import run_study
from trainables.common.command import run
from trainables.config import Recipe, TrialConfig
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal
from trainables.datasets.demo import write_demo_tiles
from trainables.records import EpochRecord


def main() -> int:
    options = flags_of(__doc__).parse_args()
    events: Path = options.events.resolve()

    def fit(config: TrialConfig, tiles: TrainVal, **_: Any) -> Iterator[EpochRecord]:
        numbers = values(config.lr, config.decoder_dropout, reports=config.recipe.epochs, events=events)
        for epoch, value in enumerate(numbers, start=1):
            yield EpochRecord(
                epoch=epoch,
                metrics={config.judged_metric: value},
                lr=config.lr,
                judged=value,
                best=value,
                best_epoch=epoch,
                ended="epochs" if epoch == config.recipe.epochs else "",
            )

    def score(job: ScoringJob, mode: ScoringMode, tiles: Tiles, info: DatasetInfo) -> ScoringResult:
        return ModelScores(iou=0.5, f1=0.5, tile_iou=dict.fromkeys(tiles.ids, 0.5))

    data = options.folder / "tiles"
    write_demo_tiles(data, size_px=128, num_train=2, num_val=1, num_test=1)
    spec = StudySpec(
        architectures=("unet_resnet34",),
        data=str(data.resolve()),
        trials=options.trials,
        grace_epochs=options.reports,
        seeds=0,
        test=False,
        wandb="disabled",
        recipe=Recipe(epochs=options.reports, precision="fp32", window_px=64),
    )
    run_study(spec, out=options.folder / "study", console=Console(quiet=True), options=Options(fit=fit, evaluate=score))
    return 0


if __name__ == "__main__":
    run(main)
