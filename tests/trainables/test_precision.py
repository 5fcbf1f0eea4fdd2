"""Number types: what devices take, trials that change between them, and float16's lost steps."""

import json
import math
from itertools import chain, count, pairwise, repeat
from typing import Any

import pytest
import torch

from trainables import device as precision_module
from trainables.checkpoints import BEST, NEWEST, load
from trainables.config import Recipe, TrialConfig
from trainables.device import device_model, dtype_name, half_dtype
from trainables.epoch_loss import NUM_LOST_IN_A_ROW, EpochLoss
from trainables.records import DivergedError, EpochRecord
from trainables.training import TrainingState, autocast
from trainables.trial import fit

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

PRECISIONS = ("fp32", "bf16", "fp16")


# What devices take


@pytest.mark.parametrize(
    ("precision", "cpu", "h200", "t4"),
    [
        ("auto", "fp32", "bf16", "fp16"),
        ("fp32", "fp32", "fp32", "fp32"),
        ("fp16", "fp16", "fp16", "fp16"),
        ("bf16", "bf16", "bf16", None),
    ],
)
def test_precision_is_a_type_of_the_device(monkeypatch, precision, cpu, h200, t4, refusal):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(precision_module, "device_model", lambda _: "Tesla T4")
    assert dtype_name(precision, CPU) == cpu
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: True)
    assert dtype_name(precision, CUDA) == h200
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation)
    if t4 is not None:
        assert dtype_name(precision, CUDA) == t4
        return
    assert refusal(lambda: half_dtype(precision, CUDA)) == (
        "--precision is bf16, but Tesla T4 has no such numbers: use fp16, which all GPUs have, or auto"
    )


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C "
            "CPU @ 2.70GHz\nflags\t\t: fpu\n",
            "Intel Xeon Platinum 8481C",
        ),
        ("model name\t: AMD EPYC 7B13\n", "AMD EPYC 7B13"),
    ],
)
def test_device_model_of_a_cpu_is_its_name_without_marks(text, model):
    assert precision_module._cpu_model(text) == model


def test_device_model_is_never_empty():
    assert precision_module._cpu_model("processor\t: 0\n")
    assert device_model(CPU)


def test_signature_is_what_it_was_before_there_was_a_choice_of_precision(make_config):
    # Of the configuration below, by the version before
    config = TrialConfig(architecture="unet", tiles=5, lr=1e-3)
    assert config.signature() == "a98411f5c7c99bf7"
    assert len({make_config(precision=p).signature() for p in ("auto", *PRECISIONS)}) == 4


# Trials that change between them


@pytest.fixture
def on(monkeypatch):
    """Lets `auto` mean one of the types on a CPU, as on another device."""

    def use(name: str) -> None:
        dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        for module in ("trainables.training", "trainables.device"):
            monkeypatch.setattr(f"{module}.half_dtype", lambda *_: dtype)

    return use


@pytest.mark.parametrize("before", PRECISIONS)
@pytest.mark.parametrize("after", PRECISIONS)
def test_fit_resumes_on_a_device_with_another_type(make_config, tiles, tiny, tmp_path, on, before, after):
    config = make_config(**tiny, epochs=3, ema_decay=0.9)
    on(before)
    epochs = fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)
    first = next(epochs)
    epochs.close()
    on(after)
    records = list(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, resume=tmp_path / NEWEST))
    assert [record.epoch for record in records] == [2, 3]
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    assert [first.dtype, *(record.dtype for record in records)] == [before, after, after]
    assert {record.device_model for record in records} == {device_model(CPU)}
    kept = [EpochRecord(**one) for one in json.loads(load(tmp_path / NEWEST)["records"])]
    assert [record.dtype for record in kept] == [before, after, after]


def test_scaler_goes_on_with_its_scale(make_config, tiles, tiny, tmp_path):
    config = make_config(**tiny, precision="fp16", epochs=3)
    one = TrainingState(config, tiles, CPU)
    one.scaler.load_state_dict(one.scaler.state_dict() | {"scale": 128.0})
    again = TrainingState(config, tiles, CPU)
    again.load_state(one.state(), tmp_path / NEWEST)
    assert again.scaler.get_scale() == 128.0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_fit_computes_with_what_the_recipe_says(make_config, tiles, tiny, precision):
    config = make_config(**tiny, precision=precision)
    records = list(fit(config, tiles))
    assert [record.dtype for record in records] == [precision] * 2
    with autocast(config, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


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
        self.weights.append(
            {name: value.clone() for name, value in state.model.state_dict().items() if value.is_floating_point()}
        )


@pytest.fixture
def spoiled(monkeypatch) -> Spoiled:
    return Spoiled(monkeypatch)


@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_one_lost_step_in_float16_leaves_no_trace(make_config, tiles, tiny, spoiled, micro_batch_size):
    spoiled.steps = {2}
    config = make_config(
        **tiny, precision="fp16", draws_per_epoch=16, batch_size=4, frozen_fraction=0.0, augmentation="NONE"
    )
    records = list(fit(config, tiles, micro_batch_size=micro_batch_size))
    assert [record.epoch for record in records] == [1, 2]
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    unchanged = [all(torch.equal(a[name], b[name]) for name in a) for a, b in pairwise(spoiled.weights)]
    assert unchanged == [False, True] + [False] * 6  # weights and what the batch norms know


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_lost_step_is_divergence_where_none_is_skipped(make_config, tiles, tiny, spoiled, precision):
    spoiled.steps = {2}
    with pytest.raises(DivergedError, match="the training loss is nan in epoch 1"):
        list(fit(make_config(**tiny, precision=precision, draws_per_epoch=8), tiles))


def test_many_lost_steps_in_a_row_are_divergence_in_float16_too(make_config, tiles, tiny, spoiled):
    spoiled.steps = set(range(21, 21 + NUM_LOST_IN_A_ROW))
    config = make_config(**tiny, precision="fp16", draws_per_epoch=36)  # the second epoch of 18 steps
    records = []
    with pytest.raises(DivergedError, match="the training loss is nan in epoch 2"):
        records.extend(fit(config, tiles))
    assert len(records) == 1


def test_an_epoch_without_a_finite_loss_is_divergence(make_config, tiles, tiny, spoiled):
    spoiled.steps = {1, 2}
    with pytest.raises(DivergedError, match="the training loss is nan in epoch 1"):
        list(fit(make_config(**tiny, precision="fp16"), tiles))


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
    with pytest.raises(DivergedError, match="weights are no longer finite after epoch 1"):
        list(fit(make_config(**tiny, precision=precision, draws_per_epoch=2, frozen_fraction=0.0), tiles))


def test_huge_weights_are_finite(make_config, tiles, tiny):
    state = TrainingState(make_config(**tiny), tiles, CPU)
    with torch.no_grad():
        state.model.network.decoder[1].weight.fill_(3e38)  # whose squares are not
    assert state.has_finite_weights()


def test_validation_that_leaves_float16s_range_is_done_again_in_float32(make_config, tiles, tiny, monkeypatch):
    class Beyond(torch.nn.Module):
        """Features that float16 does not hold, and logits that it would."""

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if self.training:
                return pixels
            features = pixels.half() if torch.is_autocast_enabled("cpu") else pixels
            return (features * 1e6 - features * 1e6) + pixels  # infinite minus infinite

    original = TrainingState.start_epoch

    def start(self: TrainingState, epoch: int) -> None:
        original(self, epoch)
        self.model.network.decoder.append(Beyond())

    monkeypatch.setattr(TrainingState, "start_epoch", start)
    (record,) = fit(make_config(**tiny, precision="fp16", epochs=1, draws_per_epoch=8), tiles)
    assert math.isfinite(record.metrics["val/loss"])


def test_best_checkpoint_of_float16_is_in_float32(make_config, tiles, tiny, tmp_path):
    list(fit(make_config(**tiny, precision="fp16", epochs=1), tiles, checkpoints=tmp_path))
    assert {v.dtype for v in load(tmp_path / BEST)["model"].values() if v.is_floating_point()} == {torch.float32}


# The mean of an epoch


def mean_of(losses: list[float], *, is_skipping: bool) -> float:
    epoch = EpochLoss(CPU, is_skipping=is_skipping)
    for loss in losses:
        epoch.add(torch.tensor(loss))
    assert epoch.num_steps == len(losses)
    return epoch.mean()


def test_mean_is_over_the_steps_that_counted():
    assert mean_of([1.0, math.inf, 2.0, math.nan, 6.0], is_skipping=True) == 3.0
    assert math.isinf(mean_of([1.0, math.inf, 2.0], is_skipping=False))
    assert [mean_of([1.0, 2.0], is_skipping=its) for its in (True, False)] == [1.5, 1.5]


@pytest.mark.parametrize(
    ("lost", "is_lost"), [(NUM_LOST_IN_A_ROW - 1, False), (NUM_LOST_IN_A_ROW, True), (NUM_LOST_IN_A_ROW + 5, True)]
)
def test_mean_is_nan_after_too_many_lost_steps_in_a_row(lost, is_lost):
    losses = [1.0, *[math.nan] * lost, 1.0]
    assert math.isnan(mean_of(losses, is_skipping=True)) == is_lost
    apart = [value for _ in range(3 * lost) for value in (math.inf, 1.0)]
    assert mean_of(apart, is_skipping=True) == 1.0


def test_mean_without_any_finite_loss_is_nan():
    assert math.isnan(mean_of([math.inf], is_skipping=True))


def test_recipe_refuses_other_types():
    with pytest.raises(ValueError, match="precision"):
        Recipe(precision="fp8")
