"""A trial as a generator of epochs: whoever iterates decides when to stop."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainables import checkpoints as ckpt
from trainables.architectures import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD, Segmenter
from trainables.config import TrialConfig
from trainables.draws import DrawSource
from trainables.errors import UserError
from trainables.losses import segmentation_loss
from trainables.predict import evaluate
from trainables.tiles import Tiles, TrainVal


class DivergedError(RuntimeError):
    """The training loss became NaN or infinite; the message says when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What one epoch came to. Two runs of one configuration on a CPU give equal records.

    Attributes:
        epoch: From 1.
        metrics: `train/loss`, `val/loss`, and `val/iou`, `val/f1`, `val/iou/<tile>` (with `_center<px>` behind iou and
            f1 where the recipe validates on centre windows).
        lr: Learning rate that the epoch was trained with.
        judged: This epoch's value of `config.judged_metric`.
        best: Best `judged` so far, and `best_epoch`, when that was.
        ended: Why the trial ran its course with this epoch: `epochs`, `early stopping`, or empty while it goes on.
        seconds: Wall clock of the epoch, training and validation.
        peak_memory_gib: Device memory at its peak; 0 on a CPU.
        predictions: (H, W) uint8 class indices per val tile (or centre window), where asked for.
    """

    epoch: int
    metrics: dict[str, float]
    lr: float
    judged: float
    best: float
    best_epoch: int
    ended: str = ""
    seconds: float = field(default=0.0, compare=False)
    peak_memory_gib: float = field(default=0.0, compare=False)
    predictions: tuple[NDArray[np.uint8], ...] = field(default=(), compare=False)


def never() -> bool:
    """The `should_stop` of a trial that nobody interrupts."""
    return False


def check(config: TrialConfig, tiles: TrainVal) -> None:
    """Refuses what could not be trained, before anything starts.

    Raises:
        UserError: Too few tiles, or windows or draws that fit neither tiles nor architecture.
    """
    recipe, stride = config.recipe, ARCHITECTURES[config.architecture].stride
    train = tiles.budget(config.tiles, recipe.subset_seed).train
    if recipe.draws_per_epoch < recipe.batch_size:
        raise UserError(
            f"draws_per_epoch is {recipe.draws_per_epoch}, but must be at least the batch size of {recipe.batch_size}"
        )
    sides = {side for mask in train.masks for side in mask.shape}
    if recipe.window_px is None:
        if len(sides) > 1:
            raise UserError(
                f"train tiles have sides of {min(sides)} to {max(sides)} px, but training on whole tiles needs equal "
                "squares: set --window-px to cut windows"
            )
        if min(sides) % stride:
            raise UserError(
                f"tile side is {min(sides)} px, but {config.architecture} needs a multiple of {stride}: "
                f"set --window-px {min(sides) // stride * stride} to cut windows"
            )
        return
    if recipe.window_px % stride:
        raise UserError(
            f"--window-px is {recipe.window_px}, but {config.architecture} needs a multiple of {stride}: "
            f"use {max(stride, recipe.window_px // stride * stride)}"
        )
    if recipe.window_px > min(sides):
        raise UserError(
            f"--window-px is {recipe.window_px}, but the smallest train tile has a side of {min(sides)} px: "
            f"use {min(sides) // stride * stride} or less"
        )


def fit(
    config: TrialConfig,
    tiles: TrainVal,
    *,
    checkpoints: Path | None = None,
    checkpoint_seconds: float = 60.0,
    resume: Path | None = None,
    device: str = "cpu",
    num_threads: int = 0,
    predictions_every: int = 0,
    should_stop: Callable[[], bool] = never,
) -> Iterator[EpochRecord]:
    """Trains one configuration and yields a record after each epoch, until it ran its course.

    Args:
        config: What to train.
        tiles: All train and val tiles; the budget of `config.tiles` is taken from them.
        checkpoints: Folder for `best.pt` (at each improvement) and `newest.pt` (at the first epoch's end after each
            `checkpoint_seconds`), written before the epoch is yielded; None writes nothing.
        checkpoint_seconds: Least time between two `newest.pt`; 0 writes one per epoch.
        resume: A `newest.pt` to go on from: yields the epochs after it, the same ones as without the interruption.
        device: A torch device.
        num_threads: Threads that prepare draws ahead of the training step.
        predictions_every: Attach predictions to every n-th record and the last; 0 for none.
        should_stop: Asked before each batch; when it says yes the generator ends without the epoch's record.

    Raises:
        UserError: The configuration does not fit the tiles, or `resume` is not of this configuration.
        DivergedError: The loss is no longer finite.
    """
    check(config, tiles)
    trial = _Trial(config, tiles, torch.device(device))
    if resume is not None:
        trial.load_state(ckpt.load(resume), resume)
    recipe, architecture = config.recipe, ARCHITECTURES[config.architecture]
    source = DrawSource(
        trial.tiles,
        preset=config.augmentation,
        window_px=recipe.window_px,
        subset_seed=recipe.subset_seed,
        draw_seed=recipe.draw_seed,
        num_threads=num_threads,
    )
    val = trial.tiles.val
    suffix = ""
    if recipe.val_center_px is not None:
        val, suffix = val.center_windows(recipe.val_center_px), f"_center{recipe.val_center_px}"
    saved_at = time.monotonic()
    try:
        for epoch in range(len(trial.records) + 1, recipe.epochs + 1):
            started = time.monotonic()
            trial.start_epoch(epoch)
            lr = trial.lr
            train_loss = torch.zeros((), device=trial.device)
            num_steps = 0
            batches = source.batches(epoch, num_draws=recipe.draws_per_epoch, batch_size=recipe.batch_size)
            for images, masks in batches:
                if should_stop():
                    return
                train_loss += trial.train_step(images, masks)
                num_steps += 1
            mean_loss = train_loss.item() / num_steps
            if not math.isfinite(mean_loss):
                raise DivergedError(f"the training loss is {mean_loss} in epoch {epoch}")

            with trial.autocast():
                result = evaluate(
                    trial.evaluated,
                    val,
                    tiles.info,
                    stride=architecture.stride,
                    bce_weight=config.bce_weight,
                    device=trial.device,
                )
            metrics = {
                "train/loss": mean_loss,
                "val/loss": result.loss,
                f"val/iou{suffix}": result.scores.iou,
                f"val/f1{suffix}": result.scores.f1,
            }
            metrics |= {f"val/iou{suffix}/{i}": v for i, v in zip(val.ids, result.scores.tile_iou, strict=True)}
            judged = result.scores.iou
            is_best = not trial.records or judged > trial.records[-1].best
            best, best_epoch = (judged, epoch) if is_best else (trial.records[-1].best, trial.records[-1].best_epoch)
            ended = ""
            if epoch == recipe.epochs:
                ended = "epochs"
            elif epoch - max(best_epoch, config.frozen_epochs) >= recipe.stop_patience:
                ended = "early stopping"
            wants_predictions = predictions_every > 0 and (bool(ended) or epoch % predictions_every == 0)
            record = EpochRecord(
                epoch=epoch,
                metrics=metrics,
                lr=lr,
                judged=judged,
                best=best,
                best_epoch=best_epoch,
                ended=ended,
                seconds=time.monotonic() - started,
                peak_memory_gib=trial.peak_memory_gib(),
                predictions=result.predictions if wants_predictions else (),
            )
            trial.end_epoch(record)
            if checkpoints is not None:
                if is_best:
                    ckpt.save(checkpoints / ckpt.BEST, trial.best_content(record))
                if time.monotonic() - saved_at >= checkpoint_seconds:
                    ckpt.save(checkpoints / ckpt.NEWEST, trial.state())
                    saved_at = time.monotonic()
            yield record
            if ended:
                return
    finally:
        source.close()


class _Trial:
    """Model, optimizer and schedule of one trial, with their state."""

    def __init__(self, config: TrialConfig, tiles: TrainVal, device: torch.device):
        self.config, self.device = config, device
        self.tiles = tiles.budget(config.tiles, config.recipe.subset_seed)
        self.records: list[EpochRecord] = []
        torch.manual_seed(_torch_seed(config.init_seed, 0))
        pretrained = config.weights != "none" and ARCHITECTURES[config.architecture].encoder is not None
        mean, std = band_statistics(self.tiles.train, tiles.scale)
        if pretrained and len(tiles.info.bands) == 3:
            mean, std = list(IMAGENET_MEAN), list(IMAGENET_STD)
        model = ckpt.build_model(config, tiles.info, mean, std)
        # channels_last is faster for convolutions on CPUs (1.1x measured) and on tensor cores
        self.model: Segmenter = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.lr, weight_decay=config.recipe.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer,
            mode="max",
            factor=config.recipe.plateau_factor,
            patience=config.recipe.plateau_patience,
        )
        self.ema: AveragedModel | None = None
        if config.recipe.ema_decay is not None:
            average = get_ema_multi_avg_fn(config.recipe.ema_decay)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self._dtype = _autocast_dtype(config.recipe.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self._dtype == torch.float16)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def evaluated(self) -> torch.nn.Module:
        """The weights that are judged and kept: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=self._dtype, enabled=self._dtype is not None)

    def start_epoch(self, epoch: int) -> None:
        """Keys torch's generator (dropout) to the epoch, so that nothing of it needs saving, and sets the stage."""
        torch.manual_seed(_torch_seed(self.config.init_seed, epoch))
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.model.train()
        frozen_epochs = self.config.frozen_epochs
        if epoch <= frozen_epochs:
            self.model.encoder.requires_grad_(False)
            self.model.encoder.eval()  # keeps the batch norm's pretrained statistics
        elif epoch == frozen_epochs + 1 and frozen_epochs:
            self.model.encoder.requires_grad_(True)
            for group in self.optimizer.param_groups:
                group["lr"] *= self.config.recipe.unfreeze_lr_factor

    def train_step(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """One optimizer step; the batch's loss, detached and on the device."""
        images = images.to(self.device, non_blocking=True)
        pixels = images.float() * self.tiles.scale if images.dtype == torch.uint8 else images
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            logits = self.model(pixels)
        loss = segmentation_loss(logits, masks.to(self.device, non_blocking=True), self.config.bce_weight)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        return loss.detach()

    def end_epoch(self, record: EpochRecord) -> None:
        self.records.append(record)
        self.schedule.step(record.judged)

    def peak_memory_gib(self) -> float:
        return torch.cuda.max_memory_allocated(self.device) / 2**30 if self.device.type == "cuda" else 0.0

    def best_content(self, record: EpochRecord) -> dict[str, Any]:
        """What `load_model` needs."""
        return {
            "config": self.config.model_dump_json(),
            "info": self.tiles.info.model_dump_json(),
            "epoch": record.epoch,
            "metrics": record.metrics,
            "model": self.evaluated.state_dict(),
        }

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on; randomness is keyed, so it needs none."""
        return {
            "config": self.config.model_dump_json(),
            "records": json.dumps([_as_json(record) for record in self.records]),
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any], path: Path) -> None:
        saved = TrialConfig.model_validate_json(state["config"])
        if saved.signature() != self.config.signature():
            raise UserError(
                f"{path} is of configuration {saved.signature()}, but this one is {self.config.signature()}: "
                "resume with the configuration that it was saved with"
            )
        self.records = [EpochRecord(**record) for record in json.loads(state["records"])]
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])


def band_statistics(tiles: Tiles, scale: float) -> tuple[list[float], list[float]]:
    """Mean and std per band of the scaled pixels, from every fourth pixel of every fourth row."""
    pixels = np.concatenate([image[::4, ::4].reshape(-1, image.shape[2]) for image in tiles.images]).astype(np.float64)
    mean, std = pixels.mean(axis=0) * scale, pixels.std(axis=0) * scale
    return mean.tolist(), np.maximum(std, 1e-6).tolist()


def _autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "fp32" or device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _torch_seed(init_seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([init_seed, epoch]).generate_state(1)[0])


def _as_json(record: EpochRecord) -> dict[str, Any]:
    content = asdict(record)
    del content["predictions"]
    return content
