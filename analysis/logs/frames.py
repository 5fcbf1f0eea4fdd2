"""What is known of a study once its logs are read: the frames of `Logs` and their columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.logs.forecast_row import ForecastRow
from analysis.logs.run_configs import StudyRunConfig
from trainables.common.splits import TEST, further_split

STARTED = "started"
"""The state of a trial for which the study's run has no end."""

ModelKey = tuple[str, int, str]
"""Arm, number in it, and split."""


def _columns(spec: str) -> dict[str, str]:
    """Returns the columns' types by name: `str` where the spec says none."""
    return {name: dtype or "str" for name, _, dtype in (word.partition(":") for word in spec.split())}


TRIAL_COLUMNS = _columns(
    "arm run_arm number:int64 stage architecture architecture_label tiles:Int64 state reason epochs:Int64 "
    "seconds:float64 judged:float64 best_epoch:Int64 signature micro_batch_size:Int64 lost_epochs:Int64 "
    "lost_seconds:float64 num_segments:int64 dtype device_model run"
)
SELECTION_COLUMNS = _columns(
    "arm number:int64 signature judged:float64 val_iou:float64 val_f1:float64 best_epoch:Int64 is_recipe:boolean"
)
MODEL_COLUMNS = _columns(
    "arm number:int64 run_arm architecture architecture_label tiles:Int64 subset:Int64 seed:Int64 init_seed:Int64 "
    "draw_seed:Int64 subset_seed:Int64 signature state best_epoch:Int64 epochs:Int64 seconds:float64 "
    "micro_batch_size:Int64 val_iou:float64 val_f1:float64 test_iou:float64 test_f1:float64 tta_iou:float64 "
    "tta_f1:float64 ensemble_iou:float64 ensemble_f1:float64 scored dtype device_model "
    "attempt run"
)
SCORE_COLUMNS = _columns("arm number:int64 split tile group iou:float64")
OPENING_COLUMNS = _columns("arm attempt event at test_set why tiles_digest num_attempts:Int64 num_studies:Int64")
IMAGE_COLUMNS = _columns("arm split caption path")


@dataclass(frozen=True, kw_only=True, eq=False)
class Logs:
    """What one study logged; equal to itself alone, so that what is computed from it can be kept.

    Attributes:
        study: The configuration of the study's newest run.
        runs: One row per trial, in the order of the study's arms: `arm`, `run_arm` (the arm under which it was logged:
            a final model that confirms a search is logged apart from it), `number`, `stage` ("search" or "final"),
            `architecture`, `architecture_label`, `tiles` (count), `state` ("finished", "stopped", "failed", "diverged",
            "out of memory", "interrupted", or "started" where no end is logged), `reason`, `epochs` (spent), `seconds`,
            `judged` (best value of the judged metric, in [0, 1]), `best_epoch` (from 1), `signature`,
            `micro_batch_size` (draws at once; 0 for whole batches), `lost_epochs` and `lost_seconds` (trained again
            since a worker was lost), `num_segments` (how many W&B runs the trial has), `dtype` ("fp32", "bf16" or
            "fp16") and `device_model` (what it was trained as and on; joined by " then " where that changed, empty
            where the logs do not say), `run` (the name of the newest), and `hyperparameters/<name>` for each one
            logged.
        history: One row per trial and epoch: `arm`, `run_arm`, `number`, `stage`, `epoch` (from 1), then every number
            that was logged with the epoch under its own key, such as `train/loss`, `val/iou`, `val/iou/<tile>`, `lr`,
            `epoch_seconds`.
        selection: One row per arm that has a selected trial: `arm`, `number`, `signature`, `judged`, `val_iou` and
            `val_f1` (full resolution, in [0, 1]), `best_epoch`, `is_recipe` (whether its configuration is the recipe;
            missing in studies that do not train that).
        models: One row per final model: `arm`, `number` (in it), `run_arm`, `architecture`, `architecture_label`,
            `tiles`, `subset` and `seed` (which of the tile subsets and seeds it has, from 0), `init_seed`, `draw_seed`,
            `subset_seed`, `signature`, `state`, `best_epoch` (from 1), `epochs`, `seconds`, `micro_batch_size`,
            `val_iou`, `val_f1`, `test_iou` and `test_f1` (full resolution, in [0, 1]; missing where it was not scored),
            `tta_iou`, `tta_f1`, `ensemble_iou` and `ensemble_f1` (on test, by probabilities averaged over the eight
            symmetries of a tile, or over all models of the arm and subset), `scored` (how, where that was not on whole
            tiles as usual; else empty), `dtype` and `device_model` (of its training, as in `runs`), `attempt`, `run`,
            `hyperparameters/<name>` as in `runs`, and `test-<name>_iou` and `test-<name>_f1` of each further test set
            that any model was scored on.
        scores: One row per final model and tile that it was scored on: `arm`, `number`, `split` ("val", "test",
            "test-<name>", or "tta" for test over symmetries), `tile`, `group` (its place; the tile's
            own id where none is known), `iou` (in [0, 1]; missing where no pixel of the tile counts, which no mean may
            take for a score).
        openings: One row per event of a test set, as logged last: `arm`, `attempt`, `event` ("opened", "reopened",
            "result", or "recorded" where an earlier result was used), `at`, `test_set` (missing for `test`), `why`,
            `tiles_digest`, `num_attempts` and `num_studies` (that ever opened these tiles, up to then).
        images: One row per picture of predictions: `arm`, `split` ("val": the selected trial's; "test": a final
            model's), `caption` (the tile), `path` (of a picture that exists).
        confusions: By (arm, number, split) of a final model, (T, K, K) pixel counts of the split's tiles in the order
            of `scores`, rows truth and columns prediction.
        notes: What the reader should know about the files, each a sentence.
        forecast: What the study forecast of its time, and what it took; None where the logs do not say.
        further: The further test sets that models were scored on, `test-<name>`, in the study's order.
    """

    study: StudyRunConfig
    runs: pd.DataFrame
    history: pd.DataFrame
    selection: pd.DataFrame
    models: pd.DataFrame
    scores: pd.DataFrame
    openings: pd.DataFrame
    images: pd.DataFrame
    confusions: dict[ModelKey, npt.NDArray[np.int64]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    forecast: ForecastRow | None = None
    further: tuple[str, ...] = ()


def opened_splits(openings: pd.DataFrame) -> pd.Series:
    """Returns which test set each of `Logs.openings` is of: "test", or "test-<name>"."""
    return openings["test_set"].fillna("").map(lambda name: further_split(name) if name else TEST)


def frame(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Makes a frame with the documented columns first, then the others by name."""
    others = sorted({key for row in rows for key in row} - set(columns))
    return pd.DataFrame(rows, columns=[*columns, *others]).astype(columns)
