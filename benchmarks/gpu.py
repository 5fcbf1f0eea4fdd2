"""What a GPU does with every architecture, in one run of some minutes: a table, and `benchmarks/results/gpu.json`.

    python -m benchmarks.gpu                                 on a machine with torch; no Ray, no W&B, no tiles needed
    python -m benchmarks.gpu --device cpu --small            the same steps on a CPU, to see that they work

Runs the tests that need a GPU; times training steps in the number types that the device has, and compiled; times draws
that it augments; lets a trial run out of memory and go on in micro-batches; trains two trials side by side; times every
architecture on whole tiles, with the peak of memory beside the traced one; and projects the hours of the reference
study's phase 1. It begins nothing more after `--minutes`, and says what it left out.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks import gpu_draws
from benchmarks.steps import model_flops
from benchmarks.table import Row, Spread, show, write_rows
from trainables.attempts.reference import ATTEMPTS, reference_config
from trainables.common.command import Parser, run
from trainables.config import Recipe, TrialConfig
from trainables.data.tiles import DatasetInfo, Tiles, TrainVal
from trainables.device import device_model, find_device, free_memory, gpu_gib
from trainables.memory import UntraceableError, trace_memory
from trainables.models.architectures import ARCHITECTURES
from trainables.names import Precision
from trainables.records import OutOfMemoryError
from trainables.training import TrainingState
from trainables.trial import fit

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
DRAWS_PER_EPOCH = Recipe().draws_per_epoch
Clock = Callable[[], float]
"""Minutes that are left."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cuda or cpu; a GPU where there is one if left out")
    parser.add_argument("--small", action="store_true", help="small variants on tiles of 64 px, and few steps")
    parser.add_argument("--minutes", type=float, default=8.0, help="that it may take (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file for the numbers (default: %(default)s)")
    options = parser.parse_args(arguments)
    device, console = find_device(options.device), Console(highlight=False, markup=False)
    ends = time.monotonic() + 60 * float(options.minutes)

    def left() -> float:
        return (ends - time.monotonic()) / 60

    rows: list[Row] = []
    left_out: list[str] = []
    for words, section in SECTIONS.items():
        if left() <= 0:
            left_out.append(words)
            continue
        console.print(f"{words} · {left():.1f} min left", soft_wrap=True)
        free_memory()
        for row in section(device, options.small, left):
            console.print(f"  {row.what}: {row.ours} {row.unit}", soft_wrap=True)
            rows.append(row)
    about = {"device": device_model(device), "torch": torch.__version__, "left out": ", ".join(left_out) or "nothing"}
    show(rows, console, title=f"{about['device']}, torch {about['torch']}")
    console.print(f"left out: {about['left out']}", soft_wrap=True)
    write_rows(options.json, rows, about)
    console.print(f"numbers   {options.json}", soft_wrap=True)
    return 0


def tests_rows(device: torch.device, small: bool, left: Clock) -> Iterator[Row]:
    """How many of the tests that need a GPU pass; none on a CPU."""
    if device.type == "cuda":
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests/trainables"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60 * max(1.0, left()))
        last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
        yield _row(f"gpu tests, exit code {done.returncode}: {last}", "code", float(done.returncode))


def step_rows(name: str, device: torch.device, small: bool, left: Clock) -> Iterator[Row]:
    """Seconds per step and epoch of an architecture, its speed, and its memory beside the traced one."""
    tiles, config = made_up_tiles(small), make_config(name, small)
    try:
        seconds, flops, peak = measured(config, tiles, device, 2 if small else 8)
    except torch.OutOfMemoryError:
        yield _row(f"{name}: out of memory in batches of {config.batch_size}", "GiB", gpu_gib())
        return
    num_steps = DRAWS_PER_EPOCH // config.batch_size
    yield _row(f"{name}: training of an epoch of {DRAWS_PER_EPOCH} draws", "s", *(num_steps * one for one in seconds))
    yield _row(f"{name}: speed", "TFLOP/s", *(flops / one / 1e12 for one in seconds))
    yield from _memory_rows(config, tiles, peak)


def _memory_rows(config: TrialConfig, tiles: TrainVal, peak: float) -> Iterator[Row]:
    side = tiles.train.images[0].shape[0]
    try:
        traced = trace_memory(config, tiles.info, train_px=side, tiles_px=[(side, side)])
    except UntraceableError:
        return
    if peak:
        theirs = Spread.of([traced.train_gib])
        yield Row(
            what=f"{config.architecture}: peak of tensors in training",
            unit="GiB",
            ours=Spread.of([peak]),
            peer="as traced",
            theirs=theirs,
        )


def type_rows(device: torch.device, small: bool, left: Clock) -> Iterator[Row]:
    """A step in each number type, and compiled, beside float32 as it is."""
    tiles, name = made_up_tiles(small), "unet_resnet34"
    types: tuple[Precision, ...] = ("bf16", "fp16") if device.type == "cuda" else ("bf16",)
    num_steps = 2 if small else 8
    plain = Spread.of(measured(make_config(name, small, "fp32"), tiles, device, num_steps)[0])
    for precision in types:
        seconds = measured(make_config(name, small, precision), tiles, device, num_steps)[0]
        yield _beside(f"{name}: a step in {precision}", seconds, "in fp32", plain)
    if device.type != "cuda":  # compiling for a CPU takes minutes
        return
    config = make_config(name, small)
    eager = Spread.of(measured(config, tiles, device, num_steps)[0])
    started = time.perf_counter()
    seconds = measured(config, tiles, device, num_steps, compiled=True)[0]
    yield _beside(f"{name}: a step, compiled", seconds, "eager", eager)
    yield _row(f"{name}: compiling, and {num_steps} steps", "s", time.perf_counter() - started)


def memory_rows(device: torch.device, small: bool, left: Clock) -> Iterator[Row]:
    """A trial that runs out of memory in whole batches and trains in micro-batches: whether it does."""
    tiles, name = made_up_tiles(small), "unet_resnet34"
    config = make_config(name, small, epochs=1, draws_per_epoch=8, batch_size=8)
    if device.type == "cuda":
        side = tiles.train.images[0].shape[0]
        whole = trace_memory(config, tiles.info, train_px=side, tiles_px=[(side, side)]).train_gib
        torch.cuda.set_per_process_memory_fraction(0.6 * whole / gpu_gib())
        try:
            list(fit(config, tiles, device="cuda"))
            yield _row(f"{name}: a batch of 8 did not run out of 0.6 of its traced memory", "GiB", 0.6 * whole)
        except OutOfMemoryError:
            yield _row(f"{name}: a batch of 8 ran out of 0.6 of its traced memory", "GiB", 0.6 * whole)
    try:
        records = list(fit(config, tiles, device=str(device), micro_batch_size=2))
        yield _row(f"{name}: the same in micro-batches of 2, an epoch", "s", records[-1].seconds)
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)


def sharing_rows(device: torch.device, small: bool, left: Clock) -> Iterator[Row]:
    """Steps of two trials that share the device, each in its own process, beside one that has it alone."""
    seconds = {}
    for count in (1, 2):
        command = [sys.executable, "-c", _STEPS, str(device), str(small)]
        processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        printed = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise RuntimeError(f"a trial of {count} side by side failed")
        seconds[count] = [float(text.split()[-1]) / count for text in printed]
    yield _beside("unet_resnet34: a step, two trials side by side", seconds[2], "one alone", Spread.of(seconds[1]))


_STEPS = """
import statistics, sys, torch
from benchmarks.gpu import made_up_tiles, make_config, measured
small = sys.argv[2] == "True"
config, tiles = make_config("unet_resnet34", small), made_up_tiles(small)
seconds, *_ = measured(config, tiles, torch.device(sys.argv[1]), 2 if small else 40)
print(statistics.median(seconds))
"""


def draw_rows(device: torch.device, small: bool, left: Clock) -> Iterator[Row]:
    """Draws of each preset that the device augments."""
    yield from gpu_draws.rows(made_up_tiles(small), device, 8 if small else 64)


def phase_rows(device: torch.device, small: bool, left: Clock) -> Iterator[Row]:
    """The hours of phase 1 by the published number of epochs, beside those of the reference study's T4."""
    tiles, total = made_up_tiles(small), 0.0
    for attempt in ATTEMPTS.values():
        config = make_config(attempt.architecture, small)
        seconds = measured(config, tiles, device, 2 if small else 4)[0]
        epochs = reference_config(attempt).recipe.epochs
        total += epochs * (DRAWS_PER_EPOCH // config.batch_size) * min(seconds) / 3600
    if small:
        yield _row("training of phase 1, 60 epochs of each attempt's small variant", "h", total)
        return
    published = sum(attempt.figures.minutes for attempt in ATTEMPTS.values()) / 60
    yield _beside(
        "training of phase 1, 60 epochs of each attempt", [total], "published, on a T4", Spread.of([published]), "h"
    )


SECTIONS: dict[str, Callable[[torch.device, bool, Clock], Iterator[Row]]] = {
    "gpu tests": tests_rows,
    "number types and torch.compile": type_rows,
    "draws": draw_rows,
    "out of memory": memory_rows,
    "two trials on one device": sharing_rows,
    **{name: partial(step_rows, name) for name in ARCHITECTURES},
    "phase 1": phase_rows,
}


def made_up_tiles(small: bool) -> TrainVal:
    """Noise of the reference study's size and type, with a square in each mask."""
    side, rng = (64 if small else 1024), np.random.default_rng(0)
    images = tuple(rng.integers(0, 255, (side, side, 3), np.uint8) for _ in range(4))
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2, side // 4 : side // 2] = 1
    info = DatasetInfo(bands=("red", "green", "blue"), scale=1 / 255)
    train, val = (
        Tiles(tuple(f"{split}_{i}" for i in places), tuple(images[i] for i in places), (mask,) * len(places))
        for split, places in (("train", (0, 1, 2)), ("val", (3,)))
    )
    return TrainVal(train=train, val=val, info=info)


def make_config(name: str, small: bool, precision: Precision = "auto", **recipe: Any) -> TrialConfig:
    """Of the reference recipe, from random weights."""
    settings = Recipe(small=small, precision=precision, **recipe)
    return TrialConfig(architecture=name, tiles=3, lr=1e-4, augmentation="LIGHT", recipe=settings)


def measured(
    config: TrialConfig, tiles: TrainVal, device: torch.device, num_steps: int, *, compiled: bool = False
) -> tuple[list[float], int, float]:
    """Seconds of steps without their draws, floating-point operations of one, and the peak of device memory (GiB)."""
    trial = TrainingState(config, tiles, device)
    if compiled:
        trial.model.compile()
    trial.start_epoch(config.frozen_epochs + 1)
    images = torch.from_numpy(
        np.stack([tiles.train.images[i % 3].transpose(2, 0, 1) for i in range(config.batch_size)])
    )
    masks = torch.from_numpy(np.stack([tiles.train.masks[i % 3] for i in range(config.batch_size)]))

    def step() -> None:
        trial.train_step(images, masks)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    step()
    step()
    seconds = []
    for _ in range(num_steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    peak = trial.peak_memory_gib()
    return seconds, 0 if compiled else model_flops(trial, images), peak


def _row(what: str, unit: str, *values: float) -> Row:
    return Row(what=what, unit=unit, ours=Spread.of(values))


def _beside(what: str, values: Sequence[float], peer: str, theirs: Spread, unit: str = "s") -> Row:
    return Row(what=what, unit=unit, ours=Spread.of(values), peer=peer, theirs=theirs)


if __name__ == "__main__":
    run(main)
