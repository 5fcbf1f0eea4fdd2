"""What a person reads after each epoch of an attempt: one block of text that can be pasted into a message."""

import sys
import textwrap

import torch

from trainables.common.duration import duration
from trainables.config import TrialConfig
from trainables.records import EpochRecord


def diagnostics(name: str, config: TrialConfig, record: EpochRecord, *, seconds_left: float, memory: str) -> str:
    """The block of one epoch.

    Args:
        name: Of the attempt.
        config: What is trained.
        record: Of the epoch.
        seconds_left: Until the last epoch, if none ends it earlier.
        memory: As from `memory_words`.
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


def memory_words(device: torch.device, peak_memory_gib: float) -> str:
    """Peak memory: of the epoch and all that the device has (GiB); of this process on a CPU."""
    if device.type == "cuda":
        total = torch.cuda.mem_get_info(device)[1] / 2**30
        return f"gpu_mem: {peak_memory_gib:.1f} / {total:.1f} GiB"
    try:
        import resource  # not on Windows
    except ImportError:
        return "memory: unknown"
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.1f} GiB"
