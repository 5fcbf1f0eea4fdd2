"""A trial as a generator of epochs: the caller iterates, and stops iterating to stop the trial."""

import math
import statistics
import time
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

import torch

from trainables import checkpoints as ckpt
from trainables.check_config import check_config
from trainables.common.chunks import chunk_sizes
from trainables.common.errors import UserError
from trainables.config import TrialConfig
from trainables.data.draws import DrawSource
from trainables.data.tiles import TrainVal
from trainables.device import device_model, dtype_name, raises_out_of_memory
from trainables.epoch_loss import EpochLoss
from trainables.folds.networks import Networks, kept_of, merge
from trainables.folds.split import judged_tiles, split
from trainables.metrics import Scores
from trainables.models.composed.names import get_architecture
from trainables.predict import Evaluation, evaluate
from trainables.records import DivergedError, EpochRecord
from trainables.training import TrainingState

NOT_JUDGED = Evaluation(math.nan, Scores(math.nan, math.nan, ()), ())
"""Of an epoch that nothing judges."""


class _StopRequestedError(Exception):
    """Ends an epoch in its middle."""


def never() -> bool:
    """A `should_stop` that never stops a trial."""
    return False


@raises_out_of_memory
def fit(
    config: TrialConfig,
    tiles: TrainVal,
    *,
    checkpoints: Path | None = None,
    checkpoint_seconds: float = 60.0,
    checkpoint_epochs: Container[int] = (),
    resume: Path | None = None,
    device: str = "cpu",
    num_threads: int = 0,
    micro_batch_size: int | None = None,
    predictions_every: int = 0,
    predictions_of: Container[int] | None = None,
    should_stop: Callable[[], bool] = never,
) -> Iterator[EpochRecord]:
    """Trains one configuration and yields a record after each epoch, until its last epoch or early stopping.

    A cross-validated trial (`config.folds`) trains a network per fold, epoch by epoch together: an epoch is judged over
    all held-out tiles, its train loss is the networks' mean, and no `best.pt` is written, since none of them is the
    model. A trial that nothing judges (`config.fixed_epochs`) has NaN for `judged` and `best`, and writes `best.pt` at
    its end: its last weights, or their moving average.

    Args:
        config: What to train.
        tiles: All train and val tiles; the budget of `config.tiles` is taken from them. With folds, it is all that a
            trial sees.
        checkpoints: Folder for `best.pt` (at each improvement) and `newest.pt` (at the first epoch's end after each
            `checkpoint_seconds`, and after `checkpoint_epochs`), written before the epoch is yielded; the `newest.pt`
            before that one is kept as `previous.pt`. None writes nothing.
        checkpoint_seconds: Least time between two `newest.pt`; 0 writes one per epoch.
        checkpoint_epochs: Epochs after which `newest.pt` is written whatever the clock says.
        resume: A `newest.pt` to go on from (see `checkpoints.newest_valid`). The epochs after it are yielded, equal to
            those of an uninterrupted trial. Where a device repeats epochs with other last digits, a `best.pt` of a
            later epoch is kept, and counts as the best so far from that epoch on, until an epoch is better.
        device: A torch device.
        num_threads: Threads that prepare draws ahead of the training step.
        micro_batch_size: Splits each batch into chunks of about that many draws (at least 2), whose gradients add up to
            one optimizer step, so that a batch larger than the memory can be trained on. Batch norm, dropout and Dice
            see chunks, so results differ from those of whole batches. None splits nothing.
        predictions_every: Attach predictions to every n-th record and the last; 0 for none.
        predictions_of: Indices of the val tiles whose predictions records have, in the tiles' order; None for all.
            Only these are kept in memory.
        should_stop: Called before each batch and each val tile (and between the windows of a large one), so its calls
            are a sign of life, too. If it returns True, the generator ends without the epoch's record.

    Raises:
        UserError: The configuration does not fit the tiles, `resume` is not of this configuration, or
            `micro_batch_size` is less than 2; or the device lacks the recipe's precision.
        DivergedError: The loss is no longer finite, or weights are not. In float16, where steps without finite
            gradients are skipped, several losses in a row are not (see `EpochLoss`).
        OutOfMemoryError: The trial does not fit into the memory; the memory that it used is free again.
    """
    if micro_batch_size is not None and micro_batch_size < 2:
        raise UserError(f"micro_batch_size is {micro_batch_size}, but must be at least 2 for batch norm: use 2 or more")
    check_config(config, tiles)
    trial = TrainingState(config, tiles, torch.device(device), micro_batch_size=micro_batch_size)
    parts = split(config, trial.tiles)
    networks, incumbent = Networks(trial, parts), ckpt.KeptBest()
    if resume is not None:
        state = ckpt.load(resume, ckpt.NEWEST)
        trial.load_state(state, resume)
        networks.load_state(state)
        if checkpoints is not None and not config.folds:
            incumbent = _repair_best(trial, checkpoints)
    if trial.records and trial.records[-1].ended:
        return
    recipe, architecture = config.recipe, get_architecture(config.architecture)
    sources = [
        DrawSource(
            part.tiles,
            preset=config.augmentation,
            window_px=recipe.window_px,
            subset_seed=recipe.subset_seed,
            draw_seed=recipe.draw_seed,
            num_threads=num_threads,
            device=trial.device,
            augments_on_device=recipe.augment_on == "device",
        )
        for part in parts
    ]
    dtype, model_name = dtype_name(recipe.precision, trial.device), device_model(trial.device)
    suffix = ""
    center_px = recipe.val_center_px
    if center_px is not None:
        suffix = f"_center{center_px}"
    is_split = len(chunk_sizes(config.batch_size, micro_batch_size)) > 1
    saved_at = time.monotonic()
    # A trial that resumes from previous.pt has a newest.pt that is no good, which must not replace previous.pt
    keeps_newest = checkpoints is None or resume != checkpoints / ckpt.PREVIOUS

    def check_stop() -> None:
        if should_stop():
            raise _StopRequestedError

    kept: bool | Container[int] = predictions_every > 0
    if kept and predictions_of is not None:
        kept = predictions_of

    try:
        for epoch in range(len(trial.records) + 1, config.last_epoch + 1):
            started = time.monotonic()
            losses, step_seconds, peaks, results = [], [], [], []
            for source, part in zip(sources, networks, strict=True):
                began = time.monotonic()
                trial.start_epoch(epoch)
                lr = trial.lr
                train_loss = EpochLoss(trial.device, is_skipping=trial.is_skipping)
                batches = source.batches(epoch, num_draws=recipe.draws_per_epoch, batch_size=config.batch_size)
                for images, masks in batches:
                    check_stop()
                    train_loss.add(trial.train_step(images, masks))
                losses.append(train_loss.mean())  # waits for the device
                step_seconds.append((time.monotonic() - began) / train_loss.num_steps)
                if not math.isfinite(losses[-1]):
                    raise DivergedError(f"the training loss is {losses[-1]} in epoch {epoch}")
                if not trial.has_finite_weights():  # the last step of the epoch may have lost them
                    raise DivergedError(f"weights are no longer finite after epoch {epoch}")
                if config.is_judged:
                    with trial.autocast():
                        result = evaluate(
                            trial.evaluated,
                            part.tiles.val if center_px is None else part.tiles.val.center_windows(center_px),
                            tiles.info,
                            stride=architecture.stride,
                            loss=trial.loss,
                            device=trial.device,
                            before_tile=check_stop,
                            keeps_predictions=kept_of(part, kept),
                        )
                    results.append(result)
                peaks.append(trial.peak_memory_gib())
            result = merge(parts, results, kept) if results else NOT_JUDGED
            if config.is_judged and not math.isfinite(result.loss):
                raise DivergedError(f"the validation loss is {result.loss} in epoch {epoch}")
            metrics = {"train/loss": statistics.fmean(losses)}
            if config.is_judged:
                metrics |= _val_metrics(result, judged_tiles(config, trial.tiles).ids, tiles.info.classes, suffix)
            judged = result.scores.iou
            # The newest epoch stands for the best where nothing judges them
            is_best = not trial.records or judged > trial.records[-1].best or not config.is_judged
            best, best_epoch = (judged, epoch) if is_best else (trial.records[-1].best, trial.records[-1].best_epoch)
            is_kept = is_best and judged > incumbent.judged
            if epoch >= incumbent.epoch and incumbent.judged > best:  # where it is the best on disk, records say so
                best, best_epoch = incumbent.judged, incumbent.epoch
            ended = ""
            if epoch == config.last_epoch:
                ended = "epochs"
            elif epoch - max(best_epoch, config.frozen_epochs) >= recipe.stop_patience:
                ended = "early stopping"
            if not config.is_judged or config.folds:
                is_kept = bool(ended) and not config.folds
            wants_predictions = predictions_every > 0 and (bool(ended) or epoch % predictions_every == 0)
            record = EpochRecord(
                epoch=epoch,
                metrics=metrics,
                lr=lr,
                judged=judged,
                best=best,
                best_epoch=best_epoch,
                collapsed_to="" if result.only_class is None else tiles.info.classes[result.only_class],
                micro_batch_size=micro_batch_size if micro_batch_size and is_split else 0,
                ended=ended,
                seconds=time.monotonic() - started,
                step_seconds=statistics.fmean(step_seconds),
                peak_memory_gib=max(peaks),
                dtype=dtype,
                device_model=model_name,
                predictions=result.predictions if wants_predictions else (),
            )
            trial.end_epoch(record)
            if checkpoints is not None:
                if epoch in checkpoint_epochs or time.monotonic() - saved_at >= checkpoint_seconds:
                    previous = checkpoints / ckpt.PREVIOUS if keeps_newest else None
                    ckpt.save(checkpoints / ckpt.NEWEST, networks.state(), previous=previous)
                    saved_at, keeps_newest = time.monotonic(), True
                if is_kept:
                    ckpt.save(checkpoints / ckpt.BEST, trial.best_content(record))
            yield record
            if ended:
                return
    except _StopRequestedError:
        return
    finally:
        for source in sources:
            source.close()


def _val_metrics(result: Evaluation, ids: Sequence[str], classes: Sequence[str], suffix: str) -> dict[str, float]:
    """The metrics of an epoch on the tiles that judge it, by the names that they are logged under."""
    metrics = {
        "val/loss": result.loss,
        f"val/iou{suffix}": result.scores.iou,
        f"val/f1{suffix}": result.scores.f1,
        f"val/accuracy{suffix}": result.scores.accuracy,
        "val/collapsed": float(result.only_class is not None),
    }
    if len(classes) > 2:
        by_class = zip(classes, result.scores.class_iou, strict=True)
        metrics |= {f"val/class_iou{suffix}/{name}": v for name, v in by_class if not math.isnan(v)}
    by_tile = zip(ids, result.scores.tile_iou, strict=True)
    return metrics | {f"val/iou{suffix}/{i}": v for i, v in by_tile if not math.isnan(v)}  # where no pixel counts


def _repair_best(trial: TrainingState, folder: Path) -> ckpt.KeptBest:
    """Repairs `best.pt` of a resumed trial after a kill.

    A kill may have come before the `best.pt` of the last record was saved, or before the `newest.pt` of a later epoch.

    Returns:
        The `best.pt` of a later epoch that stays until an epoch is better; the default if there is none.
    """
    last, kept = trial.records[-1], ckpt.kept_best(folder, trial.config)
    if last.best_epoch == last.epoch and (kept.epoch < last.epoch or kept.judged < last.judged):
        ckpt.save(folder / ckpt.BEST, trial.best_content(last))
        return ckpt.KeptBest()
    return kept if kept.epoch > last.epoch else ckpt.KeptBest()
