"""Reads the folders that `python -m trainables.fit` leaves behind: what was trained, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

_COMMAND = "python -m trainables.fit"
_HISTORY_COLUMNS = ("epoch", "judged")


class AttemptError(ValueError):
    """A person's mistake about the attempts to compare: one line with the value, the rule and the fix."""


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Settings(_Content):
    """What the headline table shows of the settings; the others are kept as they are, under their own names."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="allow")
    lr: float
    augmentation: str
    decoder_dropout: float
    loss: str = "bce_dice"
    bce_weight: float
    tiles: int
    weights: str = "none"
    val_center_px: int | None = None


class Published(_Content):
    """What the source published for the attempt on Inria Austin; None where it says nothing."""

    trainable: str | None = None
    val_iou: float | None = None
    val_f1: float | None = None
    test_iou: float | None = None
    test_f1: float | None = None
    best_epoch: int | None = None
    minutes_t4: float | None = None


class About(_Content):
    """The content of `attempt.json`, as far as it is compared."""

    attempt: str
    architecture: str
    label: str
    title: str
    settings: Settings
    changed: tuple[str, ...]
    smoke: bool
    num_trainable: int
    data: str
    tiles_digest: str
    val_tiles: tuple[str, ...] = Field(min_length=1)
    device: str
    published: Published = Published()


class Trivial(_Content):
    """The best constant predictor: the class that it says everywhere, and its scores in [0, 1]."""

    class_: str = Field(alias="class")
    iou: float
    f1: float


class Summary(_Content):
    """The content of `summary.json`, as far as it is compared: scores at the best epoch, in [0, 1].

    `tile_iou` is None for a tile in which no pixel counts.
    """

    val_iou: float
    val_f1: float
    tile_iou: dict[str, float | None]
    best_epoch: int
    minutes: float
    trivial: Trivial


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt that has ended.

    Attributes:
        folder: Where it lies, as the person wrote it.
        about: What was trained, on what.
        summary: What came of it.
        history: One row per epoch with the columns `epoch` (int64, from 1, rising) and `judged` (float64, in
            [0, 1]): the val IoU that chose the best epoch, on whole tiles unless `val_center_px` is set.
        mark: What tells it from another one of the same number and label: the end of its folder's path, or empty.
    """

    folder: Path
    about: About
    summary: Summary
    history: pd.DataFrame
    mark: str = ""

    @property
    def name(self) -> str:
        """Its number and label, such as "02 unet_resnet34", with all that keeps it from being mistaken."""
        return f"{self.about.attempt} {self._with_warnings(self._label)}"

    @property
    def model(self) -> str:
        """Its title; its label instead where it was not trained as the title says."""
        about = self.about
        is_as_titled = about.label == about.architecture and "weights" not in about.changed
        return self._with_warnings(about.title if is_as_titled else self._label)

    @property
    def _label(self) -> str:
        about = self.about
        is_told = about.label != about.architecture or "weights" not in about.changed
        return about.label if is_told else f"{about.label} (weights: {about.settings.weights})"

    @property
    def best_iou(self) -> float:
        """The judged val IoU of its best epoch, as its history has it."""
        return float(self.history["judged"][self.history["epoch"] == self.summary.best_epoch].item())

    def picture(self, kind: str, tile: str, size: tuple[int, int] | None = None) -> Image.Image:
        """Returns the RGB picture of a val tile.

        Args:
            kind: "images", "truth" or "overlays".
            tile: The tile's id.
            size: Width and height that it must have, in pixels; None allows any.

        Raises:
            AttemptError: It is missing, damaged or of another size.
        """
        path = self.folder / "predictions" / "val" / kind / f"{tile}.jpg"
        fix = f"run attempt {self.about.attempt} again or leave {self.folder} out"
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except FileNotFoundError:
            raise AttemptError(f"{path} does not exist, but the grid of tile {tile} shows it: {fix}") from None
        except (UnidentifiedImageError, OSError, SyntaxError) as error:  # Pillow raises all three for damaged files
            raise AttemptError(f"{path} is no picture that can be read ({error}): {fix}") from None
        if size is not None and picture.size != size:
            (width, height), (must_width, must_height) = picture.size, size
            raise AttemptError(
                f"{path} is {width}x{height} px, but the tile's image is {must_width}x{must_height} px: {fix}"
            )
        return picture

    def _with_warnings(self, name: str) -> str:
        smoke = " (smoke)" if self.about.smoke and "smoke" not in name.lower() else ""
        return f"{name}{smoke}{f' [{self.mark}]' if self.mark else ''}"


def read_attempts(folders: Sequence[Path]) -> tuple[Attempt, ...]:
    """Returns the attempts in these folders, in the order given.

    Raises:
        AttemptError: A folder is given twice, holds no attempt that has ended, or holds one that is damaged or of other
            tiles than the first.
    """
    seen: dict[Path, Path] = {}
    for folder in folders:
        if first := seen.get(folder.resolve()):
            raise AttemptError(
                f"{folder} is the same folder as {first}, but an attempt is compared with others: give each folder once"
            )
        seen[folder.resolve()] = folder
    attempts = [_read_attempt(folder) for folder in folders]
    for attempt in attempts[1:]:
        _check_tiles(attempts[0], attempt)
    namesakes: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        namesakes.setdefault(attempt.name, []).append(attempt)
    return tuple(
        replace(attempt, mark=_mark(attempt, namesakes[attempt.name])) if len(namesakes[attempt.name]) > 1 else attempt
        for attempt in attempts
    )


def _read_attempt(folder: Path) -> Attempt:
    if not folder.is_dir():
        raise AttemptError(
            f"the attempt's folder is {folder}, but no such folder exists: give one that {_COMMAND} made"
        )
    if not (folder / "attempt.json").is_file():
        raise AttemptError(
            f"{folder} holds no attempt.json, but only an attempt's folder can be compared: "
            f"make one with {_COMMAND} --attempt NN --out {folder}"
        )
    about = _read_json(folder / "attempt.json", About)
    if not (folder / "summary.json").is_file():
        raise AttemptError(
            f"{folder} holds no summary.json, but only an attempt that has ended can be compared: it is still running "
            "or was interrupted; wait, or go on with the same command and --resume"
        )
    summary = _read_json(folder / "summary.json", Summary)
    history = _read_history(folder / "history.csv", summary.best_epoch)
    if missing := [tile for tile in about.val_tiles if tile not in summary.tile_iou]:
        raise _damaged(folder / "summary.json", f"tile_iou has no {missing[0]}")
    return Attempt(folder=folder, about=about, summary=summary, history=history)


_Read = TypeVar("_Read", bound=BaseModel)


def _read_json(path: Path, kind: type[_Read]) -> _Read:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        raise _damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from None
    except OSError as error:
        raise _damaged(path, str(error)) from None


def _read_history(path: Path, best_epoch: int) -> pd.DataFrame:
    try:
        history = pd.read_csv(path, usecols=list(_HISTORY_COLUMNS)).astype({"epoch": "int64", "judged": "float64"})
    except (ValueError, OSError) as error:  # pandas' own errors and those of decoding are ValueErrors
        raise _damaged(path, " ".join(str(error).split())) from None
    if history["judged"].isna().any() or not (history["epoch"].diff().iloc[1:] > 0).all():
        raise _damaged(path, "every row needs a judged val IoU and a later epoch than the row before")
    if best_epoch not in history["epoch"].to_numpy():
        raise _damaged(path, f"it has no epoch {best_epoch}, the best one by summary.json")
    return history[list(_HISTORY_COLUMNS)]


def _damaged(path: Path, what: str) -> AttemptError:
    return AttemptError(f"{path} is damaged ({what}): run the attempt again or leave its folder out")


def _check_tiles(first: Attempt, other: Attempt) -> None:
    for what, key in (("val tiles", "val_tiles"), ("tiles", "tiles_digest")):
        values: list[Any] = [getattr(attempt.about, key) for attempt in (first, other)]
        if key == "val_tiles":
            values = [", ".join(sorted(tiles)) for tiles in values]
        if values[0] != values[1]:
            shown = [value if key == "val_tiles" else f"digest {value[:12]}" for value in values]
            raise AttemptError(
                f"{other.folder} has other {what} ({shown[1]}) than {first.folder} ({shown[0]}), but only attempts on "
                "the same tiles can be compared: compare them apart"
            )


def _mark(attempt: Attempt, namesakes: list[Attempt]) -> str:
    """Returns the shortest end of the folder's path that none of its namesakes' folders has."""
    paths = [other.folder.resolve().parts for other in namesakes]
    own = attempt.folder.resolve().parts
    lengths = range(1, len(own) + 1)
    length = next((n for n in lengths if sum(path[-n:] == own[-n:] for path in paths) == 1), len(own))
    return Path(*own[-length:]).as_posix()
