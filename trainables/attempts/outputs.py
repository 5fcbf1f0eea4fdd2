"""What an attempt leaves in its folder beside its checkpoints, each file whole or not at all."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainables.attempts.reference import ReferenceAttempt, reference_config
from trainables.checkpoints import BEST, NEWEST, count_parameters, load, load_model, newest_valid
from trainables.common.errors import UserError
from trainables.common.whole_files import write_whole
from trainables.config import TrialConfig
from trainables.data.pictures import overlay, to_rgb
from trainables.data.tiles import TrainVal
from trainables.device import autocast
from trainables.metrics import Scores
from trainables.models.composed.names import get_architecture
from trainables.models.own.files import NETWORKS, write_copies
from trainables.models.weight_files import PUBLISHED
from trainables.models.weights import KEYWORDS
from trainables.predict import evaluate
from trainables.records import EpochRecord, records_from_json

ABOUT, HISTORY = "attempt.json", "history.csv"
JPEG_QUALITY = 90


def describe(number: str, attempt: ReferenceAttempt, config: TrialConfig, tiles: TrainVal) -> dict[str, Any]:
    """The content of `attempt.json`: `settings`, which a resumed attempt must share, and what follows from them."""
    published, own = _settings(reference_config(attempt)), _settings(config)
    if "network" in own:
        published["network"] = attempt.architecture
    num_trainable, num_frozen = count_parameters(config, tiles.info)
    expected = get_architecture(config.architecture).expected_pixels(config.weights, is_photograph=tiles.is_photograph)
    return {
        "settings": {"attempt": number}
        | own
        | {"tiles_digest": tiles.digest(), "weights_digest": config.weights_digest},
        "signature": config.signature(),
        "changed": _changes(published, own),
        "normalisation": "tiles" if expected is None else "encoder",
        "num_trainable": num_trainable,
        "num_frozen": num_frozen,
        "versions": {name: version(name) for name in ("torch", "segmentation-models-pytorch", "albumentations")},
    }


def _settings(config: TrialConfig) -> dict[str, Any]:
    """All settings of a configuration by name; weights from a file by the name that they were published with."""
    left_out = {"architecture", "settings", "weights_digest", "network_digest", "recipe"}
    content = config.model_dump(mode="json", exclude=left_out)
    published, weights = PUBLISHED.get(get_architecture(config.architecture).encoder or ""), config.weights
    if config.network_digest:
        content["network"] = f"{config.architecture} ({config.network_digest[:12]})"
    elif weights not in KEYWORDS:  # a published file was checked to be that; any other is known by its digest
        weights = published.name if published else "file"
    resolved = {"weights": weights, "batch_size": config.batch_size, "optimizer": config.optimizer}
    return content | config.settings | config.recipe.model_dump(mode="json") | resolved


def _changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Each setting that differs, as `setting then → now`."""
    return [
        f"{name} {_shown(then.get(name))} → {_shown(value)}" for name, value in now.items() if then.get(name) != value
    ]


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def open_folder(out: Path, about: dict[str, Any], config: TrialConfig, *, is_resumed: bool) -> list[EpochRecord]:
    """Makes the folder with `attempt.json`, or checks that of a resumed attempt, and returns the epochs it holds.

    Raises:
        UserError: A new attempt's folder holds anything but an attempt without an epoch, or cannot be made; a resumed
            one's holds no attempt, or one of other settings, tiles or weights.
    """
    if not is_resumed:
        if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {ABOUT, NETWORKS}):
            raise UserError(f"--out {out} exists and is not empty: add --resume to go on, or choose another folder")
        write_copies(out, [config.architecture])
        _write(out / ABOUT, (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode())
        return []
    try:
        before = json.loads((out / ABOUT).read_text(encoding="utf-8"))
        then, signature = dict(before["settings"]), str(before["signature"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"--resume needs an attempt in {out}, but its {ABOUT} is missing or damaged: leave --resume out and choose "
            "a new --out"
        ) from error
    if changes := _changes(then, about["settings"]):
        raise UserError(
            f"--resume cannot change what {out} was begun with ({'; '.join(changes)}): give it as it was, or leave "
            "--resume out and choose a new --out"
        )
    if signature != about["signature"]:  # a default of another version
        raise UserError(
            f"--resume cannot go on in {out}, which another version of Fewtile began: leave --resume out and choose a "
            "new --out"
        )
    newest = newest_checkpoint(out, config)
    records = [] if newest is None else records_from_json(load(newest, NEWEST)["records"])
    if records:
        write_history(out, records)  # a kill may have come before its last row
    return records


def newest_checkpoint(out: Path, config: TrialConfig) -> Path | None:
    """The checkpoint to go on from; None before the first epoch's end. A damaged one is left to `load` to refuse."""
    return newest_valid(out, config) or (out / NEWEST if (out / NEWEST).exists() else None)


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


def write_predictions(
    out: Path,
    config: TrialConfig,
    tiles: TrainVal,
    device: torch.device,
    *,
    best_epoch: int,
    should_stop: Callable[[], bool],
) -> Scores:
    """Predicts whole val tiles with the weights of `best.pt` and writes masks and overlays to `predictions/val`.

    Masks are PNGs of class indices, or of 0 and 255 where there are two classes; overlays are JPEGs.

    Args:
        out: The attempt's folder.
        config: What was trained.
        tiles: That it was trained on.
        device: Where to predict.
        best_epoch: Of the records, which the weights must be from.
        should_stop: Asked before each tile (and between the windows of a large one).

    Returns:
        The scores.

    Raises:
        KeyboardInterrupt: `should_stop` returned True.
        UserError: `best.pt` is missing, damaged or of another epoch, or the disk is full.
    """
    trained = load_model(out / BEST, weights=config.weights)
    if trained.epoch != best_epoch:
        raise UserError(
            f"{out / BEST} is of epoch {trained.epoch}, but the best one is {best_epoch}: train again into another "
            "--out"
        )
    val, info, folder = tiles.val, tiles.info, out / "predictions" / "val"

    def check_stop() -> None:
        if should_stop():
            raise KeyboardInterrupt

    def write(index: int, prediction: NDArray[np.uint8], _: NDArray[np.uint8] | None) -> None:
        tile = val.ids[index]
        tinted = overlay(to_rgb(val.images[index], info), prediction, info)
        mask = prediction * np.uint8(255) if len(info.classes) == 2 else prediction
        _write(folder / "overlays" / f"{tile}.jpg", _encoded(tinted, "JPEG", quality=JPEG_QUALITY))
        _write(folder / "masks" / f"{tile}.png", _encoded(mask, "PNG"))

    with autocast(config.recipe.precision, device):  # as it was judged
        result = evaluate(
            trained.model.to(device),
            val,
            info,
            stride=trained.stride,
            loss=config.loss_function,
            device=device,
            before_tile=check_stop,
            on_tile=write,
            keeps_predictions=False,
        )
    return result.scores


def _encoded(pixels: NDArray[np.uint8], kind: str, **options: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def _write(path: Path, content: bytes) -> None:
    """`write_whole`, whose errors are for people."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room, or choose another --out") from error
