"""The memory of a trial: what can be added up by hand, what changes it, and which networks can be traced."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from trainables.config import TrialConfig
from trainables.data.tiles import DatasetInfo
from trainables.memory import DEVICE_GIB, Memory, StorageTracker, UntraceableError, trace_memory
from trainables.models.architectures import ARCHITECTURES
from trainables.models.frozen import FrozenEncoder
from trainables.models.spec import ModelSpec
from trainables.training import TrainingState

RGB = DatasetInfo(bands=("red", "green", "blue"))
SIDE = 64
WIDTH = 32
QUICK = ("unet_resnet34", "sam_unet", "lavit", "vit_gat")
COMPOSED = ("unetplusplus:resnet18@scratch", "fpn:mobilenet_v2@scratch", "segformer:mit_b0@scratch")
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in (*ARCHITECTURES, *COMPOSED)]


def gib(num_bytes: float) -> float:
    return num_bytes / 2**30


class Stack(nn.Module):
    """Convolutions and ReLUs, of which each pair keeps its own output and its convolution's input."""

    def __init__(self, num_layers: int, num_outputs: int):
        super().__init__()
        self.encoder = nn.Conv2d(3, WIDTH, 3, padding=1)
        pairs = [(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.ReLU()) for _ in range(num_layers)]
        self.layers: nn.Module = nn.Sequential(*(module for pair in pairs for module in pair))
        self.head = nn.Conv2d(WIDTH, num_outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.layers(self.encoder(x)))
        return logits


class Frozen(Stack):
    """Has layers that are never trained."""

    def __init__(self, num_layers: int, num_outputs: int):
        super().__init__(num_layers, num_outputs)
        self.layers = FrozenEncoder(self.layers)


class Asking(Stack):
    """Looks at the number of its pixels that are not 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * int((x != 0).sum())


@pytest.fixture
def traced(make_config: Callable[..., TrialConfig], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Memory]:
    """The memory of a stack, or of whatever `architecture` names; `px` is its tiles' side."""

    def trace(num_layers: int = 4, network: type[Stack] = Stack, px: int = SIDE, **changes: Any) -> Memory:
        def build(spec: ModelSpec) -> nn.Module:
            return network(num_layers, spec.num_outputs)

        name = f"{network.__name__}{num_layers}"
        row = replace(ARCHITECTURES["unet"], name=name, build=build, small="")
        monkeypatch.setitem(ARCHITECTURES, name, row)
        config = make_config(**{"architecture": name, "decoder_dropout": 0.0} | changes)
        return trace_memory(config, RGB, train_px=px, tiles_px=[(px, px)])

    return trace


@pytest.mark.parametrize(("precision", "num_bytes"), [("fp32", 4), ("auto", 2)])
def test_layer_adds_its_output_and_its_parameters_as_often_as_they_are_kept(precision, num_bytes, traced):
    """Batches of 2. Weights are there thrice, with Adam's two moments, and once more in the type of autocast."""
    four, eight = (traced(num_layers=n, precision=precision) for n in (4, 8))
    features, weights = 2 * WIDTH * SIDE**2, WIDTH * WIDTH * 9
    kept = features * num_bytes + weights * (4 * 3 + (2 if num_bytes == 2 else 0))
    assert eight.train_gib - four.train_gib == pytest.approx(gib(4 * kept), rel=1e-3)
    # Gradients are there as well when a tile is predicted, but no features are but those of one layer
    assert eight.evaluate_gib - four.evaluate_gib == pytest.approx(
        gib(4 * weights * (4 * 4 + (2 if num_bytes == 2 else 0))), rel=1e-3
    )


def test_memory_follows_batch_sides_loss_and_moving_average(traced):
    plain = traced()
    assert traced(lr=1e-2, augmentation="EXTREME", init_seed=7, tiles=2) is plain  # what changes none is not traced
    assert plain.gib == DEVICE_GIB + plain.train_gib
    assert traced(batch_size=4).train_gib > 1.8 * plain.train_gib
    assert traced(batch_size=4).evaluate_gib == plain.evaluate_gib
    assert traced(px=128).train_gib > 3.5 * plain.train_gib
    assert traced(px=128, window_px=SIDE).train_gib == plain.train_gib
    assert traced(px=128, window_px=SIDE).evaluate_gib == traced(px=128).evaluate_gib > 2 * plain.evaluate_gib
    assert traced(loss="bce_dice_cldice").train_gib > plain.train_gib
    parameters = 3 * WIDTH * 9 + WIDTH + 4 * WIDTH**2 * 9 + WIDTH + 1
    assert traced(ema_decay=0.9).train_gib - plain.train_gib == pytest.approx(gib(4 * (parameters + 6)))


@pytest.mark.parametrize("name", NAMES)
def test_architecture_can_be_traced_and_leaves_the_random_state(name, make_config):
    config, before = make_config(architecture=name, loss="focal_dice"), torch.get_rng_state()
    memory = trace_memory(config, RGB, train_px=64, tiles_px=[(64, 64), (32, 128)])
    assert 0.0 < memory.evaluate_gib < 1.0 > memory.train_gib > 0.0
    assert torch.equal(torch.get_rng_state(), before)


def test_frozen_layers_keep_nothing_but_their_weights(traced):
    four, eight = (traced(num_layers=n, network=Frozen, precision="fp32") for n in (4, 8))
    assert eight.train_gib - four.train_gib == pytest.approx(gib(4 * 4 * WIDTH * WIDTH * 9))


def test_large_tiles_are_predicted_by_windows(make_config, monkeypatch):
    row = replace(ARCHITECTURES["unet"], whole_px=128)
    monkeypatch.setitem(ARCHITECTURES, "unet", row)
    small, large = (
        trace_memory(make_config(), RGB, train_px=64, tiles_px=[(side, side)]).evaluate_gib for side in (128, 5000)
    )
    assert small == large


def test_network_that_looks_at_numbers_is_refused_in_one_line(traced):
    with pytest.raises(UntraceableError, match=r"^\S.*$"):
        traced(network=Asking)


def test_storages_are_added_up_as_torch_does():
    with FakeTensorMode(), MemTracker() as theirs, StorageTracker() as ours:
        network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 1, 1))
        network(torch.empty(2, 3, 64, 64)).sigmoid().mean().backward()
        assert ours.peak == theirs.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"] > ours.now > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no CUDA device here")
@pytest.mark.parametrize("name", ["unet", "unet_resnet34", "segformer_mit_b3"])
def test_gpu_takes_what_was_traced(name, make_config, tiles):
    config = make_config(architecture=name, batch_size=4, window_px=128, small=False)
    memory = trace_memory(config, tiles.info, train_px=128, tiles_px=[(128, 128)])
    trial = TrainingState(config, tiles, torch.device("cuda"))
    images = torch.zeros(4, len(tiles.info.bands), 128, 128, dtype=torch.uint8)
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        trial.train_step(images, torch.zeros(4, 128, 128, dtype=torch.uint8))
    assert trial.peak_memory_gib() == pytest.approx(memory.train_gib, rel=0.15, abs=0.1)
