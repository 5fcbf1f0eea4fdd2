"""Trains one attempt of the reference study without Ray and leaves a folder with all that it came to.

Ctrl-C ends it before the next batch or val tile; the same command with --resume goes on after the last whole epoch.
Settings are the published ones; each can be changed by its flag, and what was changed is recorded.
"""

import argparse
import os
import signal
import statistics
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainables.attempts import folder as attempt_folder
from trainables.attempts.diagnostics import diagnostics, memory_words
from trainables.attempts.folder import Run, settings
from trainables.attempts.table import ATTEMPTS, SEED, Attempt, get_attempt, published_config
from trainables.check_config import check_config
from trainables.checkpoints import count_parameters, newest_valid
from trainables.common.command import EXIT_INTERRUPTED, Parser, add_flags, validate
from trainables.common.duration import duration
from trainables.common.errors import UserError
from trainables.config import Recipe, TrialConfig
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.tiles import Tiles
from trainables.models.architectures import ARCHITECTURES
from trainables.models.weights import KEYWORDS, PUBLISHED, encoder_of, fetch_weights, known_digest, weights_for
from trainables.names import left_out
from trainables.records import DivergedError, EpochRecord, OutOfMemoryError
from trainables.training import takes_encoder_statistics
from trainables.trial import fit

SMOKE_TILES = 2
SMOKE_RECIPE = {"epochs": 2, "draws_per_epoch": 8, "window_px": 128, "small": True}
SMOKE_RECIPE_WHOLE_TILES = {"epochs": 2, "draws_per_epoch": 4}
"""For a frozen encoder with its real weights, which takes nothing smaller."""

SETTINGS = {
    name: field
    for name, field in TrialConfig.model_fields.items()
    if name not in ("architecture", "settings", "weights_digest", "recipe")
}


def main(argv: Sequence[str] | None = None) -> int:
    """Trains an attempt; the exit code: 0, 2 for a user's error, 130 when interrupted."""
    flags = vars(_parser().parse_args(argv))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    goes_on = flags.pop("resume")
    run = _prepare(flags)
    records: list[EpochRecord] = []
    with _stop_on_signals() as stop:
        if goes_on:
            records = attempt_folder.resume(run)
        else:
            attempt_folder.begin(run)
        for note in run.tiles.notes:
            console.print(f"Note: {note}", soft_wrap=True)
        console.print(_heading(run, len(records)))
        try:
            has_ended = _train(run, records, console, stop)
        except DivergedError as error:
            raise UserError(f"{error}, but must be a finite number: use a lower --lr, or --precision fp32") from error
        except OutOfMemoryError as error:
            raise UserError(
                f"{run.name} does not fit into the memory with batches of {run.config.batch_size} ({error}): use a "
                "smaller --batch-size or --window-px"
            ) from error
    if not has_ended:
        console.print(f"interrupted: {run.out} holds {len(records)} whole epochs; --resume goes on after them")
        return EXIT_INTERRUPTED
    console.print("predicting the val tiles with the best epoch's weights")
    console.print(_closing(run, attempt_folder.finish(run, records)))
    return 0


def _parser() -> argparse.ArgumentParser:
    attempts = "\n".join(f"  {number}  {attempt.title}" for number, attempt in ATTEMPTS.items())
    parser = Parser(
        prog="python -m trainables.fit",
        description=__doc__,
        epilog=f"attempts:\n{attempts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--attempt", required=True, metavar="01…05", help="which attempt")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of tiles (see README)")
    parser.add_argument("--smoke", action="store_true", default=False, help="2 epochs on a tiny subset, every step")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to; runs/attempt-NN (-smoke) if left out")
    parser.add_argument("--resume", action="store_true", default=False, help="go on with what --out holds")
    parser.add_argument("--device", metavar="NAME", help="cuda or cpu; a GPU where there is one if left out")
    parser.add_argument("--threads", metavar="N", help="threads that prepare draws beside the training step")
    parser.add_argument("--seed", metavar="N", help=f"everything random follows from it; {SEED} if left out")
    add_flags(parser.add_argument_group("settings of the attempt, to change them"), SETTINGS)
    add_flags(parser.add_argument_group("recipe, to change it"), Recipe.model_fields)
    return parser


def _prepare(flags: dict[str, Any]) -> Run:
    """Checks all that can be checked before anything is written."""
    number, attempt = get_attempt(flags.pop("attempt"))
    smoke, data = flags.pop("smoke"), flags.pop("data").expanduser()
    out = flags.pop("out", Path("runs") / f"attempt-{number}{'-smoke' if smoke else ''}").expanduser()
    device = _device(flags.pop("device", "cuda" if torch.cuda.is_available() else "cpu"))
    default_threads = max(1, (os.cpu_count() or 2) - 1) if device.type == "cuda" else 0
    num_threads = _count("threads", flags.pop("threads", default_threads))
    small = smoke or flags.get("small", False)
    weights, path = _weights(attempt, flags.pop("weights", "none" if small else None))
    dataset = read_dataset(data)
    seed = _count("seed", flags.pop("seed", SEED))
    recipe: dict[str, Any] = {"subset_seed": seed, "draw_seed": seed}
    if smoke:
        is_whole = ARCHITECTURES[attempt.architecture].is_frozen and weights != "none"
        recipe |= SMOKE_RECIPE_WHOLE_TILES if is_whole else SMOKE_RECIPE
    recipe |= {name: flags.pop(name) for name in list(flags) if name in Recipe.model_fields}
    published = published_config(attempt)
    trial = {name: getattr(published, name) for name in SETTINGS} | {
        "architecture": attempt.architecture,
        "tiles": min(len(dataset.train.tiles), SMOKE_TILES) if smoke else len(dataset.train.tiles),
        "init_seed": seed,
        "weights": weights,
        "weights_digest": None if path is None else known_digest(path),
    }
    config = validate(TrialConfig, trial | flags | {"recipe": validate(Recipe, recipe)})
    tiles = decode_train_val(dataset)
    tiles = replace(tiles, notes=(*dataset.notes, *tiles.notes))
    if smoke:
        tiles = replace(tiles, train=_few(tiles.train), val=_few(tiles.val))
    check_config(config, tiles)
    num_trainable, num_frozen = count_parameters(config, tiles.info)
    return Run(
        number=number,
        attempt=attempt,
        config=config,
        tiles=tiles,
        data=data,
        out=out,
        smoke=smoke,
        device=device,
        num_threads=num_threads,
        num_trainable=num_trainable,
        num_frozen=num_frozen,
    )


def _few(tiles: Tiles) -> Tiles:
    return tiles.take(range(min(len(tiles), SMOKE_TILES)))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device is {name!r}, but must be cuda or cpu") from error
    if device.type not in ("cuda", "cpu"):
        raise UserError(f"--device is {name!r}, but must be cuda or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device is {name}, but PyTorch sees no such device: use cpu")
    return device


def _count(name: str, value: int | str) -> int:
    if not str(value).isdecimal():
        raise UserError(f"--{name} is {value}, but must be a whole number from 0 up")
    return int(value)


def _weights(attempt: Attempt, choice: str | None) -> tuple[str, Path | None]:
    """What to start from and its file: the attempt's own weights where nothing is chosen."""
    encoder = ARCHITECTURES[attempt.architecture].encoder
    if encoder is None:
        if choice not in (None, "none"):
            raise UserError(f"--weights is {choice}, but {attempt.architecture} is trained from scratch: leave it out")
        return "none", None
    if choice is None and (published := PUBLISHED.get(encoder)):
        raise UserError(
            f"{attempt.architecture} needs {published.name}: fetch {published.url} and pass it as --weights PATH"
        )
    choice = "imagenet" if choice is None else choice
    if encoder_of(choice) not in (None, encoder):
        raise UserError(f"--weights {choice} is for another encoder, but {attempt.architecture} has {encoder}")
    weights = weights_for([choice], encoder)
    path = fetch_weights(weights, encoder)
    return weights if weights in KEYWORDS else str(Path(weights).expanduser().absolute()), path


def _heading(run: Run, num_done: int) -> str:
    config, values = run.config, settings(run.config)
    own = "as its weights expect" if takes_encoder_statistics(config, run.tiles) else "by the train tiles' statistics"
    missing = [] if run.tiles.is_photograph else left_out(config.augmentation)
    return "\n".join(
        [
            f"attempt {run.name}: {run.attempt.title}",
            f"  {run.num_trainable:,} trainable parameters (published: {run.attempt.published.trainable}), "
            f"{run.num_frozen:,} frozen; weights: {values['weights']}",
            f"  lr {config.lr:g}, {config.augmentation}, dropout {config.decoder_dropout:g}, "
            f"{config.loss_function.words}, batch {config.batch_size}, {config.tiles} train and "
            f"{len(run.tiles.val)} val tiles, {config.recipe.epochs} epochs of {config.recipe.draws_per_epoch} draws",
            f"  pixels are normalised {own}"
            + (f"; {config.augmentation} does without {', '.join(missing)} on these bands" if missing else ""),
            f"  differs from the published attempt in: {', '.join(run.changed) or 'nothing'}",
            f"  on {run.device.type}, into {run.out}{f', after epoch {num_done}' if num_done else ''}",
        ]
    )


def _train(run: Run, records: list[EpochRecord], console: Console, stop: threading.Event) -> bool:
    """Adds the epochs to come to `records`, each saved and printed; False when `stop` ended it."""
    epochs, steps = run.config.recipe.epochs, run.config.recipe.draws_per_epoch // run.config.batch_size
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with progress:
        bar = progress.add_task("", total=steps + len(run.tiles.val))

        def should_stop() -> bool:  # asked before each batch and val tile, so it also tells how far the epoch is
            progress.advance(bar)
            if stop.is_set():
                console.print("stopping")
            return stop.is_set()

        progress.update(bar, description=f"epoch {len(records) + 1}")
        for record in fit(
            run.config,
            run.tiles,
            checkpoints=run.out,
            checkpoint_seconds=0.0,
            resume=newest_valid(run.out, run.config) if records else None,
            device=str(run.device),
            num_threads=run.num_threads,
            should_stop=should_stop,
        ):
            records.append(record)
            attempt_folder.write_history(run.out, records)
            pace = statistics.median(record.seconds for record in records)
            left = 0.0 if record.ended else pace * (epochs - record.epoch)
            memory = memory_words(run.device, record.peak_memory_gib)
            console.print(diagnostics(run.name, run.config, record, seconds_left=left, memory=memory))
            progress.reset(bar, description=f"epoch {record.epoch + 1}")
    return bool(records) and bool(records[-1].ended)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Sets the event at the first Ctrl-C or SIGTERM; the second one ends the process as usual."""
    stop = threading.Event()

    def handle(signum: int, _: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _closing(run: Run, summary: dict[str, Any]) -> str:
    published, trivial = run.attempt.published, summary["trivial"]
    return (
        f"attempt {run.name}: val IoU {summary['val_iou']:.3f}, F1 {summary['val_f1']:.3f} (best epoch "
        f"{summary['best_epoch']} of {summary['epochs']}, {duration(summary['minutes'] * 60)}); everything is "
        f"{trivial['class']}: {trivial['iou']:.3f}\n"
        f"published, on Inria Austin: val IoU {published.val_iou:.3f}, F1 {published.val_f1:.3f} (best epoch "
        f"{published.best_epoch}, {published.minutes_t4} min on a T4)\n"
        f"wrote attempt.json, history.csv, best.pt, summary.json and predictions/val in {run.out}"
    )
