"""Checkpoints on disk: written whole or not at all, with a checksum, holding tensors and plain values only."""

import contextlib
import hashlib
import json
import math
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from pydantic import ValidationError

from trainables.common.errors import UserError, disk_trouble
from trainables.common.whole_files import sync_folder
from trainables.config import TrialConfig
from trainables.data.tiles import DatasetInfo
from trainables.device import out_of_memory_words
from trainables.models.composed.names import get_architecture
from trainables.models.own.files import is_own, take_copy
from trainables.models.segmenter import Segmenter
from trainables.models.spec import ModelSpec
from trainables.models.weights import KEYWORDS

NEWEST = "newest.pt"
PREVIOUS = "previous.pt"
"""The `newest.pt` before the current one."""
BEST = "best.pt"

_MAGIC = b"FEWTILE1"
_STALE_SECONDS = 3600.0
"""No checkpoint takes that long to write: a temporary file of that age was left by a process that died."""

_CONTENT = {
    NEWEST: {"config", "records", "frozen_digest", "model", "ema", "optimizer", "schedule", "scaler"},
    BEST: {"config", "info", "epoch", "metrics", "frozen_digest", "model"},
}


def save(path: Path, content: dict[str, Any], *, previous: Path | None = None) -> None:
    """Writes a checkpoint beside `path` and renames it, so that neither a reader nor a crash leaves half a file.

    The file is what `torch.save` writes, followed by eight bytes of magic and the SHA-256 of all bytes before them;
    `torch.load` reads it, too. While it is written, the folder holds one more file.

    Args:
        path: The file.
        content: Tensors and plain values.
        previous: New path of the file that is at `path` now; None replaces that file.

    Raises:
        UserError: The disk is full, or the folder cannot be written.
    """
    # A unique name, since a dying process of an earlier run, or one on another node, may still write here
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        with partial.open("w+b") as stream:
            torch.save(content, stream)
            stream.seek(0)
            stream.write(_MAGIC + hashlib.file_digest(stream, "sha256").digest())
            stream.flush()
            os.fsync(stream.fileno())
        if previous is not None:
            with contextlib.suppress(FileNotFoundError):
                path.replace(previous)
        partial.replace(path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        if (trouble := disk_trouble(error)) is not None:  # torch wraps it in errors of its own
            raise UserError(f"{path} cannot be written ({trouble}): make room, or choose another folder") from error
        if isinstance(error, OSError):
            raise UserError(f"{path} cannot be written ({error}): choose another folder") from error
        raise  # the device failed, or the content cannot be pickled
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Removes temporary files of `path` that dead processes left, each as large as a checkpoint."""
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        with contextlib.suppress(OSError):  # another process may have removed it
            if time.time() - partial.stat().st_mtime > _STALE_SECONDS:
                partial.unlink()


def _is_whole(stream: BinaryIO) -> bool:
    """Whether the file ends in the checksum of the bytes before it. The stream is rewound to its beginning."""
    left = stream.seek(0, os.SEEK_END) - len(_MAGIC) - hashlib.sha256().digest_size
    stream.seek(0)
    sha = hashlib.sha256()
    while left > 0 and (chunk := stream.read(min(left, 2**20))):
        sha.update(chunk)
        left -= len(chunk)
    trailer = stream.read()
    stream.seek(0)
    return trailer == _MAGIC + sha.digest()


def load(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Loads a checkpoint to the CPU. Its checksum is verified first, and only tensors and plain values are unpickled.

    Args:
        path: The file.
        kind: `BEST` or `NEWEST`, whose keys the checkpoint must have; None accepts any.

    Raises:
        UserError: The file is missing, damaged, or of another kind.
    """
    needed = set() if kind is None else _CONTENT[kind]
    try:
        with path.open("rb") as stream:
            if not _is_whole(stream):
                raise ValueError("another checksum")
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist, but must be a checkpoint: check the path") from error
    except Exception as error:  # what torch raises depends on the bytes that it meets
        if out_of_memory_words(error) is not None:
            raise
        raise UserError(f"{path} is damaged or no checkpoint: use another one") from error
    if not isinstance(content, dict) or not needed <= content.keys():
        raise UserError(f"{path} is no {kind or 'checkpoint'} of a trial: use another one")
    return content


def newest_valid(folder: Path, config: TrialConfig) -> Path | None:
    """The checkpoint to resume a configuration from: `newest.pt`, else `previous.pt`, else None.

    A file that is damaged, of another kind or of another configuration is skipped and left as it is.
    """
    found = (folder / name for name in (NEWEST, PREVIOUS) if _load_of(folder / name, NEWEST, config) is not None)
    return next(found, None)


class KeptBest(NamedTuple):
    """The epoch of a `best.pt` and its value of `config.judged_metric`; the default is worse than any."""

    epoch: int = 0
    judged: float = -math.inf


def kept_best(folder: Path, config: TrialConfig) -> KeptBest:
    """Epoch and value of the folder's `best.pt`; the default if it is missing, damaged or of another configuration."""
    content = _load_of(folder / BEST, BEST, config)
    return (
        KeptBest()
        if content is None
        else KeptBest(content["epoch"], content["metrics"].get(config.judged_metric, -math.inf))
    )


def _load_of(path: Path, kind: str, config: TrialConfig) -> dict[str, Any] | None:
    """The content of a checkpoint that is whole and of this configuration, else None."""
    try:
        content = load(path, kind)
        saved = TrialConfig.model_validate_json(content["config"])
    except (UserError, ValidationError):  # the latter for settings of another version
        return None
    return content if saved.signature() == config.signature() else None


def load_config(text: str, near: Path, *, network: Path | None = None) -> TrialConfig:
    """The configuration in a text, which a file in a study's folder holds.

    A person's own network is run from the study's copy of its file, or from `network`, and only if that is the file
    that the configuration names by its digest. The text itself holds no code, and so no checkpoint does: whoever loads
    one runs a file that he has and can read.

    Raises:
        UserError: There is no such file, or it cannot be run.
    """
    content = json.loads(text)
    if is_own(content.get("architecture", "")):
        take_copy(content["architecture"], content["network_digest"], near, network)
        get_architecture(content["architecture"])  # whose errors are for people
    return TrialConfig.model_validate_json(text)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model in inference mode with everything that `predict.predict_logits` needs.

    Attributes:
        model: Scaled pixels (N, C, H, W) to logits (N, K, H, W).
        info: Classes, bands and scale of the tiles that it was trained on.
        config: The trial's configuration.
        stride: Sides of its input must divide by it (px).
        epoch: The epoch whose weights these are.
        metrics: The validation metrics of that epoch.
    """

    model: Segmenter
    info: DatasetInfo
    config: TrialConfig
    stride: int
    epoch: int
    metrics: dict[str, float]


def build_model(config: TrialConfig, info: DatasetInfo, mean: list[float], std: list[float]) -> Segmenter:
    """The untrained model of a configuration, initialised from torch's global generator."""
    spec = ModelSpec(
        num_bands=len(info.bands),
        num_outputs=info.num_outputs,
        decoder_dropout=config.decoder_dropout,
        weights=config.weights,
        weights_digest=config.weights_digest,
        small=config.recipe.small,
        settings=config.settings,
    )
    row = get_architecture(config.architecture)
    if row.file_digest != config.network_digest:
        raise UserError(f"another file is known as that of {config.architecture} by now: load its model again")
    only_px = row.only_side(small=config.recipe.small)
    return Segmenter(row.build(spec), mean, std, only_px=only_px, whole_px=row.whole_px)


def count_parameters(config: TrialConfig, info: DatasetInfo) -> tuple[int, int]:
    """The number of parameters that a configuration trains, and the number of those that stay frozen for good.

    Raises:
        UserError: Its weights do not fit.
    """
    unknown = [0.0] * len(info.bands)
    parameters = list(build_model(config, info, unknown, unknown).parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return trained, sum(parameter.numel() for parameter in parameters) - trained


def check_frozen(model: Segmenter, content: dict[str, Any], path: Path) -> None:
    """Refuses a checkpoint that was trained over another frozen encoder (`UserError`)."""
    if content["frozen_digest"] != model.frozen_digest:
        raise UserError(
            f"{path} was trained over a frozen encoder of digest {content['frozen_digest'][:12]}, but this one is "
            f"{model.frozen_digest[:12]}: use the same encoder weights and library versions"
        )


def load_model(path: Path, *, weights: str | None = None, network: Path | None = None) -> TrainedModel:
    """Loads the model of a `best.pt` to the CPU; needs neither the tiles nor the pretrained weights it began from.

    Args:
        path: The file.
        weights: The weights file of an encoder that is frozen for good, which checkpoints do not hold; its path in
            training if left out.
        network: The file of a person's own network; the copy in the study's folder if left out (see `load_config`).

    Raises:
        UserError: The checkpoint, or the file of its frozen encoder or of its network, is missing, damaged or another
            one.
    """
    content = load(path, BEST)
    config = load_config(content["config"], path, network=network)
    info = DatasetInfo.model_validate_json(content["info"])
    num_bands = len(info.bands)
    needed = "none"
    row = get_architecture(config.architecture)
    if row.is_frozen and config.is_pretrained and not row.file_digest:
        needed = weights or config.weights
        if needed not in KEYWORDS and not Path(needed).is_file():
            raise UserError(
                f"{path} leaves out its frozen encoder, whose weights {needed} do not exist: pass the path of that file"
            )
    # A frozen encoder is compared by its tensors, not by the bytes of its file
    config_here = config.model_copy(update={"weights": needed, "weights_digest": None})
    model = build_model(config_here, info, [0.0] * num_bands, [1.0] * num_bands)
    check_frozen(model, content, path)
    model.load_state_dict(content["model"])
    return TrainedModel(model.eval(), info, config, row.stride, content["epoch"], content["metrics"])
