"""What the history of a W&B run holds: the contract between those who log a study and those who read its logs.

A study has one W&B run of its own (job type "study") and one per trial (job type "trial"); a study or a trial that was
resumed has one more for each resumption. A run has a configuration, which is written once, and a history of rows:

- The study's run has a `StudyRunConfig`. A row of its history is a `TrialRow`, `SelectionRow`, `ModelRow`,
  `FurtherRow` or `OpeningRow`, with keys that begin with `trial/`, `selection/`, `model/`, `further/` or `opening/`; or
  it holds pictures.
- A trial's run has a `TrialRunConfig`. A row of its history is an `EpochRow` with the epoch's metrics beside it; or it
  holds pictures.

Keys that are `NotRequired` are missing where there is nothing to say, and from logs that are older than the key. A
reader leaves out rows that lack one of the others. This file imports nothing but the standard library.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NotRequired, TypeAlias, TypedDict, TypeVar, cast

from analysis.logs.further_rows import FurtherModel, FurtherRow
from analysis.logs.run_configs import required

Split: TypeAlias = str
"""What final models are scored on: "val", "test", or "test-<name>", a further test set."""

SPLITS: tuple[Split, ...] = ("val", "test")
"""Those that every study has."""

TTA: Split = "tta"
"""The test tiles once more, by the mean of a model's probabilities over the eight symmetries of a tile."""

OVERLAYS = "overlays"
"""Key of a trial's pictures of val tiles."""


class EpochRow(TypedDict):
    """An epoch of a trial; its metrics stand beside it, each under its own key (`train/loss`, `val/iou/<tile>`).

    Attributes:
        epoch: From 1.
        lr: Learning rate.
        epoch_seconds: Wall clock, training and validation.
        step_seconds: Mean wall clock of an optimizer step.
        peak_memory_gib: Of the device; 0 on a CPU.
        micro_batch_size: As in `TrialRunConfig`.
        epochs_spent: Epochs trained so far; only in old logs.
    """

    epoch: int
    lr: NotRequired[float]
    epoch_seconds: NotRequired[float]
    step_seconds: NotRequired[float]
    peak_memory_gib: NotRequired[float]
    micro_batch_size: NotRequired[int]
    epochs_spent: NotRequired[int]


class TrialRow(TypedDict):
    """How a trial ended and what it cost; a later row of the same trial stands for it.

    Attributes:
        arm, run_arm, stage: As in `TrialRunConfig`, and `number`, which is `trial` there.
        state: "finished", "stopped", "failed", "diverged", "out of memory" or "interrupted".
        epochs: Epochs spent.
        signature: Of its configuration.
        reason: Why it ended so, in words; may be empty.
        seconds: Wall clock of its epochs.
        micro_batch_size: As in `TrialRunConfig`.
        lost_epochs, lost_seconds: What was trained again since a worker was lost.
        judged: Best value of the judged metric, and `best_epoch`, from 1, when that was; of a trial with epochs.
    """

    arm: str
    run_arm: str
    number: int
    stage: str
    state: str
    epochs: int
    signature: NotRequired[str]
    reason: NotRequired[str]
    seconds: NotRequired[float]
    micro_batch_size: NotRequired[int]
    lost_epochs: NotRequired[int]
    lost_seconds: NotRequired[float]
    judged: NotRequired[float]
    best_epoch: NotRequired[int]


class SelectionRow(TypedDict):
    """The trial that the search of an arm selected.

    Attributes:
        arm, number: Of the trial.
        signature, judged, best_epoch: As in its `TrialRow`.
        val_iou, val_f1: On whole val tiles, in [0, 1]; None where it could not be scored. Where folds of labels judged
            it, `val_iou` is `judged`, and there is no `val_f1`.
        is_recipe: Whether its configuration is the recipe; of a study that trains the recipe beside what was selected.
    """

    arm: str
    number: int
    signature: NotRequired[str]
    judged: NotRequired[float]
    val_iou: NotRequired[float | None]
    val_f1: NotRequired[float | None]
    best_epoch: NotRequired[int]
    is_recipe: NotRequired[bool]


class ModelFacts(TypedDict):
    """What is known of a final model, but for its scores by tile.

    Attributes:
        arm: The arm that it counts for.
        number: Its number in the arm, from 0.
        run_arm: The arm that its trial is logged under.
        confirms: Signature of the selected configuration that it repeats; None without a search.
        subset, seed: Which of the tile subsets and seeds it has, from 0.
        state, signature, best_epoch, epochs, seconds, micro_batch_size: As in its trial's `TrialRow`.
        init_seed, draw_seed, subset_seed: Of its configuration.
        val_iou, val_f1, test_iou, test_f1: On whole tiles, in [0, 1]; None where it was not scored.
        tta_iou, tta_f1: On test, by the mean of its probabilities over the eight symmetries of a tile; None as these.
        ensemble_iou, ensemble_f1: On test, by the mean of the probabilities of all models of its arm and subset.
        scored: How it was scored, where not in the usual way; else None.
        attempt: Id of the opening of the test tiles that it was scored in.
    """

    arm: str
    number: int
    run_arm: str
    confirms: NotRequired[str | None]
    subset: NotRequired[int]
    seed: NotRequired[int]
    state: NotRequired[str | None]
    init_seed: NotRequired[int]
    draw_seed: NotRequired[int]
    subset_seed: NotRequired[int]
    signature: NotRequired[str]
    best_epoch: NotRequired[int]
    epochs: NotRequired[int]
    seconds: NotRequired[float]
    micro_batch_size: NotRequired[int]
    val_iou: NotRequired[float | None]
    val_f1: NotRequired[float | None]
    test_iou: NotRequired[float | None]
    test_f1: NotRequired[float | None]
    tta_iou: NotRequired[float | None]
    tta_f1: NotRequired[float | None]
    ensemble_iou: NotRequired[float | None]
    ensemble_f1: NotRequired[float | None]
    scored: NotRequired[str | None]
    attempt: NotRequired[str]


class FinalModel(ModelFacts):
    """A final model with its scores by tile id; `models.json` holds it so.

    Attributes:
        val_tile_iou, test_tile_iou, tta_tile_iou: In [0, 1]; None for a tile of which no pixel counts.
        val_tile_confusion, test_tile_confusion, tta_tile_confusion: Pixel counts, rows truth and columns prediction,
            row after row.
    """

    val_tile_iou: NotRequired[Mapping[str, float | None] | None]
    val_tile_confusion: NotRequired[Mapping[str, list[int]] | None]
    test_tile_iou: NotRequired[Mapping[str, float | None] | None]
    test_tile_confusion: NotRequired[Mapping[str, list[int]] | None]
    tta_tile_iou: NotRequired[Mapping[str, float | None] | None]
    tta_tile_confusion: NotRequired[Mapping[str, list[int]] | None]


class ModelRow(ModelFacts):
    """A final model with its scores as lists, in the order of `val_tiles` and so on, which hold tile ids.

    W&B would split a dictionary by the dots in tile ids. A later row of the same arm and number stands for it.
    """

    val_tiles: NotRequired[list[str]]
    val_tile_iou: NotRequired[list[float | None]]
    val_tile_confusion: NotRequired[list[list[int]]]
    test_tiles: NotRequired[list[str]]
    test_tile_iou: NotRequired[list[float | None]]
    test_tile_confusion: NotRequired[list[list[int]]]
    tta_tiles: NotRequired[list[str]]
    tta_tile_iou: NotRequired[list[float | None]]
    tta_tile_confusion: NotRequired[list[list[int]]]


class OpeningRow(TypedDict):
    """That the tiles of a test set were opened for an arm, or that an earlier result was used instead.

    Attributes:
        arm: For which.
        attempt: Id of the models with their seeds and tiles.
        event: "opened", "reopened", or "recorded" where an earlier result was used; "result" in old logs.
        at: ISO time, UTC.
        test_set: The name of a further test set; missing for `test`.
        why: The reason for a reopening.
        tiles_digest: Of the test tiles.
        num_attempts, num_studies: That had ever opened these tiles by then.
    """

    arm: str
    attempt: str
    event: str
    at: str
    test_set: NotRequired[str]
    why: NotRequired[str]
    tiles_digest: NotRequired[str]
    num_attempts: NotRequired[int]
    num_studies: NotRequired[int]


Row = TypeVar("Row", TrialRow, SelectionRow, ModelRow, FurtherRow, OpeningRow)


@dataclass(frozen=True)
class RowKind(Generic[Row]):
    """A kind of row in the history of a study's run.

    Attributes:
        name: Its keys begin with that and a slash.
        type: What it holds.
    """

    name: str
    type: type[Row]

    def to_history(self, row: Row) -> dict[str, Any]:
        """Returns the row as it is logged, without the keys whose value is None."""
        return {f"{self.name}/{key}": value for key, value in row.items() if value is not None}

    def from_history(self, history: Iterable[Mapping[str, Any]]) -> tuple[list[Row], int]:
        """Returns the rows of this kind in a history, and how many more there are that lack a required key."""
        prefix, needed = f"{self.name}/", required(self.type)
        rows: list[Any] = [
            {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
            for row in history
            if f"{prefix}arm" in row
        ]
        whole = [row for row in rows if all(key in row for key in needed)]
        return whole, len(rows) - len(whole)


TRIAL = RowKind("trial", TrialRow)
SELECTION = RowKind("selection", SelectionRow)
MODEL = RowKind("model", ModelRow)
FURTHER = RowKind("further", FurtherRow)
OPENING = RowKind("opening", OpeningRow)


def model_row(model: FinalModel) -> ModelRow:
    """Returns a final model with its scores by tile as lists."""
    return cast("ModelRow", _with_lists(model))


def further_row(model: FurtherModel) -> FurtherRow:
    """Returns what a final model came to on a further test set, with its scores by tile as lists."""
    return cast("FurtherRow", _with_lists(model))


def _with_lists(model: Mapping[str, Any]) -> dict[str, Any]:
    by_tile = {key: value for key, value in model.items() if isinstance(value, Mapping)}
    lists: dict[str, Any] = {}
    for key, values in by_tile.items():
        lists |= {key: list(values.values()), f"{key.partition('_')[0]}_tiles": list(values)}
    return {key: value for key, value in model.items() if key not in by_tile} | lists


def tile_iou(row: ModelRow | FurtherRow, split: Split) -> dict[str, float | None]:
    """Returns a model's IoU by tile of a split, in the tiles' order; empty where it was not scored on it."""
    values: Mapping[str, Any] = row
    return dict(zip(values.get(f"{split}_tiles", ()), values.get(f"{split}_tile_iou", ()), strict=True))


def tile_confusion(row: ModelRow | FurtherRow, split: Split) -> list[list[int]]:
    """Returns a model's confusion matrices by tile of a split, as `tile_iou` does; each row after row."""
    values: Mapping[str, Any] = row
    return values.get(f"{split}_tile_confusion") or []


def pictures_key(split: Split, arm: str) -> str:
    """The key of a study's pictures of an arm: the selected trial's of val tiles, or a final model's of test tiles."""
    return f"{'selected' if split == 'val' else 'tested'}/{arm}"


def pictures(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns file name and caption (the tile's id) of what W&B logs for several pictures, or for a single one."""
    names = value.get("filenames") or ([value["path"]] if value else [])
    captions = value.get("captions") or [value.get("caption")] * len(names)
    return [(name, caption or "") for name, caption in zip(names, captions, strict=True)]
