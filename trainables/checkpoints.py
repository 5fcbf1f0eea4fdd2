"""Checkpoints on disk: written whole or not at all, holding tensors and plain values only."""

import contextlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainables.architectures import ARCHITECTURES, Segmenter
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.model_spec import ModelSpec
from trainables.tiles import DatasetInfo

NEWEST = "newest.pt"
BEST = "best.pt"

_CONTENT = {
    NEWEST: {"config", "records", "frozen_digest", "model", "ema", "optimizer", "schedule", "scaler"},
    BEST: {"config", "info", "epoch", "metrics", "frozen_digest", "model"},
}


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` beside `path` and renames, so that a reader or a crash never sees half a file.

    Raises:
        UserError: The disk is full, or the folder cannot be written.
    """
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch has errors of its own for a full disk
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written ({error}): make room, or choose another folder") from error


def load(path: Path, kind: str | None = None) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU; nothing but tensors and plain values is unpickled.

    Args:
        path: The file.
        kind: `BEST` or `NEWEST`: what it must hold; None for anything.

    Raises:
        UserError: There is no such file, it is damaged, or of another kind.
    """
    needed = set() if kind is None else _CONTENT[kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of odd bytes before it refuses them
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist, but must be a checkpoint: check the path") from error
    except Exception as error:  # what torch raises depends on the bytes that it meets
        raise UserError(f"{path} is damaged or no checkpoint: use another one") from error
    if not isinstance(content, dict) or not needed <= content.keys():
        raise UserError(f"{path} is no {kind or 'checkpoint'} of a trial: use another one")
    return content


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model in inference mode with all that is needed to use it: see `predict.predict_logits`.

    Attributes:
        model: Scaled pixels (N, C, H, W) to logits (N, K, H, W).
        info: Classes, bands and scale of the tiles that it was trained on.
        config: The trial's configuration.
        stride: Sides of its input must divide by it (px).
        epoch: That it is from.
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
        small=config.recipe.small,
    )
    return Segmenter(ARCHITECTURES[config.architecture].build(spec), mean, std)


def count_parameters(config: TrialConfig, info: DatasetInfo) -> tuple[int, int]:
    """Parameters of a configuration's model that are trained, and those that never are.

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
            f"{model.frozen_digest[:12]}: use the encoder's weights and the versions of then"
        )


def load_model(path: Path, *, weights: str | None = None) -> TrainedModel:
    """The model of a `best.pt`, on the CPU; needs neither the tiles nor the pretrained weights it began from.

    Args:
        path: The file.
        weights: The file of an encoder that is frozen for good, which checkpoints leave out; where it lay in training
            if left out.

    Raises:
        UserError: The file is missing or damaged, or a frozen encoder's file is, or is another one.
    """
    content = load(path, BEST)
    config = TrialConfig.model_validate_json(content["config"])
    info = DatasetInfo.model_validate_json(content["info"])
    num_bands = len(info.bands)
    needed = "none"
    if ARCHITECTURES[config.architecture].is_frozen and config.is_pretrained:
        needed = weights or config.weights
        if not Path(needed).is_file():
            raise UserError(
                f"{path} leaves out its frozen encoder, whose weights {needed} do not exist: pass the path of that file"
            )
    model = build_model(config.model_copy(update={"weights": needed}), info, [0.0] * num_bands, [1.0] * num_bands)
    check_frozen(model, content, path)
    model.load_state_dict(content["model"])
    stride = ARCHITECTURES[config.architecture].stride
    return TrainedModel(model.eval(), info, config, stride, content["epoch"], content["metrics"])
