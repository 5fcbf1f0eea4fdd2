"""Model, optimizer and schedule of one trial, and one training step of them."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainables.checkpoints import build_model, check_frozen
from trainables.common.chunks import chunk_sizes
from trainables.common.errors import UserError
from trainables.config import TrialConfig
from trainables.data.bands import band_statistics
from trainables.data.tiles import TrainVal
from trainables.device import autocast, half_dtype, move_model
from trainables.models.composed.names import get_architecture
from trainables.models.segmenter import Segmenter
from trainables.records import EpochRecord, records_from_json, records_to_json


class TrainingState:
    """Model, optimizer and schedule of one trial; `state` and `load_state` are what a checkpoint holds of them."""

    def __init__(
        self, config: TrialConfig, tiles: TrainVal, device: torch.device, *, micro_batch_size: int | None = None
    ):
        self.config, self.device = config, device
        self._micro_batch_size = micro_batch_size
        self.tiles = tiles.budget(config.tiles, config.recipe.subset_seed)
        self.records: list[EpochRecord] = []
        torch.manual_seed(_torch_seed(config.init_seed, 0))
        model = build_model(config, tiles.info, *pixel_statistics(config, self.tiles))
        self.model: Segmenter = move_model(model, device)
        # Where nothing cuts or bends them, augmentation shows each tile in eight views at most
        has_few_views = config.recipe.window_px is None and config.augmentation in ("NONE", "LIGHT")
        self.model.keep_features(in_training=has_few_views)
        parameters = _parameter_groups(self.model, config)
        self.optimizer: torch.optim.Optimizer  # fused: half the time of a step over parameters (24 M: 0.09 for 0.20 s)
        if config.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr=config.lr, fused=True)
        else:
            self.optimizer = torch.optim.AdamW(
                parameters, lr=config.lr, weight_decay=config.recipe.weight_decay, fused=True
            )
        self.loss = config.loss_function
        self.schedule = _schedule(self.optimizer, config)
        self.ema: AveragedModel | None = None
        if config.recipe.ema_decay is not None:
            average = get_ema_multi_avg_fn(config.recipe.ema_decay)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        half = half_dtype(config.recipe.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def evaluated(self) -> torch.nn.Module:
        """The model that is evaluated and saved as best: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def is_skipping(self) -> bool:
        """Whether a step without finite gradients is skipped: in float16, whose range is small."""
        return bool(self.scaler.is_enabled())

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision where the device and the recipe have it."""
        return autocast(self.config.recipe.precision, self.device)

    def normalise_by(self, tiles: TrainVal) -> None:
        """Takes the mean and std of pixels from the train tiles of `tiles`, before the first epoch."""
        averaged = [] if self.ema is None else [self.ema.module]
        for name, values in zip(("mean", "std"), pixel_statistics(self.config, tiles), strict=True):
            for model in (self.model, *averaged):
                buffer = model.get_buffer(name)
                buffer.copy_(torch.tensor(values).reshape(buffer.shape))

    def start_epoch(self, epoch: int) -> None:
        """Seeds torch's generator (dropout) from the epoch, and freezes or unfreezes the encoder."""
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
        """Takes one optimizer step and returns the batch's loss, detached and on the device.

        In float16 the scaler skips a step whose gradients are not finite. The statistics of batch norms are then put
        back as well, or no later validation would be finite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        statistics = [b for b in self.model.buffers() if b.is_floating_point()] if self.is_skipping else []
        before = [buffer.clone() for buffer in statistics]
        batch_loss = torch.zeros((), device=self.device)
        sizes = chunk_sizes(len(images), self._micro_batch_size)
        for chunk, truth in zip(torch.split(images, sizes), torch.split(masks, sizes), strict=True):
            # A whole batch's share is 1, which leaves loss and gradients as they are, bit for bit
            loss = self._loss(chunk, truth) * (len(chunk) / len(images))
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            batch_loss += loss.detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.is_skipping:
            is_finite = batch_loss.isfinite() & _all_finite(statistics)
            for buffer, earlier in zip(statistics, before, strict=True):
                buffer.copy_(torch.where(is_finite, buffer, earlier))  # without waiting for the device
        if isinstance(self.schedule, CosineAnnealingLR):
            self.schedule.step()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        return batch_loss

    def _loss(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        images = images.to(self.device, non_blocking=True)
        pixels = images.float() * self.tiles.scale if images.dtype == torch.uint8 else images
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            logits = self.model(pixels)
        return self.loss(logits, masks.to(self.device, non_blocking=True))

    def has_finite_weights(self) -> bool:
        """Whether all weights, and all statistics of batch norms, are finite; waits for the device."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        with torch.no_grad():
            return bool(_all_finite([tensor for tensor in tensors if tensor.is_floating_point()]).item())

    def end_epoch(self, record: EpochRecord) -> None:
        """Keeps the record without its predictions, and steps a schedule that depends on it."""
        self.records.append(replace(record, predictions=()))
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(record.judged)

    def peak_memory_gib(self) -> float:
        """Device memory at its peak in this epoch; 0 on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) / 2**30 if self.device.type == "cuda" else 0.0

    def best_content(self, record: EpochRecord) -> dict[str, Any]:
        """The content of `best.pt` for `load_model`."""
        return {
            "config": self.config.model_dump_json(),
            "info": self.tiles.info.model_dump_json(),
            "epoch": record.epoch,
            "metrics": record.metrics,
            "frozen_digest": self.model.frozen_digest,
            "model": self.evaluated.state_dict(),
        }

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on. Random numbers are keyed by epoch, so no generator is saved."""
        about = {"config": self.config.model_dump_json(), "records": records_to_json(self.records)}
        return about | {"frozen_digest": self.model.frozen_digest} | self.tensors()

    def tensors(self) -> dict[str, Any]:
        """The part of `state` that training changes, which shares memory with this."""
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any], path: Path) -> None:
        """Restores a `state()` that was read from `path`.

        Raises:
            UserError: It is of another configuration, or of another frozen encoder.
        """
        saved = TrialConfig.model_validate_json(state["config"])
        if saved.signature() != self.config.signature():
            raise UserError(
                f"{path} is of configuration {saved.signature()}, but this one is {self.config.signature()}: "
                "resume with the configuration that it was saved with"
            )
        check_frozen(self.model, state, path)
        self.records = records_from_json(state["records"])
        self.load_tensors(state)

    def load_tensors(self, state: dict[str, Any]) -> None:
        """Restores what `tensors` gave; the optimizer may keep its moments."""
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state["scaler"]:  # empty where no scaler was needed: one that is now begins with its usual scale
            self.scaler.load_state_dict(state["scaler"])


def pixel_statistics(config: TrialConfig, tiles: TrainVal) -> tuple[list[float], list[float]]:
    """Mean and std per band that scaled pixels are normalised by: the encoder's own, or the train tiles'.

    The std of a band without variation in the train tiles is 0 (see `Segmenter`).
    """
    mean, std = band_statistics(tiles.train, tiles.scale)
    expected = get_architecture(config.architecture).expected_pixels(config.weights, is_photograph=tiles.is_photograph)
    if expected is None:
        return mean, std
    white = 255 * tiles.scale  # what 1.0 of the weights' own range is here
    own = [value * white if its > 0 else 0.0 for value, its in zip(expected.std, std, strict=True)]
    return [value * white for value in expected.mean], own


def _parameter_groups(model: Segmenter, config: TrialConfig) -> list[dict[str, Any]]:
    """What the optimizer trains: one group, or the encoder in a second one where its learning rate is another.

    An encoder that is frozen at first is still to be trained; one that is frozen for good takes no state.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not config.is_pretrained or config.encoder_lr_factor == 1:
        return [{"params": trainable}]
    of_encoder = {id(parameter) for parameter in model.encoder.parameters()}
    return [
        {"params": [parameter for parameter in trainable if id(parameter) not in of_encoder]},
        {
            "params": [parameter for parameter in trainable if id(parameter) in of_encoder],
            "lr": config.lr * config.encoder_lr_factor,
        },
    ]


def _schedule(optimizer: torch.optim.Optimizer, config: TrialConfig) -> CosineAnnealingLR | ReduceLROnPlateau:
    """The schedule of the recipe; a cosine takes a step with the optimizer, a plateau one with each epoch.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts.
    """
    recipe = config.recipe
    if recipe.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=recipe.epochs * (recipe.draws_per_epoch // config.batch_size))
    return ReduceLROnPlateau(optimizer, mode="max", factor=recipe.plateau_factor, patience=recipe.plateau_patience)


def _all_finite(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Whether all numbers are finite, a bool scalar on the device; by largest magnitudes, which no sum can overflow."""
    filled = [tensor for tensor in tensors if tensor.numel()]
    if not filled:
        return torch.tensor(True)
    return torch.stack(torch._foreach_norm(filled, math.inf)).isfinite().all()


def _torch_seed(init_seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([init_seed, epoch]).generate_state(1)[0])
