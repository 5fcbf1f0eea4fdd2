"""Trains one attempt of the reference study and shows every epoch: a quick look at one model, without a study.

Settings are the published ones; each can be changed by its flag, and what differs is shown. Ctrl-C stops before the
next batch or tile; the same command with --resume goes on after the last whole epoch.
"""

import argparse
import contextlib
import os
import signal
import statistics
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.attempts.reference import ATTEMPTS, SEED, ReferenceAttempt, get_attempt, reference_config
from trainables.common.command import EXIT_INTERRUPTED, Parser, add_flags, run, validate
from trainables.common.errors import UserError
from trainables.config import Recipe, TrialConfig
from trainables.models.architecture import Architecture
from trainables.models.composed.names import get_architecture
from trainables.models.own.files import is_own, of_same_copies, take_file
from trainables.models.own.names import OWN
from trainables.models.weight_files import PUBLISHED
from trainables.models.weights import KEYWORDS, encoder_of, fetch_weights, known_digest, weights_for
from trainables.names import left_out

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from trainables.data.tiles import TrainVal
    from trainables.records import EpochRecord

SMOKE_TILES = 2
SMOKE_RECIPE = {"epochs": 2, "draws_per_epoch": 8, "window_px": 128, "small": True}
SMOKE_RECIPE_WHOLE_TILES = {"epochs": 2, "draws_per_epoch": 4}
"""For a frozen encoder with its real weights, which takes whole tiles only."""

SETTINGS = {
    name: field
    for name, field in TrialConfig.model_fields.items()
    if name not in ("architecture", "settings", "weights_digest", "network_digest", "recipe", "folds", "fixed_epochs")
}


def main(argv: Sequence[str] | None = None) -> int:
    """Trains an attempt and returns the exit code: 0, or 130 where Ctrl-C or SIGTERM stopped it.

    Raises:
        UserError: A flag, the tiles, the weights or the folder do not allow it; the loss is no longer finite; or the
            memory does not suffice.
    """
    flags = vars(_parser().parse_args(argv))
    # Imported here, since they take seconds and --help needs none of them
    from rich.console import Console

    from trainables.attempts import diagnostics, outputs
    from trainables.check_config import check_config
    from trainables.check_network import check_network
    from trainables.data.dataset import read_dataset
    from trainables.data.decode import decode_train_val
    from trainables.device import find_device, memory_words, out_of_memory_words
    from trainables.records import DivergedError, OutOfMemoryError

    number, attempt = get_attempt(flags.pop("attempt"))
    is_smoke, is_resumed = flags.pop("smoke"), flags.pop("resume")
    out: Path = flags.pop("out", Path("runs") / f"attempt-{number}{'-smoke' if is_smoke else ''}")
    network = flags.pop("architecture", None)
    architecture = attempt.architecture if network is None else _take(network, out if is_resumed else None)
    device = find_device(flags.pop("device", None))
    num_threads = flags.pop("threads", max(1, (os.cpu_count() or 2) - 1) if device.type == "cuda" else 0)
    dataset = read_dataset(flags.pop("data"))
    config = _config(attempt, architecture, flags, num_tiles=len(dataset.train.tiles), is_smoke=is_smoke)
    tiles = decode_train_val(dataset)
    if is_smoke:
        train, val = (its.take(range(min(len(its), SMOKE_TILES))) for its in (tiles.train, tiles.val))
        tiles = replace(tiles, train=train, val=val)
    check_config(config, tiles)
    if config.network_digest:
        check_network(config, tiles.info)
    name = f"{number} {config.label}{', smoke' if is_smoke else ''}"
    console = Console(highlight=False, markup=False, soft_wrap=True)
    with _stop_on_signals() as stop:
        about = outputs.describe(number, attempt, config, tiles)
        records = outputs.open_folder(out, about, config, is_resumed=is_resumed)
        for note in (*dataset.notes, *tiles.notes):
            console.print(f"Note: {note}")
        missing = [] if tiles.is_photograph else left_out(config.augmentation)
        console.print(diagnostics.heading(name, attempt, config, tiles, about, missing))
        console.print(f"  on {device.type}, into {out}{f', after epoch {len(records)}' if records else ''}")
        try:
            for record in _epochs(config, tiles, out, device, num_threads, console, stop, records):
                records.append(record)
                outputs.write_history(out, records)
                pace = statistics.median(record.seconds for record in records)
                left = 0.0 if record.ended else pace * (config.recipe.epochs - record.epoch)
                memory = memory_words(device, record.peak_memory_gib)
                console.print(diagnostics.block(name, config, record, seconds_left=left, memory=memory))
            if not records or not records[-1].ended:
                raise KeyboardInterrupt
            console.print("predicting the val tiles with the best epoch's weights")
            best_epoch = records[-1].best_epoch
            scores = outputs.write_predictions(
                out, config, tiles, device, best_epoch=best_epoch, should_stop=stop.is_set
            )
        except KeyboardInterrupt:
            console.print(f"interrupted: {out} holds {len(records)} whole epochs; --resume goes on after them")
            return EXIT_INTERRUPTED
        except DivergedError as error:
            raise UserError(f"{error}, but must be a finite number: use a lower --lr, or --precision fp32") from error
        except (RuntimeError, MemoryError) as error:
            words = str(error) if isinstance(error, OutOfMemoryError) else out_of_memory_words(error)
            if words is None:
                raise
            raise UserError(
                f"{name} does not fit into the memory with batches of {config.batch_size} ({words}): use a smaller "
                "--batch-size or --window-px"
            ) from error
    console.print(diagnostics.closing(name, attempt, tiles, records, best_epoch, scores))
    console.print(f"wrote {outputs.ABOUT}, {outputs.HISTORY}, best.pt, newest.pt and predictions/val in {out}")
    return 0


def _epochs(
    config: TrialConfig,
    tiles: "TrainVal",
    out: Path,
    device: "torch.device",
    num_threads: int,
    console: "Console",
    stop: threading.Event,
    records: "Sequence[EpochRecord]",
) -> "Iterator[EpochRecord]":
    """Yields the epochs after `records` until `stop` is set; in a terminal, a bar shows the batches and val tiles."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from trainables.attempts.outputs import newest_checkpoint
    from trainables.trial import fit

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        num_steps = config.recipe.draws_per_epoch // config.batch_size
        bar = progress.add_task(f"epoch {len(records) + 1}", total=num_steps + len(tiles.val))

        def should_stop() -> bool:
            progress.advance(bar)  # it is called before each batch and val tile
            if stop.is_set():
                console.print("stopping")
            return stop.is_set()

        for record in fit(
            config,
            tiles,
            checkpoints=out,
            checkpoint_seconds=0.0,
            resume=newest_checkpoint(out, config) if records else None,
            device=str(device),
            num_threads=num_threads,
            should_stop=should_stop,
        ):
            yield record
            progress.reset(bar, description=f"epoch {record.epoch + 1}")


def _parser() -> Parser:
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
    parser.add_argument(
        "--architecture", metavar="PATH.py:FUNCTION", help="a network of yours in its place (see README)"
    )
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of tiles (see README)")
    parser.add_argument("--smoke", action="store_true", default=False, help="try every step: 2 short epochs on 2 tiles")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to; runs/attempt-NN (-smoke) if left out")
    parser.add_argument("--resume", action="store_true", default=False, help="go on with what --out holds")
    parser.add_argument("--device", metavar="NAME", help="cuda or cpu; a GPU where there is one if left out")
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="threads that prepare draws beside the training step"
    )
    parser.add_argument(
        "--seed", type=_count, metavar="N", help=f"everything random follows from it; {SEED} if left out"
    )
    add_flags(parser.add_argument_group("settings of the attempt, to change them"), SETTINGS)
    add_flags(parser.add_argument_group("recipe, to change it"), Recipe.model_fields)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"it is {text}, but must be a whole number from 0 up")
    return int(text)


def _take(network: str, begun: Path | None) -> str:
    """The name for tables of a person's own network; of the copy in the folder of an attempt that has begun."""
    try:
        if not is_own(network):
            raise ValueError("must be PATH.py:FUNCTION")
        name = take_file(network if begun is None else of_same_copies([network], begun)[0])
        get_architecture(name)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"--architecture is {network!r}, but {error}") from error
    return name


def _config(
    attempt: ReferenceAttempt, architecture: str, flags: dict[str, Any], *, num_tiles: int, is_smoke: bool
) -> TrialConfig:
    """The published configuration with what another network, the flags and a smoke test change."""
    seed, row = flags.pop("seed", SEED), get_architecture(architecture)
    weights, path = _weights(row, flags.pop("weights", "none" if is_smoke or flags.get("small") else None))
    recipe: dict[str, Any] = {"subset_seed": seed, "draw_seed": seed}
    if is_smoke:
        is_whole = row.is_frozen and weights not in ("none", OWN)
        recipe |= SMOKE_RECIPE_WHOLE_TILES if is_whole else SMOKE_RECIPE
    recipe |= {name: flags.pop(name) for name in list(flags) if name in Recipe.model_fields}
    published = reference_config(attempt)
    settings = {name: getattr(published, name) for name in SETTINGS} | {
        "architecture": architecture,
        "tiles": min(num_tiles, SMOKE_TILES) if is_smoke else num_tiles,
        "init_seed": seed,
        "weights": weights,
        "weights_digest": None if path is None else known_digest(path),
    }
    own = dict(row.recipe) if row.file_digest else {}
    return validate(TrialConfig, settings | own | flags | {"recipe": validate(Recipe, recipe)})


def _weights(row: Architecture, choice: str | None) -> tuple[str, Path | None]:
    """What the encoder starts from, and its file: the attempt's own weights where nothing is chosen."""
    encoder = row.encoder
    if encoder is None or row.file_digest:
        if choice not in (None, "none"):
            what = "loads its own weights" if row.file_digest else "is trained from scratch"
            raise UserError(f"--weights is {choice}, but {row.name} {what}: leave it out")
        return OWN if row.file_digest else "none", None
    if choice is None and (published := PUBLISHED.get(encoder)):
        raise UserError(f"{row.name} needs {published.name}: fetch {published.url} and pass it as --weights PATH")
    choice = "imagenet" if choice is None else choice
    if encoder_of(choice) not in (None, encoder):
        raise UserError(f"--weights {choice} is for another encoder, but {row.name} has {encoder}")
    weights = weights_for([choice], encoder)
    path = fetch_weights(weights, encoder)
    return weights if weights in KEYWORDS else str(Path(weights).expanduser().absolute()), path


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Sets the event at the first Ctrl-C or SIGTERM; the second one interrupts at once what runs."""
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


if __name__ == "__main__":
    run(main)
