"""Batches in chunks: their sizes, the gradient that they add up to, and trials that change over to them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.checkpoints import NEWEST, load
from trainables.losses import segmentation_loss
from trainables.training import TrainingState, chunk_sizes
from trainables.trial import fit

CPU = torch.device("cpu")


def batch(num_draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, 16, 16) and masks (N, 16, 16), both uint8."""
    generator = torch.Generator().manual_seed(num_draws)
    images = torch.randint(0, 256, (num_draws, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 2, (num_draws, 16, 16), generator=generator, dtype=torch.uint8)


# Sizes


@pytest.mark.parametrize(
    ("num_draws", "micro_batch_size", "sizes"),
    [
        (5, None, [5]),
        (5, 2, [3, 2]),
        (4, 2, [2, 2]),
        (7, 2, [3, 2, 2]),
        (3, 2, [3]),
        (2, 2, [2]),
        (1, 2, [1]),
        (7, 3, [3, 2, 2]),
        (9, 4, [3, 3, 3]),
        (4, 3, [2, 2]),
        (4, 4, [4]),
        (4, 100, [4]),
    ],
)
def test_chunk_sizes_are_as_equal_as_can_be(num_draws, micro_batch_size, sizes):
    assert chunk_sizes(num_draws, micro_batch_size) == sizes


@given(num_draws=st.integers(2, 300), micro_batch_size=st.integers(2, 300))
def test_chunk_sizes_are_never_one_and_never_much_too_large(num_draws, micro_batch_size):
    sizes = chunk_sizes(num_draws, micro_batch_size)
    assert sum(sizes) == num_draws
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(micro_batch_size, 3)


# One step


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
    whole, split = make_state(None, bce_weight=1.0), make_state(micro_batch_size, bce_weight=1.0)
    losses = [state.train_step(images, masks) for state in (whole, split)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    assert (losses[1].shape, losses[1].requires_grad) == ((), False)
    for state in (whole, split):
        for found, wanted in zip(gradients(state), expected, strict=True):
            assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-7)
    # and to no second optimizer step
    steps = {int(values["step"]) for values in split.optimizer.state.values()}
    assert steps == {1}


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


def test_gradients_of_the_step_before_are_gone(make_state):
    images, masks = batch(4)
    once, twice = make_state(2, lr=1e-12), make_state(2, lr=1e-12)
    once.train_step(images, masks)
    twice.train_step(*batch(6))
    twice.train_step(images, masks)
    for found, wanted in zip(gradients(twice), gradients(once), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-6)


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
    for found, wanted in zip(gradients(state), gradients(plain), strict=True):
        assert torch.equal(found, wanted)
    other = plain.model.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in state.model.state_dict().items())


def test_the_moving_average_takes_one_value_per_batch(make_state):
    state = make_state(2, ema_decay=0.9)
    for _ in range(3):
        state.train_step(*batch(6))
    assert state.ema is not None
    assert int(state.ema.n_averaged) == 3


# A trial


@pytest.mark.parametrize("value", [1, 0, -4])
def test_fit_refuses_chunks_of_less_than_two(make_config, tiles, tmp_path, value, refusal):
    message = refusal(lambda: next(fit(make_config(), tiles, checkpoints=tmp_path / "out", micro_batch_size=value)))
    assert message == f"micro_batch_size is {value}, but must be at least 2 for batch norm: use 2 or more"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("architecture", ["unet", "deeplabv3plus_resnet34"])
def test_fit_never_gives_a_model_one_draw(make_config, tiles, monkeypatch, architecture):
    # DeepLabV3+ pools to 1×1, where batch norm refuses to train on a batch of one
    config = make_config(architecture=architecture, epochs=1, batch_size=5, draws_per_epoch=5)
    sizes: list[int] = []
    original = TrainingState._loss

    def loss(self: TrainingState, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return original(self, images, masks)

    monkeypatch.setattr(TrainingState, "_loss", loss)
    (record,) = fit(config, tiles, micro_batch_size=2)
    assert sizes == [3, 2]
    assert record.micro_batch_size == 2


def test_fit_records_say_how_batches_were_split(make_config, tiles, tiny):
    config = make_config(**tiny, batch_size=4, draws_per_epoch=8)
    whole = list(fit(config, tiles))
    assert [record.micro_batch_size for record in whole] == [0, 0]
    assert list(fit(config, tiles, micro_batch_size=4)) == whole  # in one chunk, so whole
    split = list(fit(config, tiles, micro_batch_size=2))
    assert [record.as_json()["micro_batch_size"] for record in split] == [2, 2]
    assert split != whole
    assert split == list(fit(config, tiles, micro_batch_size=2))


@pytest.mark.parametrize("before", [None, 2])
def test_fit_resumes_with_batches_of_another_kind(make_config, tiles, tiny, tmp_path, before):
    config = make_config(**tiny, epochs=3, batch_size=4, draws_per_epoch=8, ema_decay=0.9)
    after = 2 if before is None else None
    alike = list(fit(config, tiles, micro_batch_size=before))
    first = next(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, micro_batch_size=before))
    resume: Path = tmp_path / NEWEST
    rest = list(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, resume=resume, micro_batch_size=after))
    assert [record.epoch for record in rest] == [2, 3]
    assert rest[0].metrics["train/loss"] != alike[1].metrics["train/loss"]
    assert rest[0].metrics["train/loss"] == pytest.approx(alike[1].metrics["train/loss"], rel=0.2)
    saved = json.loads(load(resume)["records"])
    assert saved == [record.as_json() for record in (first, *rest)]
    assert [record["micro_batch_size"] for record in saved] == [before or 0, after or 0, after or 0]
