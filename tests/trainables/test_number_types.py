"""Number types: trials that compute with each and change between them, and float16's lost steps."""

import math
from itertools import chain, count, pairwise, repeat
from typing import Any

import pytest
import torch
from torch import nn

from trainables.checkpoints import BEST, NEWEST, load
from trainables.device import autocast, device_model
from trainables.epoch_loss import NUM_LOST_IN_A_ROW, EpochLoss
from trainables.records import DivergedError, records_from_json
from trainables.training import TrainingState
from trainables.trial import fit

CPU = torch.device("cpu")
TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


# Trials that change between number types


@pytest.fixture
def on(monkeypatch):
    """Lets `auto` mean one of the types on a CPU, as on another device."""

    def use(name: str) -> None:
        for module in ("trainables.training", "trainables.device"):
            monkeypatch.setattr(f"{module}.half_dtype", lambda *_: TYPES[name])

    return use


@pytest.mark.parametrize("before", TYPES)
@pytest.mark.parametrize("after", TYPES)
def test_fit_resumes_on_a_device_with_another_type(make_config, tiles, tiny, tmp_path, on, before, after):
    config = make_config(**tiny, epochs=3, ema_decay=0.9)
    on(before)
    next(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    on(after)
    records = list(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, resume=tmp_path / NEWEST))
    assert [record.epoch for record in records] == [2, 3]
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    kept = records_from_json(load(tmp_path / NEWEST)["records"])
    assert [record.dtype for record in kept] == [before, after, after]
    assert {record.device_model for record in kept} == {device_model(CPU)}


def test_scaler_goes_on_with_its_scale(make_config, tiles, tiny, tmp_path):
    config = make_config(**tiny, precision="fp16", epochs=3)
    one, again = TrainingState(config, tiles, CPU), TrainingState(config, tiles, CPU)
    one.scaler.load_state_dict(one.scaler.state_dict() | {"scale": 128.0})
    again.load_state(one.state(), tmp_path / NEWEST)
    assert again.scaler.get_scale() == 128.0


@pytest.mark.parametrize("precision", TYPES)
def test_fit_computes_with_what_the_recipe_says_and_keeps_float32(make_config, tiles, tiny, tmp_path, precision):
    config = make_config(**tiny, precision=precision)
    assert [record.dtype for record in fit(config, tiles, checkpoints=tmp_path)] == [precision] * 2
    with autocast(config.recipe.precision, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (TYPES[precision] or torch.float32)
    assert {v.dtype for v in load(tmp_path / BEST)["model"].values() if v.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("num_channels", "groups", "is_exact"), [(8, 8, True), (8, 4, False), (8, 1, False), (1, 1, False)]
)
def test_depthwise_convolutions_alone_are_computed_in_float32_and_give_the_half_type(
    half, num_channels, groups, is_exact
):
    """Rounding of what they take is what the others do: `is_exact` says which are the float32 ones, rounded at last."""
    torch.manual_seed(0)
    layer = nn.Conv2d(num_channels, 8, 3, stride=2, padding=1, groups=groups)
    pixels, weight = torch.randn(2, num_channels, 9, 9), torch.randn(2, 8, 5, 5)
    exact = layer(pixels)
    (exact.to(half).float() * weight).sum().backward()
    gradients = [parameter.grad.clone() for parameter in layer.parameters()]
    layer.zero_grad()
    with autocast("bf16" if half == torch.bfloat16 else "fp16", CPU):
        features = layer(pixels)
    assert features.dtype == half
    assert torch.equal(features, exact.to(half)) == is_exact
    (features.float() * weight).sum().backward()
    assert torch.allclose(layer.weight.grad, gradients[0], rtol=0.05, atol=0.05)
    assert torch.equal(layer.weight.grad, gradients[0]) == is_exact


def test_depthwise_convolutions_may_be_called_by_names_and_in_the_half_type():
    pixels, weight, bias = torch.randn(1, 4, 8, 8), torch.randn(4, 1, 3, 3), torch.randn(4)
    exact = torch.conv2d(pixels, weight, bias, groups=4)
    with autocast("bf16", CPU):
        named = torch.conv2d(input=pixels, weight=weight, bias=bias, groups=4)
        halved = torch.conv2d(pixels.bfloat16(), weight.bfloat16(), bias.bfloat16(), groups=4)
    for features in (named, halved):
        assert features.dtype == torch.bfloat16
        assert torch.allclose(features.float(), exact, rtol=0.05, atol=0.1)


# Lost steps


class Spoiled:
    """Makes the losses of some training steps infinite, from 1 on, and remembers the trial."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.steps: set[int] = set()
        self.weights: list[dict[str, torch.Tensor]] = []
        numbers, original = count(1), TrainingState.train_step

        def step(state: TrainingState, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
            if not self.weights:
                self.keep(state)
            judged = state.loss
            if next(numbers) in self.steps:
                factors = chain([math.inf], repeat(1.0))  # the first of a batch's chunks
                state.loss = lambda logits, truth: judged(logits, truth) * next(factors)  # type: ignore[assignment]
            loss = original(state, images, masks)
            state.loss = judged
            self.keep(state)
            return loss

        monkeypatch.setattr(TrainingState, "train_step", step)

    def keep(self, state: TrainingState) -> None:
        self.weights.append({k: v.clone() for k, v in state.model.state_dict().items() if v.is_floating_point()})


@pytest.fixture
def spoiled(monkeypatch) -> Spoiled:
    return Spoiled(monkeypatch)


@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_one_lost_step_in_float16_leaves_no_trace(make_config, tiles, tiny, spoiled, micro_batch_size):
    spoiled.steps = {2}
    batches = {"draws_per_epoch": 16, "batch_size": 4}
    config = make_config(**tiny, **batches, precision="fp16", frozen_fraction=0.0, augmentation="NONE")
    records = list(fit(config, tiles, micro_batch_size=micro_batch_size))
    assert [record.epoch for record in records] == [1, 2]
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    unchanged = [all(torch.equal(a[name], b[name]) for name in a) for a, b in pairwise(spoiled.weights)]
    assert unchanged == [False, True] + [False] * 6  # weights and what the batch norms know


@pytest.mark.parametrize(
    ("precision", "draws", "steps", "epoch"),
    [
        ("fp32", 8, {2}, 1),  # where no step is skipped
        ("bf16", 8, {2}, 1),
        ("fp16", 4, {1, 2}, 1),  # all of an epoch
        ("fp16", 36, set(range(21, 21 + NUM_LOST_IN_A_ROW)), 2),  # many in a row, in the second epoch of 18 steps
    ],
)
def test_lost_steps_that_are_divergence(make_config, tiles, tiny, spoiled, precision, draws, steps, epoch):
    spoiled.steps = steps
    records = []
    with pytest.raises(DivergedError, match=f"the training loss is nan in epoch {epoch}"):
        records.extend(fit(make_config(**tiny, precision=precision, draws_per_epoch=draws), tiles))
    assert len(records) == epoch - 1


@pytest.mark.parametrize("what", ["weight", "running_var"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_weights_that_are_not_finite_are_divergence(make_config, tiles, tiny, monkeypatch, what, precision):
    original = TrainingState.train_step

    def step(self: TrainingState, *arguments: Any) -> torch.Tensor:
        loss = original(self, *arguments)
        with torch.no_grad():  # infinite statistics would give finite logits, all alike
            getattr(self.model.network.encoder[1], what).fill_(math.inf)
        return loss

    monkeypatch.setattr(TrainingState, "train_step", step)
    config = make_config(**tiny, precision=precision, draws_per_epoch=2, frozen_fraction=0.0)
    with pytest.raises(DivergedError, match="weights are no longer finite after epoch 1"):
        list(fit(config, tiles))
    state = TrainingState(config, tiles, CPU)
    with torch.no_grad():
        state.model.network.decoder[1].weight.fill_(3e38)  # huge, with squares that are not finite
    assert state.has_finite_weights()


def test_validation_that_leaves_float16s_range_is_done_again_in_float32(make_config, tiles, tiny, append):
    class Beyond(torch.nn.Module):
        """Features that float16 does not hold, and logits that it would."""

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if self.training:
                return pixels
            features = pixels.half() if torch.is_autocast_enabled("cpu") else pixels
            return (features * 1e6 - features * 1e6) + pixels  # infinite minus infinite

    append(1, Beyond())
    (record,) = fit(make_config(**tiny, precision="fp16", epochs=1, draws_per_epoch=8), tiles)
    assert math.isfinite(record.metrics["val/loss"])


def mean_of(losses: list[float], *, is_skipping: bool = True) -> float:
    epoch = EpochLoss(CPU, is_skipping=is_skipping)
    for loss in losses:
        epoch.add(torch.tensor(loss))
    assert epoch.num_steps == len(losses)
    return epoch.mean()


def test_mean_loss_of_an_epoch_is_over_the_steps_that_counted():
    assert mean_of([1.0, math.inf, 2.0, math.nan, 6.0]) == 3.0
    assert math.isnan(mean_of([math.inf]))
    assert math.isinf(mean_of([1.0, math.inf, 2.0], is_skipping=False))
    assert [mean_of([1.0, 2.0], is_skipping=its) for its in (True, False)] == [1.5, 1.5]
    for more, is_lost in ((-1, False), (0, True), (5, True)):
        lost = NUM_LOST_IN_A_ROW + more
        assert math.isnan(mean_of([1.0, *[math.nan] * lost, 1.0])) == is_lost
        assert mean_of([math.inf, 1.0] * 3 * lost) == 1.0  # as many, but not in a row
