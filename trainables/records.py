"""The record of an epoch, and the errors of a trial that diverges or runs out of memory."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DivergedError(RuntimeError):
    """The loss or the weights became NaN or infinite; the message says when."""


class OutOfMemoryError(RuntimeError):
    """A trial did not fit into the memory of its device or of the machine; the message says which, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """The result of one epoch. Two runs of one configuration on a CPU give equal records.

    Attributes:
        epoch: From 1.
        metrics: `train/loss`, `val/loss`, `val/collapsed` (1 where only one class was predicted, else 0), and
            `val/iou`, `val/f1`, `val/iou/<tile>` (with `_center<px>` behind iou and f1 where the recipe validates on
            centre windows); a tile without a pixel that counts has none.
        lr: Learning rate that the epoch was trained with.
        judged: This epoch's value of `config.judged_metric`; NaN where nothing judges, and so is `best` then, and
            `best_epoch` is this epoch, and `val/…` is in no metrics.
        best: Best `judged` so far.
        best_epoch: The epoch of `best`.
        collapsed_to: Name of the class that every val pixel was predicted as; empty where there were several.
        micro_batch_size: Target number of draws per chunk of a split batch (see `fit`); 0 if batches were whole.
        ended: Why the trial ended with this epoch: `epochs` or `early stopping`; empty while it goes on.
        seconds: Wall clock of the epoch, training and validation.
        step_seconds: Mean wall clock of an optimizer step, its draws included.
        peak_memory_gib: Device memory at its peak; 0 on a CPU.
        dtype: Number type of the computation: `fp32`, `bf16` or `fp16`; empty in records of early versions.
        device_model: The device, such as `NVIDIA H200`; empty in records of early versions.
        predictions: (H, W) uint8 class indices of each val tile (or centre window) that predictions were asked for.
    """

    epoch: int
    metrics: dict[str, float]
    lr: float
    judged: float
    best: float
    best_epoch: int
    collapsed_to: str = ""
    micro_batch_size: int = 0
    ended: str = ""
    seconds: float = field(default=0.0, compare=False)
    step_seconds: float = field(default=0.0, compare=False)
    peak_memory_gib: float = field(default=0.0, compare=False)
    dtype: str = field(default="", compare=False)
    device_model: str = field(default="", compare=False)
    predictions: tuple[NDArray[np.uint8], ...] = field(default=(), compare=False)

    def as_json(self) -> dict[str, Any]:
        """The record without its predictions, as plain values."""
        content = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "predictions"}
        return content | {"metrics": dict(self.metrics)}


def records_to_json(records: Iterable[EpochRecord]) -> str:
    """Records as JSON, without their predictions."""
    return json.dumps([record.as_json() for record in records])


def records_from_json(text: str) -> list[EpochRecord]:
    """The inverse of `records_to_json`."""
    return [EpochRecord(**record) for record in json.loads(text)]
