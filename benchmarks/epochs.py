"""Seconds per epoch and peak memory of the reference study's attempts, on one device, in one run.

    python benchmarks/epochs.py --data DIR [--attempts 01 02] [--epochs 3] [--device cuda] [--threads 8]

Trains each attempt in its published settings, but without pretrained weights: attempts 02 and 03 are measured as they
are once their encoder is no longer frozen. Prints a table; the first epoch, which warms the device up, is left out of
the median, and the last column is what the study published for the whole training on a T4. `--small` takes the smaller
variants.
"""

import argparse
import os
import statistics
from collections.abc import Sequence

import torch

from trainables.attempts.reference import ATTEMPTS, get_attempt, reference_config
from trainables.check_config import check_config
from trainables.checkpoints import count_parameters
from trainables.common.command import path_argument, run, validate
from trainables.config import Recipe, TrialConfig
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.device import device_model, find_device
from trainables.trial import fit


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=path_argument, required=True, help="folder of tiles")
    parser.add_argument("--attempts", nargs="+", default=list(ATTEMPTS), metavar="01…05")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--draws", type=int, default=400, help="draws per epoch")
    parser.add_argument("--window-px", type=int, help="windows instead of whole tiles")
    parser.add_argument("--small", action="store_true", help="the architectures' smaller variants")
    parser.add_argument("--augmentation", default="MEDIUM")
    parser.add_argument("--device", help="cuda or cpu; a GPU where there is one if left out")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="that prepare draws")
    options = parser.parse_args(arguments)
    device = find_device(options.device)
    tiles = decode_train_val(read_dataset(options.data))
    configs = {}
    for number, attempt in map(get_attempt, options.attempts):
        published = reference_config(attempt).model_dump()
        published |= {"tiles": len(tiles.train), "augmentation": options.augmentation, "weights": "none"}
        published["recipe"] |= {"epochs": options.epochs, "draws_per_epoch": options.draws, "small": options.small}
        recipe = validate(Recipe, published.pop("recipe") | {"window_px": options.window_px})
        configs[number] = validate(TrialConfig, published | {"recipe": recipe})
        check_config(configs[number], tiles)
    print(
        f"{device_model(device)}, torch {torch.__version__}, {options.draws} draws per epoch, {options.augmentation}\n"
    )
    print("| # | architecture | trainable M | frozen M | s per epoch | ms per step | draws/s | peak GiB | T4 min |")
    print("|---|---|---|---|---|---|---|---|---|")
    for number, config in configs.items():
        trainable, frozen = count_parameters(config, tiles.info)
        records = list(fit(config, tiles, device=str(device), num_threads=options.threads))
        seconds = statistics.median(record.seconds for record in records[1:] or records)
        step = statistics.median(record.step_seconds for record in records[1:] or records)
        peak = max(record.peak_memory_gib for record in records)
        print(
            f"| {number} | {config.label} | {trainable / 1e6:.1f} | {frozen / 1e6:.1f} | {seconds:.1f} | "
            f"{step * 1e3:.0f} | {options.draws / seconds:.0f} | {peak:.1f} | "
            f"{ATTEMPTS[number].figures.minutes} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    run(main)
