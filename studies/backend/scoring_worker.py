"""The process of Ray's that scores models. It starts without what decides about scorings, above all without Optuna."""

from studies.models.scores import Evaluate, ScoringJob, ScoringMode, ScoringResult
from trainables.data.tiles import DatasetInfo, Tiles


class ScoringWorker:
    """Scores one model after another."""

    def prepare(self, evaluate: Evaluate) -> None:
        """Nothing: by then all that `evaluate` takes is imported."""

    def score(
        self, evaluate: Evaluate, job: ScoringJob, mode: ScoringMode, tiles: Tiles, info: DatasetInfo
    ) -> ScoringResult:
        """See `score_model`."""
        return evaluate(job, mode, tiles, info)
