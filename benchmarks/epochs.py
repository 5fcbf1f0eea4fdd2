"""Seconds per epoch and peak memory of every architecture in the reference recipe, on one device, in one run.

    python benchmarks/epochs.py --data DIR [--epochs 3] [--device cuda] [--threads 8]

Trains one `full` configuration of each architecture without pretrained weights and prints a table; the first epoch,
which warms the device up, is left out of the median.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from trainables.architectures import ARCHITECTURES
from trainables.config import Recipe, TrialConfig
from trainables.dataset import decode_train_val, read_dataset
from trainables.errors import UserError
from trainables.fit import fit


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of tiles")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--draws", type=int, default=400, help="draws per epoch")
    parser.add_argument("--window-px", type=int, help="windows instead of whole tiles")
    parser.add_argument("--augmentation", default="MEDIUM")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="that prepare draws")
    options = parser.parse_args(arguments)
    try:
        tiles = decode_train_val(read_dataset(options.data))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    recipe = Recipe(epochs=options.epochs, draws_per_epoch=options.draws, window_px=options.window_px)
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    print(f"{name}, torch {torch.__version__}, {options.draws} draws per epoch, {options.augmentation}\n")
    print("| architecture | s per epoch | draws/s | peak GiB | loss first → last | val IoU |")
    print("|---|---|---|---|---|---|")
    for architecture in ARCHITECTURES:
        config = TrialConfig(
            architecture=architecture,
            tiles=len(tiles.train),
            lr=1e-3,
            augmentation=options.augmentation,
            recipe=recipe,
        )
        records = list(fit(config, tiles, device=options.device, num_threads=options.threads))
        seconds = statistics.median(record.seconds for record in records[1:] or records)
        peak = max(record.peak_memory_gib for record in records)
        losses = f"{records[0].metrics['train/loss']:.3f} → {records[-1].metrics['train/loss']:.3f}"
        rate = options.draws / seconds
        print(
            f"| {architecture} | {seconds:.1f} | {rate:.0f} | {peak:.1f} | {losses} | {records[-1].best:.3f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
