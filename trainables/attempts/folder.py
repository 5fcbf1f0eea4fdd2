"""The folder of an attempt: what was set, its epochs, and what it predicts; every file whole or not at all."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainables import checkpoints as ckpt
from trainables.attempts.reference import ReferenceAttempt, reference_config
from trainables.common.errors import UserError
from trainables.common.whole_files import write_whole
from trainables.config import TrialConfig
from trainables.data.pictures import overlay, to_rgb
from trainables.data.tiles import TrainVal
from trainables.metrics import constant_scores, tile_values
from trainables.models.architectures import ARCHITECTURES
from trainables.models.weights import KEYWORDS, PUBLISHED
from trainables.predict import evaluate
from trainables.records import EpochRecord
from trainables.training import autocast, takes_encoder_statistics

ABOUT, HISTORY, SUMMARY = "attempt.json", "history.csv", "summary.json"
JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An attempt that was checked against its tiles, with everything that training it needs.

    Attributes:
        number: Of the attempt, with its zero.
        attempt: As it was published.
        config: As it is trained.
        tiles: Train and val tiles.
        data: The folder that they are from.
        out: The attempt's folder.
        smoke: Whether it is a smoke test.
        device: Where it is trained.
        num_threads: Threads that prepare draws.
        num_trainable: Parameters that are trained.
        num_frozen: Parameters that never are.
    """

    number: str
    attempt: ReferenceAttempt
    config: TrialConfig
    tiles: TrainVal
    data: Path
    out: Path
    smoke: bool
    device: torch.device
    num_threads: int
    num_trainable: int
    num_frozen: int

    @property
    def name(self) -> str:
        """As in the diagnostics."""
        return f"{self.number} {self.config.label}{', smoke' if self.smoke else ''}"

    @property
    def changed(self) -> list[str]:
        """Settings that differ from the published attempt's."""
        published = settings(reference_config(self.attempt))
        return [name for name, value in settings(self.config).items() if value != published[name]]


def settings(config: TrialConfig) -> dict[str, Any]:
    """All that is set in a configuration, flat; weights by the name that their file was published with, or has."""
    content = config.model_dump(mode="json", exclude={"architecture", "settings", "weights_digest", "recipe"})
    published, weights = PUBLISHED.get(ARCHITECTURES[config.architecture].encoder or ""), config.weights
    if weights not in KEYWORDS:  # whose digest is known to be right where it is a published one
        weights = published.name if published else f"file {Path(weights).name}"
    resolved = {"weights": weights, "batch_size": config.batch_size, "optimizer": config.optimizer}
    return content | config.settings | config.recipe.model_dump(mode="json") | resolved


def begin(run: Run) -> None:
    """Makes the folder, with `attempt.json`.

    Raises:
        UserError: It holds anything but an attempt that has no epoch yet, or cannot be made.
    """
    if run.out.exists() and (not run.out.is_dir() or {path.name for path in run.out.iterdir()} - {ABOUT}):
        raise UserError(f"--out {run.out} exists and is not empty: add --resume to go on, or choose another folder")
    _write(run.out / ABOUT, _json(_about(run)))


def resume(run: Run) -> list[EpochRecord]:
    """The epochs that the folder holds of the same attempt; none where it was interrupted in the first.

    Raises:
        UserError: It holds no attempt, or one of other settings, tiles or weights.
    """
    try:
        before = json.loads((run.out / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--resume needs an attempt in {run.out}, but there is none: leave --resume out") from error
    if not isinstance(before, dict) or not isinstance(before.get("settings"), dict):
        raise UserError(f"{run.out / ABOUT} is damaged: leave --resume out and choose another --out")
    about = _about(run)
    then, now = (content["settings"] | content for content in (before, about))
    if then.get("weights_digest") == now["weights_digest"] is not None:
        then["weights"] = now["weights"]  # the same bytes, whatever their name
    for key in ("attempt", "smoke", *about["settings"], "tiles_digest", "weights_digest", "signature"):
        if then.get(key) != now[key]:
            raise UserError(
                f"--resume: {key} was {then.get(key)} in {run.out}, but is {now[key]} now: give it as it was"
            )
    newest = ckpt.newest_valid(run.out, run.config) or run.out / ckpt.NEWEST
    if not newest.exists():
        return []
    content = ckpt.load(newest, ckpt.NEWEST)
    records = [EpochRecord(**record) for record in json.loads(content["records"])]
    write_history(run.out, records)  # a kill may have come before its last row
    return records


def write_history(out: Path, records: Sequence[EpochRecord]) -> None:
    """Writes `history.csv`: a row per epoch, its metrics under their own names."""
    rows = []
    for record in records:
        values = record.as_json()
        metrics = values.pop("metrics")
        rows.append({"epoch": values.pop("epoch"), "lr": values.pop("lr")} | metrics | values)
    text = io.StringIO()
    names = dict.fromkeys(key for row in rows for key in row)  # a class may occur in later epochs only
    writer = csv.DictWriter(text, fieldnames=list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(out / HISTORY, text.getvalue().encode())


def finish(run: Run, records: Sequence[EpochRecord]) -> dict[str, Any]:
    """Predicts whole val tiles with the best epoch's weights; writes masks, pictures and `summary.json`, its content.

    Images, truth and overlays are JPEGs, masks are PNGs of class indices, or of 0 and 255 where there are two classes.
    """
    trained = ckpt.load_model(run.out / ckpt.BEST, weights=run.config.weights)
    if trained.epoch != records[-1].best_epoch:
        raise UserError(
            f"{run.out / ckpt.BEST} is of epoch {trained.epoch}, but the best one is {records[-1].best_epoch}: train "
            "again into another --out"
        )
    val, info = run.tiles.val, run.tiles.info
    folder = run.out / "predictions" / "val"

    def write(index: int, prediction: NDArray[np.uint8], _: NDArray[np.uint8] | None) -> None:
        tile, rgb = val.ids[index], to_rgb(val.images[index], info)
        tinted = {"truth": overlay(rgb, val.masks[index], info), "overlays": overlay(rgb, prediction, info)}
        for kind, picture in ({"images": rgb} | tinted).items():
            _write(folder / kind / f"{tile}.jpg", _encoded(picture, "JPEG", quality=JPEG_QUALITY))
        values = prediction * np.uint8(255) if len(info.classes) == 2 else prediction
        _write(folder / "masks" / f"{tile}.png", _encoded(values, "PNG"))

    with autocast(run.config, run.device):  # as it was judged
        result = evaluate(
            trained.model.to(run.device),
            val,
            info,
            stride=trained.stride,
            loss=run.config.loss_function,
            device=run.device,
            on_tile=write,
            keeps_predictions=False,
        )
    label, trivial = constant_scores(val.masks, len(info.classes))
    summary = {
        "val_iou": result.scores.iou,
        "val_f1": result.scores.f1,
        "tile_iou": tile_values(val.ids, result.scores.tile_iou),
        "best_epoch": records[-1].best_epoch,
        "epochs": len(records),
        "ended": records[-1].ended,
        "minutes": sum(record.seconds for record in records) / 60,
        "trivial": {"class": info.classes[label], "iou": trivial.iou, "f1": trivial.f1},
    }
    _write(run.out / SUMMARY, _json(summary))
    return summary


def _about(run: Run) -> dict[str, Any]:
    return {
        "attempt": run.number,
        "title": run.attempt.title,
        "architecture": run.config.architecture,
        "label": run.config.label,
        "smoke": run.smoke,
        "settings": settings(run.config),
        "changed": run.changed,
        "normalisation": "encoder" if takes_encoder_statistics(run.config, run.tiles) else "tiles",
        "num_trainable": run.num_trainable,
        "num_frozen": run.num_frozen,
        "data": str(run.data),
        "tiles_digest": run.tiles.digest(),
        "val_tiles": list(run.tiles.val.ids),
        "device": run.device.type,
        "signature": run.config.signature(),
        "weights_digest": run.config.weights_digest,
        "versions": {name: version(name) for name in ("torch", "segmentation-models-pytorch", "albumentations")},
        "published": asdict(run.attempt.figures) | {"trainable": run.attempt.trainable},
    }


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _encoded(pixels: Any, kind: str, **options: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def _write(path: Path, content: bytes) -> None:
    """`write_whole`, whose errors are for people."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room, or choose another --out") from error
