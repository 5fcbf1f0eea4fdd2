"""Scores one model on whole tiles, in a worker, and saves its scores and pictures at once."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studies.models.scores import ModelScores, ScoringFailure, ScoringJob, ScoringMode, ScoringResult, SideScores
from trainables.checkpoints import BEST, load_model
from trainables.common.errors import UserError, is_disk_trouble
from trainables.common.whole_files import digest, file_stem, write_whole
from trainables.data.pictures import side_by_side
from trainables.data.tiles import DatasetInfo, Tiles
from trainables.device import (
    DeviceError,
    autocast,
    free_memory,
    move_model,
    named_device,
    out_of_memory_words,
    use_threads,
)
from trainables.metrics import tile_values
from trainables.models.averaged import Ensemble, OverSymmetries
from trainables.models.segmenter import Segmenter
from trainables.predict import Evaluation, OnTile, evaluate

VAL_SCORES = "val_scores.json"
"""Beside a model's `best.pt`: its scores on the val tiles, so that nothing is scored twice."""

MAX_PICTURES = 24
"""Tiles in a trial's or model's logged pictures; of more, every so many-th, so that a study's logs stay small."""

PICTURE_PX = 2048
"""Longest side of a tile in a picture; of larger ones every so many-th pixel shows, as 24 take gigabytes."""

BEAT_SECONDS = 5.0
"""Least time between two signs of life."""

BESIDE = "_beside.jpg"
"""Ends the name of a picture of image, truth and prediction, side by side."""


class _NoPermitError(Exception):
    """Ends a scoring between two tiles."""


def pictured(num_tiles: int) -> range:
    """Which tiles have their pictures logged."""
    return range(0, num_tiles, math.ceil(num_tiles / MAX_PICTURES) or 1)


def picture(tiles: Tiles, index: int, prediction: NDArray[np.uint8], info: DatasetInfo) -> NDArray[np.uint8]:
    """(H, W', 3) uint8: a tile, its truth and its prediction (H, W), side by side; see `PICTURE_PX`."""
    step = -(-max(prediction.shape) // PICTURE_PX)
    image, mask, predicted = (
        pixels[::step, ::step] for pixels in (tiles.images[index], tiles.masks[index], prediction)
    )
    return side_by_side(image, mask, predicted, info)


def score_model(job: ScoringJob, mode: ScoringMode, tiles: Tiles, info: DatasetInfo) -> ScoringResult:
    """Scores a trial's best checkpoint on whole tiles, or the mean of several trials'.

    Returns:
        Its scores, or why there are none. The error of a device that this process cannot use any more is raised.
    """
    beat = _Beat(job.beat, job.permit)
    try:
        beat()
        return _score(job, mode, tiles, info, beat)
    except _NoPermitError:
        return ScoringFailure(kind="stopped")
    except DeviceError as error:
        if (reason := out_of_memory_words(error)) is None:
            raise  # the model needs another process
    except Exception as error:
        reason = out_of_memory_words(error)
        if reason is None:
            about = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".splitlines()[0]
            return ScoringFailure(reason=about, kind="disk" if is_disk_trouble(error) else "error")
    finally:
        beat.close()
    # The error has gone out of scope, and with it the frames that hold the model and its activations
    free_memory()
    return ScoringFailure(reason=reason, kind="out of memory")


def load_scores(folder: Path, scores_of: str) -> ModelScores | None:
    """Loads what `score_model` left in a trial's folder; None unless it is of this very model and of these tiles.

    Args:
        folder: The trial's.
        scores_of: What tells the tiles from others.
    """
    try:
        content = json.loads((folder / VAL_SCORES).read_text(encoding="utf-8"))
        is_known = content["tiles"] == scores_of and content["model"] == digest(folder / BEST)
        return ModelScores(**content["scores"]) if is_known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_pictures(folder: Path, tile_ids: Iterable[str]) -> dict[str, NDArray[np.uint8]]:
    """Loads the pictures of tiles that `score_model` saved, as far as there are any: (H, W', 3) uint8 by tile id."""
    pictures = {}
    for tile_id in tile_ids:
        path = folder / f"{file_stem(tile_id)}{BESIDE}"
        if path.exists():  # there may have been no room, or another study scored the model
            with Image.open(path) as file:
                pictures[tile_id] = np.asarray(file)
    return pictures


def _score(
    job: ScoringJob, mode: ScoringMode, tiles: Tiles, info: DatasetInfo, beat: Callable[[], None]
) -> ModelScores:
    use_threads(mode.cpus)
    trained, *others = (load_model(folder / BEST) for folder in (job.folder, *job.members))
    for one in (trained, *others):
        one.model.keep_features()  # other models over the same frozen encoder are scored on the same tiles
    target = named_device(mode.device)
    pictures = None if job.pictures is None else _Pictures(job.pictures, tiles, info, keeps_all=job.keeps_all)

    def evaluated(network: Segmenter | Ensemble | OverSymmetries, on_tile: OnTile | None = None) -> Evaluation:
        with autocast(trained.config.recipe.precision, target):  # as it was judged
            return evaluate(
                move_model(network, target),
                tiles,
                info,
                stride=trained.stride,
                loss=trained.config.loss_function,
                device=target,
                before_tile=beat,
                window_px=mode.window_px,
                keeps_predictions=False,
                on_tile=on_tile,
            )

    network = Ensemble([trained.model, *(one.model for one in others)]) if others else trained.model
    result = evaluated(network, pictures)
    tta = None
    if job.tta:
        turned = evaluated(OverSymmetries(network))
        tta = SideScores(
            iou=turned.scores.iou,
            f1=turned.scores.f1,
            tile_iou=tile_values(tiles.ids, turned.scores.tile_iou),
            tile_confusion=_by_tile(tiles, turned),
        )
    scores = ModelScores(
        iou=result.scores.iou,
        f1=result.scores.f1,
        tile_iou=tile_values(tiles.ids, result.scores.tile_iou),
        tile_confusion=_by_tile(tiles, result),
        epoch=trained.epoch,
        scored=mode.label,
        unsaved="" if pictures is None else pictures.unsaved,
        tta=tta,
    )
    if job.scores_of:
        content = {"tiles": job.scores_of, "model": digest(job.folder / BEST), "scores": scores.content()}
        write_whole(job.folder / VAL_SCORES, json.dumps(content).encode())
    return scores


def _by_tile(tiles: Tiles, result: Evaluation) -> dict[str, list[int]]:
    """The confusion matrices by tile id, row after row."""
    return {tile: matrix.ravel().tolist() for tile, matrix in zip(tiles.ids, result.confusions, strict=True)}


class _Beat:
    """Asked before each tile: a sign of life, which the permit may end."""

    def __init__(self, path: Path, permit: Path | None):
        self._path, self._permit = path, permit
        self._at = -math.inf

    def __call__(self) -> None:
        if self._permit is not None and not self._permit.exists():
            raise _NoPermitError
        now = time.monotonic()
        if now - self._at >= BEAT_SECONDS:
            self._at = now
            with contextlib.suppress(OSError):  # of a share that stumbles; one that stays away shows elsewhere
                self._path.touch()

    def close(self) -> None:
        """Leaves no file behind."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class _Pictures:
    """Saves predictions tile by tile; a disk that takes no more of them spoils no scores."""

    def __init__(self, folder: Path, tiles: Tiles, info: DatasetInfo, *, keeps_all: bool):
        self._folder, self._tiles, self._info = folder, tiles, info
        self._keeps_all = keeps_all
        self._pictured: Sequence[int] = range(len(tiles)) if keeps_all else pictured(len(tiles))
        self.unsaved = ""

    def __call__(self, index: int, prediction: NDArray[np.uint8], probability: NDArray[np.uint8] | None = None) -> None:
        if self.unsaved or index not in self._pictured:
            return
        pictures = {BESIDE: picture(self._tiles, index, prediction, self._info)}
        if self._keeps_all:
            pictures[".png"] = prediction
            if probability is not None:
                pictures["_probability.png"] = probability
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for ending, pixels in pictures.items():
                Image.fromarray(pixels).save(self._folder / f"{file_stem(self._tiles.ids[index])}{ending}")
        except OSError as error:
            self.unsaved = f"{self._folder} could not be written ({error.strerror or error})"
