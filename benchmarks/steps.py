"""An epoch of training on the CPU beside a loop as tutorials have it, and how near to the processor's peak it comes."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.table import Row, Spread
from trainables.common.processor import has_bf16
from trainables.config import Recipe, TrialConfig
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.draws import DrawSource
from trainables.data.tiles import TrainVal
from trainables.datasets.demo import write_demo_tiles
from trainables.names import Precision
from trainables.precision import step_seconds
from trainables.training import TrainingState

NETWORKS = {
    "unet:efficientnet_lite0@scratch": ("Unet", "timm-tf_efficientnet_lite0"),
    "unet:resnet34@scratch": ("Unet", "resnet34"),
    "deeplabv3plus:resnet34@scratch": ("DeepLabV3Plus", "resnet34"),
    "segformer:mit_b0@scratch": ("Segformer", "mit_b0"),
}
"""Architectures, and the decoder and encoder of the same network in segmentation-models-pytorch."""

WINDOW_PX, BATCH = 192, 4
DRAWS_PER_EPOCH = 32
NUM_TURNS = 5
MATRIX = 2048
"""Side of the matrices whose product shows the peak."""


def rows() -> Iterator[Row]:
    """Of each network, an epoch beside the plain loop, and its share of the peak; on one core."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fewtile-bench-") as name:
        data = Path(name) / "tiles"
        write_demo_tiles(data, size_px=256, num_train=4, num_val=1, num_test=0)
        tiles = decode_train_val(read_dataset(data))
    peaks: dict[Precision, float] = {"fp32": _peak(torch.float32)}
    for architecture, (decoder, encoder) in NETWORKS.items():
        types: tuple[Precision, ...] = ("fp32", "bf16") if has_bf16() else ("fp32",)
        seconds = step_seconds(_config(architecture, "fp32"), tiles, types, 1)
        precision = min(seconds, key=seconds.__getitem__)
        if precision not in peaks:
            peaks[precision] = _peak(torch.bfloat16)
        step, flops = _ours(architecture, precision, tiles)
        ours, theirs = _by_turns(step, _plain(decoder, encoder, tiles))
        yield Row(
            what=f"epoch of {DRAWS_PER_EPOCH} draws of {WINDOW_PX} px, {architecture}, {precision}",
            unit="s",
            ours=_scaled(ours, DRAWS_PER_EPOCH / BATCH),
            peer="plain loop in float32",
            theirs=_scaled(theirs, DRAWS_PER_EPOCH / BATCH),
        )
        speed = flops / ours.value / 1e9
        yield Row(
            what=f"speed of {architecture}, {precision}, of {peaks[precision]:.0f} GFLOP/s of a matrix product",
            unit="GFLOP/s",
            ours=Spread.of([speed]),
            is_better_when="more",
        )


def _config(architecture: str, precision: Precision) -> TrialConfig:
    recipe = Recipe(batch_size=BATCH, window_px=WINDOW_PX, draws_per_epoch=DRAWS_PER_EPOCH, precision=precision)
    return TrialConfig(architecture=architecture, tiles=4, lr=1e-3, augmentation="MEDIUM", recipe=recipe)


def _ours(architecture: str, precision: Precision, tiles: TrainVal) -> tuple[Callable[[], None], int]:
    """A training step with its draws, as a trial takes it; and its floating-point operations."""
    trial = TrainingState(_config(architecture, precision), tiles, torch.device("cpu"))
    source = DrawSource(tiles, preset="MEDIUM", window_px=WINDOW_PX, subset_seed=0, draw_seed=0)
    trial.start_epoch(1)

    def step() -> None:
        for images, masks in source.batches(1, num_draws=BATCH, batch_size=BATCH):
            trial.train_step(images, masks)

    step()
    return step, model_flops(trial, next(source.batches(1, num_draws=BATCH, batch_size=BATCH))[0])


def model_flops(trial: TrainingState, images: torch.Tensor) -> int:
    """Floating-point operations of a training step: three times those of its forward pass, encoder and decoder trained.

    Torch's counter takes the backward pass of depthwise convolutions for that of dense ones, so it is not counted.
    """
    pixels = (images.float() * trial.tiles.scale).to(trial.device)
    with torch.no_grad(), trial.autocast(), FlopCounterMode(display=False) as counter:
        trial.model(pixels)
    return 3 * int(counter.get_total_flops())


def _plain(decoder: str, encoder: str, tiles: TrainVal) -> Callable[[], None]:
    """The same network of the library in float32, AdamW and the library's losses; draws are those of Fewtile."""
    model = getattr(smp, decoder)(encoder, encoder_weights=None, in_channels=3, classes=1).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    dice, entropy = smp.losses.DiceLoss("binary"), nn.BCEWithLogitsLoss()
    source = DrawSource(tiles, preset="MEDIUM", window_px=WINDOW_PX, subset_seed=0, draw_seed=0)

    def step() -> None:
        for images, masks in source.batches(1, num_draws=BATCH, batch_size=BATCH):
            optimizer.zero_grad()
            logits, truth = model(images.float() / 255), masks[:, None].float()
            loss = dice(logits, truth) + entropy(logits, truth)
            loss.backward()
            optimizer.step()
            loss.item()

    step()
    return step


def _by_turns(one: Callable[[], None], other: Callable[[], None]) -> tuple[Spread, Spread]:
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(NUM_TURNS):
        for step, into in zip((one, other), seconds, strict=True):
            started = time.perf_counter()
            step()
            into.append(time.perf_counter() - started)
    return Spread.of(seconds[0]), Spread.of(seconds[1])


def _scaled(spread: Spread, factor: float) -> Spread:
    return Spread.of([value * factor for value in (spread.low, spread.value, spread.high)])


def _peak(dtype: torch.dtype) -> float:
    """What the product of two large matrices reaches (GFLOP/s)."""
    one, other = torch.randn(MATRIX, MATRIX).to(dtype), torch.randn(MATRIX, MATRIX).to(dtype)
    seconds = []
    for _ in range(NUM_TURNS):
        started = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - started)
    return 2 * MATRIX**3 / statistics.median(seconds[1:]) / 1e9
