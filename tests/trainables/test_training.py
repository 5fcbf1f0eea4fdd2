"""Stages, schedule, moving average and normalisation of one trial."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from trainables.checkpoints import BEST, NEWEST, load
from trainables.data.bands import band_statistics
from trainables.records import EpochRecord
from trainables.training import TrainingState
from trainables.trial import fit

CPU = torch.device("cpu")


# Two stages, schedule, moving average


def test_fit_freezes_a_pretrained_encoder_first(make_config, tiles, resnet34_file, resnet34_state, monkeypatch):
    config = make_config(
        architecture="unet_resnet34", weights=str(resnet34_file), epochs=3, frozen_fraction=0.67, draws_per_epoch=2
    )
    assert config.frozen_epochs == 2
    states: list[dict[str, torch.Tensor]] = []
    original = TrainingState.end_epoch

    def end_epoch(self: TrainingState, record: EpochRecord) -> None:
        states.append({key: value.clone() for key, value in self.model.encoder.state_dict().items()})
        original(self, record)

    monkeypatch.setattr(TrainingState, "end_epoch", end_epoch)
    list(fit(config, tiles))
    # every parameter and the batch norm's statistics
    for state in states[:2]:
        assert set(state) == set(resnet34_state)
        assert all(torch.equal(state[key], value) for key, value in resnet34_state.items())
    names = [name for name in resnet34_state if name.endswith(("weight", "running_mean"))]
    assert [name for name in names if torch.equal(states[2][name], resnet34_state[name])] == []


def test_fit_trains_the_decoder_while_the_encoder_is_frozen(make_config, tiles, tiny, tmp_path):
    config = make_config(**tiny, epochs=3, frozen_fraction=0.67)
    decoders = [
        load(tmp_path / NEWEST)["model"]["network.decoder.1.weight"]
        for _ in fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)
    ]
    assert not torch.equal(decoders[0], decoders[1])


def test_fit_without_pretrained_weights_freezes_nothing(make_config, tiles, tiny, tmp_path, encoder_of):
    config = make_config(**tiny | {"weights": "none"}, epochs=3, frozen_fraction=0.67)
    encoders = [
        encoder_of(tmp_path / NEWEST)["0.weight"]
        for _ in fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)
    ]
    assert not torch.equal(encoders[0], encoders[1])


def test_fit_lowers_lr_when_the_encoder_is_unfrozen(make_config, tiles, tiny, monkeypatch, judge_as):
    judge_as([0.1, 0.2, 0.3, 0.4])
    config = make_config(**tiny, epochs=4, frozen_fraction=0.5, unfreeze_lr_factor=0.1, lr=1e-3)
    assert [record.lr for record in fit(config, tiles)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_fit_halves_lr_on_a_plateau(make_config, tiles, tiny, monkeypatch, judge_as):
    # Patience 1: the second epoch in a row without a better one halves the rate for the next
    judge_as([0.5, 0.5, 0.4, 0.6, 0.6, 0.6, 0.6])
    config = make_config(**tiny | {"weights": "none"}, epochs=7, plateau_patience=1, lr=8e-4)
    rates = [record.lr for record in fit(config, tiles)]
    assert rates == pytest.approx([8e-4, 8e-4, 8e-4, 4e-4, 4e-4, 4e-4, 2e-4])


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


def test_fit_without_a_moving_average_trains_alike(make_config, tiles):
    plain, averaged = (list(fit(make_config(ema_decay=decay), tiles)) for decay in (None, 0.9))
    assert [r.metrics["train/loss"] for r in plain] == [r.metrics["train/loss"] for r in averaged]
    assert [r.metrics["val/loss"] for r in plain] != [r.metrics["val/loss"] for r in averaged]


# What the model gets to see


def test_band_statistics_are_of_the_scaled_pixels(band_tiles):
    mean, std = band_statistics(band_tiles.train, 1e-4)
    pixels = np.concatenate([image[::4, ::4].reshape(-1, 4) for image in band_tiles.train.images]) * 1e-4
    assert mean == pytest.approx(pixels.mean(axis=0))
    assert std == pytest.approx(pixels.std(axis=0))


def test_band_statistics_of_a_constant_band_have_no_std(tiles):
    constant = replace(tiles.train, images=tuple(np.full_like(image, 7) for image in tiles.train.images))
    assert band_statistics(constant, 1.0) == ([7.0] * 3, [0.0] * 3)


@pytest.mark.parametrize(("weights", "imagenet"), [(True, True), (False, False)])
def test_fit_normalises_as_its_weights_expect(make_config, tiles, tiny, weights, imagenet):
    config = make_config(architecture="tiny", weights=tiny["weights"] if weights else "none")
    state = TrainingState(config, tiles, CPU)
    expected = [0.485, 0.456, 0.406] if imagenet else band_statistics(state.tiles.train, 1 / 255)[0]
    assert state.model.mean.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("bands", [("red", "green", "blue"), ("R", "G", "B")])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_pretrained_weights_see_the_same_pixels_whatever_the_scale(make_config, tiles, tiny, scale, bands):
    scaled = replace(tiles, info=tiles.info.model_copy(update={"scale": scale, "bands": bands}))
    state = TrainingState(make_config(**tiny), scaled, CPU)
    seen = (torch.tensor([255.0, 0.0, 51.0]).reshape(1, 3, 1, 1) * scale - state.model.mean) / state.model.std
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    assert seen.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def test_fit_normalises_by_the_budgets_own_tiles(make_config, tiles):
    one, all_of_them = (TrainingState(make_config(tiles=n), tiles, CPU).model.mean for n in (1, 3))
    assert not torch.equal(one, all_of_them)


def test_fit_never_trains_on_val_tiles(make_config, tiles):
    painted = tuple(np.zeros_like(image) for image in tiles.val.images)
    blind = replace(tiles, val=replace(tiles.val, images=painted))
    one, other = (next(fit(make_config(), t)) for t in (tiles, blind))
    assert one.metrics["train/loss"] == other.metrics["train/loss"]
    assert one.metrics["val/loss"] != other.metrics["val/loss"]
