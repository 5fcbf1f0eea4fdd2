"""One trial's stages, schedule, moving average, normalisation, and batches in chunks."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.checkpoints import BEST, NEWEST, load
from trainables.common.chunks import chunk_sizes
from trainables.data.bands import band_statistics
from trainables.losses import segmentation_loss
from trainables.training import TrainingState
from trainables.trial import fit

CPU = torch.device("cpu")


# Two stages, schedule, moving average


@pytest.mark.parametrize("is_pretrained", [True, False])
def test_fit_freezes_pretrained_encoders_first_and_never_the_decoder(make_config, tiles, tiny, tmp_path, is_pretrained):
    weights = {} if is_pretrained else {"weights": "none"}
    config = make_config(**tiny | weights, epochs=3, frozen_fraction=0.67)
    assert config.frozen_epochs == (2 if is_pretrained else 0)
    epochs = fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)
    states = [load(tmp_path / NEWEST)["model"] for _ in epochs]

    def kept(part: str, epoch: int) -> set[bool]:
        """Whether tensors are as an epoch before: parameters, and the statistics of batch norms."""
        names = [key for key in states[0] if part in key and key.endswith(("weight", "bias", "running_mean"))]
        assert names
        return {torch.equal(states[epoch][name], states[epoch - 1][name]) for name in names}

    assert kept("encoder", 1) == {is_pretrained}
    assert kept("encoder", 2) == kept("decoder", 1) == kept("decoder", 2) == {False}
    if is_pretrained:
        began = torch.load(config.weights, weights_only=True)
        assert all(torch.equal(states[1][f"network.encoder.{name}"], value) for name, value in began.items())


def test_fit_lowers_lr_when_the_encoder_is_unfrozen_on_a_plateau_and_along_a_cosine(make_config, tiles, tiny, judge_as):
    judge_as([0.1, 0.2, 0.3, 0.4])
    config = make_config(**tiny, epochs=4, frozen_fraction=0.5, unfreeze_lr_factor=0.1, lr=1e-3)
    assert [record.lr for record in fit(config, tiles)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
    # Patience 1: the second epoch in a row without a better one halves the rate for the next
    judge_as([0.5, 0.5, 0.4, 0.6, 0.6, 0.6, 0.6])
    config = make_config(**tiny | {"weights": "none"}, epochs=7, plateau_patience=1, lr=8e-4)
    rates = [record.lr for record in fit(config, tiles)]
    assert rates == pytest.approx([8e-4, 8e-4, 8e-4, 4e-4, 4e-4, 4e-4, 2e-4])
    # Two steps an epoch, eight in all: after n of them, lr (1 + cos(n π / 8)) / 2, whatever val says
    judge_as([0.5, 0.4, 0.3, 0.2])
    config = make_config(**tiny | {"weights": "none"}, epochs=4, schedule="cosine", plateau_patience=0, lr=8e-4)
    expected = [8e-4, 4e-4 * (1 + math.sqrt(0.5)), 4e-4, 4e-4 * (1 - math.sqrt(0.5))]
    assert [record.lr for record in fit(config, tiles)] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
@pytest.mark.parametrize(("weights", "factor"), [({}, 0.1), ({"weights": "none"}, 1.0)])
def test_only_a_pretrained_encoder_is_trained_with_its_factor(make_config, tiles, tiny, schedule, weights, factor):
    settings = {"optimizer": "adam", "lr": 1e-3, "encoder_lr_factor": 0.1, "frozen_fraction": 0.0, "schedule": schedule}
    state = TrainingState(make_config(**tiny | weights, **settings), tiles, CPU)
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    state.start_epoch(1)
    state.train_step(torch.rand(2, 3, 64, 64), (torch.rand(2, 64, 64) > 0.5).to(torch.uint8))
    encoder = {id(parameter) for parameter in state.model.encoder.parameters()}
    for parameter, began in zip(state.model.parameters(), before, strict=True):
        if parameter.dim() > 1:  # a bias before a batch norm has no gradient
            lr = 1e-3 * (factor if id(parameter) in encoder else 1.0)  # Adam's first step is as large as lr
            assert (parameter - began).abs().max().item() == pytest.approx(lr, rel=1e-2)


@pytest.mark.parametrize("name", ["decoder.1.weight", "encoder.1.running_mean"])
def test_fit_judges_the_moving_average(make_config, tiles, tiny, tmp_path, monkeypatch, name):
    config = make_config(**tiny | {"weights": "none"}, epochs=2, ema_decay=0.75, lr=1e-2)
    seen: list[torch.Tensor] = []
    original = TrainingState.train_step

    def step(self: TrainingState, *arguments: Any) -> torch.Tensor:
        loss = original(self, *arguments)
        seen.append(self.model.network.state_dict()[name].clone())
        return loss

    monkeypatch.setattr(TrainingState, "train_step", step)
    list(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    averages = seen[:1]
    for value in seen[1:]:
        averages.append(0.75 * averages[-1] + 0.25 * value)
    best = load(tmp_path / BEST)
    assert torch.allclose(best["model"][f"network.{name}"], averages[2 * best["epoch"] - 1], atol=1e-7)
    assert torch.equal(load(tmp_path / NEWEST)["model"][f"network.{name}"], seen[-1])


def test_fit_without_a_moving_average_trains_alike(make_config, tiles, tiny):
    plain, averaged = (list(fit(make_config(**tiny, ema_decay=decay), tiles)) for decay in (None, 0.9))
    assert [r.metrics["train/loss"] for r in plain] == [r.metrics["train/loss"] for r in averaged]
    assert [r.metrics["val/loss"] for r in plain] != [r.metrics["val/loss"] for r in averaged]


# What the model gets to see


@pytest.mark.parametrize("bands", [("red", "green", "blue"), ("R", "G", "B")])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_pretrained_weights_see_the_same_pixels_whatever_the_scale(make_config, tiles, tiny, scale, bands):
    scaled = replace(tiles, info=tiles.info.model_copy(update={"scale": scale, "bands": bands}))
    state = TrainingState(make_config(**tiny), scaled, CPU)
    seen = (torch.tensor([255.0, 0.0, 51.0]).reshape(1, 3, 1, 1) * scale - state.model.mean) / state.model.std
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    assert seen.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def test_fit_normalises_by_the_budgets_own_tiles_and_never_trains_on_val_tiles(make_config, tiles, tiny):
    settings = tiny | {"weights": "none"}
    one, all_of_them = (TrainingState(make_config(**settings, tiles=n), tiles, CPU) for n in (1, 3))
    assert not torch.equal(one.model.mean, all_of_them.model.mean)
    for state in (one, all_of_them):
        assert state.model.mean.flatten().tolist() == pytest.approx(band_statistics(state.tiles.train, 1 / 255)[0])
    painted = tuple(np.zeros_like(image) for image in tiles.val.images)
    blind = replace(tiles, val=replace(tiles.val, images=painted))
    one, other = (next(fit(make_config(**tiny), t)) for t in (tiles, blind))
    assert one.metrics["train/loss"] == other.metrics["train/loss"]
    assert one.metrics["val/loss"] != other.metrics["val/loss"]


# Batches in chunks


def test_chunk_sizes_are_as_equal_as_can_be():
    assert [chunk_sizes(n, 2) for n in (1, 2, 3, 4, 5, 7)] == [[1], [2], [3], [2, 2], [3, 2], [3, 2, 2]]
    assert [chunk_sizes(4, size) for size in (3, 4, 100, None)] == [[2, 2], [4], [4], [4]]
    assert (chunk_sizes(7, 3), chunk_sizes(9, 4)) == ([3, 2, 2], [3, 3, 3])


@given(num_draws=st.integers(2, 300), micro_batch_size=st.integers(2, 300))
def test_chunk_sizes_are_never_one_and_never_much_too_large(num_draws, micro_batch_size):
    sizes = chunk_sizes(num_draws, micro_batch_size)
    assert sum(sizes) == num_draws
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(micro_batch_size, 3)


def batch(num_draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, 16, 16) and masks (N, 16, 16), both uint8."""
    generator = torch.Generator().manual_seed(num_draws)
    images = torch.randint(0, 256, (num_draws, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 2, (num_draws, 16, 16), generator=generator, dtype=torch.uint8)


@pytest.fixture
def make_state(make_config, tiny, tiles):
    """The state of a trial whose model treats each draw alone: no dropout, and batch norm with fixed statistics."""

    def make(micro_batch_size: int | None, **changes: Any) -> TrainingState:
        config = make_config(**tiny | {"weights": "none"}, decoder_dropout=0.0, **changes)
        state = TrainingState(config, tiles, CPU, micro_batch_size=micro_batch_size)
        state.model.eval()
        return state

    return make


def gradients(state: TrainingState) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in state.model.parameters()]


@pytest.mark.parametrize(("num_draws", "micro_batch_size"), [(4, 2), (5, 2), (7, 3), (8, 5)])
def test_chunks_add_up_to_the_batchs_gradient(make_state, num_draws, micro_batch_size):
    images, masks = batch(num_draws)
    by_hand = make_state(None, bce_weight=1.0)
    for image, mask in zip(images, masks, strict=True):
        logits = by_hand.model(image[None].float() / 255)
        (torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], mask[None].float()) / num_draws).backward()
    expected = gradients(by_hand)
    assert all(gradient.abs().max() > 1e-4 for gradient in expected)
    whole, split = (make_state(size, bce_weight=1.0, ema_decay=0.9) for size in (None, micro_batch_size))
    split.train_step(*batch(6))  # leaves no gradients behind
    split.model.load_state_dict(whole.model.state_dict())
    losses = [state.train_step(images, masks) for state in (whole, split)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    assert (losses[1].shape, losses[1].requires_grad) == ((), False)
    for state in (whole, split):
        for found, wanted in zip(gradients(state), expected, strict=True):
            assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-7)
    # A batch is one optimizer step and one value of the moving average
    assert {int(values["step"]) for values in split.optimizer.state.values()} == {2}
    assert int(split.ema.n_averaged) == 2


def test_chunks_are_weighed_by_their_draws(make_state):
    # 3 draws of foreground and 2 of background: with chunks of 3 and 2 the loss is 3/5 of one and 2/5 of the other
    images, _ = batch(5)
    masks = torch.cat([torch.ones(3, 16, 16), torch.zeros(2, 16, 16)]).to(torch.uint8)
    state = make_state(2, bce_weight=0.5)
    with torch.no_grad():
        logits = state.model(images.float() / 255)
        first, second = (segmentation_loss(logits[part], masks[part], 0.5) for part in (slice(3), slice(3, None)))
    assert abs(first - second) > 0.01
    assert state.train_step(images, masks).item() == pytest.approx(0.6 * first.item() + 0.4 * second.item(), rel=1e-5)


@pytest.mark.parametrize("micro_batch_size", [None, 5, 6])
def test_a_whole_batch_is_one_plain_step_bit_for_bit(make_config, tiny, tiles, micro_batch_size):
    # With batch norm and dropout as in training
    config = make_config(**tiny | {"weights": "none"}, decoder_dropout=0.5)
    images, masks = batch(5)
    plain = TrainingState(config, tiles, CPU)
    plain.start_epoch(1)
    pixels = (images.float() * tiles.scale).contiguous(memory_format=torch.channels_last)
    loss = segmentation_loss(plain.model(pixels), masks, config.bce_weight)
    loss.backward()
    plain.optimizer.step()
    state = TrainingState(config, tiles, CPU, micro_batch_size=micro_batch_size)
    state.start_epoch(1)
    assert torch.equal(state.train_step(images, masks), loss.detach())
    assert all(torch.equal(*pair) for pair in zip(gradients(state), gradients(plain), strict=True))
    other = plain.model.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in state.model.state_dict().items())


@pytest.mark.parametrize("value", [1, 0, -4])
def test_fit_refuses_chunks_of_less_than_two_and_wrong_windows(make_config, tiles, tmp_path, value, refusal):
    message = refusal(lambda: next(fit(make_config(), tiles, checkpoints=tmp_path / "out", micro_batch_size=value)))
    assert message.startswith(f"micro_batch_size is {value}, but must be at least 2 ")
    refusal(lambda: next(fit(make_config(window_px=40), tiles, checkpoints=tmp_path / "out")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [None, 2])
def test_fit_resumes_with_batches_of_another_kind_and_records_say_which(make_config, tiles, tiny, tmp_path, before):
    config = make_config(**tiny, epochs=3, batch_size=4, draws_per_epoch=8, ema_decay=0.9)
    newest, after = tmp_path / NEWEST, 2 if before is None else None
    alike, again = (list(fit(config, tiles, micro_batch_size=size)) for size in (before, before or 4))
    assert alike == again  # a batch in one chunk is whole
    first = next(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, micro_batch_size=before))
    rest = list(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, resume=newest, micro_batch_size=after))
    assert [record.epoch for record in rest] == [2, 3]
    assert rest[0].metrics["train/loss"] != alike[1].metrics["train/loss"]
    assert rest[0].metrics["train/loss"] == pytest.approx(alike[1].metrics["train/loss"], rel=0.2)
    saved = json.loads(load(newest)["records"])
    assert saved == [record.as_json() for record in (first, *rest)]
    assert [record["micro_batch_size"] for record in saved] == [before or 0, after or 0, after or 0]
