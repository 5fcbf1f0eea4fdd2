"""Scoring a model on whole tiles as plain data: what to score, how, and the result."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from trainables.data.tiles import DatasetInfo, Tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringMode:
    """How a model is scored.

    Attributes:
        label: What tells it from the usual mode, for tables; empty for that.
        cpus: Cores, and threads.
        gpus: Share of a GPU.
        is_alone: Whether nothing else is scored meanwhile.
        window_px: Side of the windows that larger tiles are predicted in; None for as usual.
    """

    label: str
    cpus: int
    gpus: float
    is_alone: bool = False
    window_px: int | None = None

    @property
    def device(self) -> str:
        """The torch device."""
        return "cuda" if self.gpus else "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringJob:
    """One model to score, and what to leave on the disk.

    Attributes:
        folder: The trial's, with its `best.pt`.
        beat: A file to touch while it gets on.
        permit: The scoring ends before its next tile when this file is gone; None for a scoring that must not end.
        scores_of: What tells the tiles from others, for `VAL_SCORES` in the folder; empty to write none.
        pictures: Folder for pictures of `MAX_PICTURES` of the tiles; None for none.
        keeps_all: Whether that folder gets every tile's mask, picture and probabilities.
        members: Folders of other trials, whose models' probabilities are averaged with its own.
        tta: Whether it is also scored by the mean of its probabilities over the eight symmetries of a tile.
    """

    folder: Path
    beat: Path
    permit: Path | None
    scores_of: str = ""
    pictures: Path | None = None
    keeps_all: bool = False
    members: tuple[Path, ...] = ()
    tta: bool = False


class SideScores(TypedDict):
    """What averaged probabilities score; as in `ModelScores`. Ensembles and older records have no confusions."""

    iou: float
    f1: float
    tile_iou: Mapping[str, float | None]
    tile_confusion: NotRequired[Mapping[str, list[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScores:
    """Scores of a model on whole tiles.

    Attributes:
        iou: In [0, 1]; `f1` too.
        tile_iou: By tile id; None where no pixel counts.
        tile_confusion: By tile id: the pixel counts of truth × prediction, row by row.
        epoch: That the checkpoint is from; 0 where a record does not say.
        scored: Label of the mode that it was scored in; empty for the usual one.
        unsaved: Why pictures are missing; empty where none are.
        tta: By the mean of its probabilities over the eight symmetries of a tile; None where nobody asked.
        ensemble: By the mean of the probabilities of all models of its arm and tile subset; None as `tta`.
    """

    iou: float
    f1: float
    tile_iou: Mapping[str, float | None]
    tile_confusion: Mapping[str, list[int]] | None = None
    epoch: int = 0
    scored: str = ""
    unsaved: str = ""
    tta: SideScores | None = None
    ensemble: SideScores | None = None

    def content(self) -> dict[str, Any]:
        """For a file: all but what there seldom is."""
        seldom = {"unsaved", "tta", "ensemble"}
        return {name: value for name, value in asdict(self).items() if name not in seldom or value}

    def recorded(self) -> dict[str, Any]:
        """For the register of the test tiles."""
        content = asdict(self)
        return {name: content[name] for name in RECORDED if content[name] not in (None, "")}


RECORDED = ("iou", "f1", "tile_iou", "tile_confusion", "scored", "tta", "ensemble")
"""What the register of the test tiles keeps of a model's scores, as far as there is something to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringFailure:
    """Why a model has no scores.

    Attributes:
        reason: For people; empty where it was stopped.
        kind: "out of memory" where another mode may help, "disk" where a person has to, "stopped" by its permit,
            "error" otherwise.
    """

    reason: str = ""
    kind: Literal["error", "out of memory", "disk", "stopped"] = "error"


ScoringResult = ModelScores | ScoringFailure

Evaluate = Callable[[ScoringJob, ScoringMode, Tiles, DatasetInfo], ScoringResult]
"""`score_model`, or a function with its arguments."""


def load_record(row: Mapping[str, Any]) -> ScoringResult:
    """The scores that `ModelScores.recorded` made a row of."""
    if "error" in row:
        return ScoringFailure(reason=row["error"])
    return ModelScores(**{name: row[name] for name in RECORDED if name in row})
