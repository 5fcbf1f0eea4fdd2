"""What a person reads of an attempt: what is trained, a block after each epoch that can be pasted, and the result."""

import textwrap
from collections.abc import Sequence
from typing import Any

from trainables.attempts.reference import ReferenceAttempt
from trainables.common.duration import duration
from trainables.config import TrialConfig
from trainables.data.tiles import TrainVal
from trainables.metrics import Scores, constant_scores
from trainables.records import EpochRecord


def heading(
    name: str,
    attempt: ReferenceAttempt,
    config: TrialConfig,
    tiles: TrainVal,
    about: dict[str, Any],
    missing: Sequence[str],
) -> str:
    """What is trained, and what differs from the published attempt.

    Args:
        name: Number and label of the attempt.
        attempt: The attempt as it was published.
        config: The configuration that is trained.
        tiles: Its train and val tiles.
        about: The content of `attempt.json`.
        missing: Transforms that the augmentation preset cannot apply to these bands.
    """
    recipe = config.recipe
    pixels = "as its weights expect" if about["normalisation"] == "encoder" else "by the train tiles' statistics"
    without = f"; {config.augmentation} leaves out {', '.join(missing)} on these bands" if missing else ""
    return "\n".join(
        [
            f"attempt {name}: {attempt.title}",
            f"  {about['num_trainable']:,} trainable parameters (published: {attempt.trainable}), "
            f"{about['num_frozen']:,} frozen; weights: {about['settings']['weights']}",
            f"  lr {config.lr:g}, {config.augmentation}, dropout {config.decoder_dropout:g}, "
            f"{config.loss_function.words}, batch {config.batch_size}, {config.tiles} train and "
            f"{len(tiles.val)} val tiles, {recipe.epochs} epochs of {recipe.draws_per_epoch} draws",
            f"  pixels are normalised {pixels}{without}",
            f"  differs from the published attempt in {', '.join(about['changed']) or 'nothing'}",
        ]
    )


def block(name: str, config: TrialConfig, record: EpochRecord, *, seconds_left: float, memory: str) -> str:
    """The diagnostics of one epoch, as text that can be pasted into a message.

    Args:
        name: Of the attempt.
        config: What is trained.
        record: Of the epoch.
        seconds_left: Until the last epoch, if none ends it earlier.
        memory: As from `device.memory_words`.
    """
    judged, metrics = config.judged_metric, record.metrics
    steps = config.recipe.draws_per_epoch // config.batch_size
    tiles = {key.removeprefix(f"{judged}/"): iou for key, iou in metrics.items() if key.startswith(f"{judged}/")}
    worst = min(tiles, key=lambda tile: tiles[tile])
    per_tile = textwrap.fill(
        "  ".join(f"{tile}={iou:.2f}" for tile, iou in tiles.items()),
        width=80,
        initial_indent="per_tile_iou: ",
        subsequent_indent=" " * 14,
        break_long_words=False,
        break_on_hyphens=False,
    )
    collapse = f"every val pixel is {record.collapsed_to}" if record.collapsed_to else "no"
    f1 = metrics[judged.replace("iou", "f1")]
    return "\n".join(
        [
            f"=== attempt: {name}  epoch: {record.epoch}/{config.recipe.epochs}  lr: {record.lr:.2e} ===",
            f"train: loss={metrics['train/loss']:.3f} (n={steps * config.batch_size} augmented, "
            f"bs={config.batch_size}, steps={steps})",
            f"val:   loss={metrics['val/loss']:.3f}  iou={record.judged:.3f}  f1={f1:.3f}  (n={len(tiles)} tiles"
            f"{f', {judged}' if judged != 'val/iou' else ''})",
            per_tile,
            f"worst_tile:   {worst} (iou={tiles[worst]:.2f})",
            f"collapse:     {collapse}",
            f"best_so_far:  iou={record.best:.3f} in epoch {record.best_epoch}",
            f"{memory}   step_time: {record.step_seconds:.2f}s   epoch_time: {record.seconds:.0f}s   "
            f"left: about {duration(seconds_left)}",
        ]
    )


def closing(
    name: str,
    attempt: ReferenceAttempt,
    tiles: TrainVal,
    records: Sequence[EpochRecord],
    best_epoch: int,
    scores: Scores,
) -> str:
    """The result on whole val tiles beside the trivial predictor's and the published one.

    Args:
        name: Of the attempt.
        attempt: As it was published.
        tiles: That it was trained on.
        records: Of all epochs.
        best_epoch: The epoch whose weights were scored.
        scores: Their scores.
    """
    label, trivial = constant_scores(tiles.val.masks, len(tiles.info.classes))
    figures, seconds = attempt.figures, sum(record.seconds for record in records)
    return (
        f"attempt {name}: val IoU {scores.iou:.3f}, F1 {scores.f1:.3f} (best epoch {best_epoch} of {len(records)}, "
        f"{duration(seconds)}); calling every pixel {tiles.info.classes[label]} scores {trivial.iou:.3f}\n"
        f"published, on Inria Austin: val IoU {figures.val_iou:.3f}, F1 {figures.val_f1:.3f} (best epoch "
        f"{figures.best_epoch}, {figures.minutes} min on a T4)"
    )
