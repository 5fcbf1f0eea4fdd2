import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import fit as fit_module
from trainables import training as training_module
from trainables.checkpoints import BEST, NEWEST, load, load_model
from trainables.errors import UserError
from trainables.fit import check, fit
from trainables.metrics import Scores
from trainables.predict import Evaluation, evaluate
from trainables.records import DivergedError, EpochRecord
from trainables.training import TrainingState, band_statistics

CPU = torch.device("cpu")


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


def judge_as(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Lets the epochs be judged as `values` say, whatever was trained."""
    left: Iterator[float] = iter(values)

    def judged(model: Any, tiles: Any, *_: Any, **__: Any) -> Evaluation:
        value = next(left)
        return Evaluation(1.0, Scores(value, value, (value,) * len(tiles)), ())

    monkeypatch.setattr(fit_module, "evaluate", judged)


def encoder_of(path: Path) -> dict[str, torch.Tensor]:
    prefix = "network.encoder."
    return {k.removeprefix(prefix): v for k, v in load(path)["model"].items() if k.startswith(prefix)}


# The same records for the same configuration


def test_fit_gives_equal_records_for_one_configuration(make_config, tiles):
    config = make_config(epochs=3, augmentation="EXTREME")
    one, again = list(fit(config, tiles)), list(fit(config, tiles))
    assert len(one) == 3
    assert one == again
    assert all(record.seconds > 0 and record.peak_memory_gib == 0 for record in one)


@pytest.mark.parametrize(
    "change", [{"init_seed": 1}, {"draw_seed": 1}, {"lr": 2e-3}, {"bce_weight": 0.9}, {"tiles": 2}]
)
def test_fit_depends_on_its_configuration(make_config, tiles, change):
    base, changed = (next(fit(make_config(**c), tiles)) for c in ({}, change))
    assert base.metrics["train/loss"] != changed.metrics["train/loss"]


def test_fit_gives_equal_records_with_threads(make_config, tiles):
    config = make_config(augmentation="EXTREME", draws_per_epoch=8)
    assert list(fit(config, tiles, num_threads=2)) == list(fit(config, tiles))


def test_fit_trials_do_not_disturb_each_other(make_config, tiles):
    config, other = make_config(), make_config(init_seed=7, lr=3e-3)
    alone = list(fit(config, tiles))
    together = []
    for record, _ in zip(fit(config, tiles), fit(other, tiles), strict=True):
        together.append(record)
        torch.manual_seed(99)  # and whoever iterates may use torch's generator
    assert together == alone


def test_fit_learns(make_config, tiles):
    config = make_config(epochs=8, draws_per_epoch=8, augmentation="NONE", lr=3e-3, decoder_dropout=0.0)
    records = list(fit(config, tiles))
    assert records[-1].metrics["train/loss"] < 0.7 * records[0].metrics["train/loss"]
    assert records[-1].best > 0.5  # calling everything roof scores 0.1


# What a record says


def test_fit_records_name_their_metrics(make_config, tiles):
    records = list(fit(make_config(epochs=3, plateau_patience=0), tiles))
    for record in records:
        assert set(record.metrics) == {
            "train/loss",
            "val/loss",
            "val/iou",
            "val/f1",
            "val/iou/val_0",
            "val/iou/val_1",
        }
        assert record.judged == record.metrics["val/iou"]
        assert record.metrics["val/iou"] == pytest.approx(
            (record.metrics["val/iou/val_0"] + record.metrics["val/iou/val_1"]) / 2
        )
        assert all(math.isfinite(value) for value in record.metrics.values())
    assert [record.epoch for record in records] == [1, 2, 3]
    assert [record.best for record in records] == np.maximum.accumulate([r.judged for r in records]).tolist()
    assert [record.ended for record in records] == ["", "", "epochs"]


def test_fit_on_centre_windows_says_so(make_config, tiles):
    config = make_config(val_center_px=32, epochs=1)
    (record,) = fit(config, tiles, predictions_every=1)
    assert set(record.metrics) == {
        "train/loss",
        "val/loss",
        "val/iou_center32",
        "val/f1_center32",
        "val/iou_center32/val_0",
        "val/iou_center32/val_1",
    }
    assert record.judged == record.metrics[config.judged_metric]
    assert [prediction.shape for prediction in record.predictions] == [(32, 32)] * 2


def test_fit_trains_alike_whatever_it_validates_on(make_config, tiles):
    whole, windows = (next(fit(make_config(val_center_px=c), tiles)) for c in (None, 32))
    assert whole.metrics["train/loss"] == windows.metrics["train/loss"]


def test_fit_attaches_predictions_where_asked(make_config, tiles, tiny):
    config = make_config(**tiny, epochs=5)
    with_predictions = [bool(record.predictions) for record in fit(config, tiles, predictions_every=2)]
    assert with_predictions == [False, True, False, True, True]
    assert not any(record.predictions for record in fit(config, tiles))


def test_record_as_json_is_the_record_without_predictions(make_config, tiles, tiny):
    (record,) = fit(make_config(**tiny, epochs=1), tiles, predictions_every=1)
    assert record.predictions
    content = record.as_json()
    assert "predictions" not in content
    assert EpochRecord(**content) == record


def test_fit_trains_uint16_tiles_of_four_classes(make_config, band_tiles):
    config = make_config(epochs=2, augmentation="EXTREME", window_px=32, draws_per_epoch=8, val_center_px=48)
    records = list(fit(config, band_tiles))
    assert len(records) == 2
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    assert 0 < records[-1].judged <= 1


@pytest.mark.parametrize("architecture", ["unet_resnet34", "deeplabv3plus_resnet34"])
def test_fit_trains_every_architecture(make_config, tiles, architecture):
    (record,) = fit(make_config(architecture=architecture, epochs=1), tiles)
    assert math.isfinite(record.metrics["val/loss"])


# When it ends


def test_fit_ends_early_without_a_better_epoch(make_config, tiles, tiny, monkeypatch):
    judge_as(monkeypatch, [0.2, 0.5, 0.4, 0.5, 0.5, 0.9])
    records = list(fit(make_config(**tiny | {"weights": "none"}, epochs=20, stop_patience=3), tiles))
    # an equal epoch is no better one: three after epoch 2
    assert [record.epoch for record in records] == [1, 2, 3, 4, 5]
    assert [record.ended for record in records] == ["", "", "", "", "early stopping"]
    assert (records[-1].best, records[-1].best_epoch) == (0.5, 2)


def test_fit_has_patience_with_a_frozen_encoder(make_config, tiles, tiny, monkeypatch):
    judge_as(monkeypatch, [0.5] + [0.1] * 20)
    records = list(fit(make_config(**tiny, epochs=12, frozen_fraction=0.5, stop_patience=2), tiles))
    assert [record.epoch for record in records] == list(range(1, 9))  # two after the sixth, when it was unfrozen
    assert records[-1].ended == "early stopping"


@pytest.mark.parametrize("stop_at", [0, 1, 2, 3])
def test_fit_stops_within_an_epoch_without_a_record(make_config, tiles, tiny, tmp_path, stop_at):
    asked = count()
    config = make_config(**tiny, epochs=5)
    records = list(
        fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, should_stop=lambda: next(asked) == stop_at)
    )
    assert len(records) == stop_at // 2  # two batches per epoch
    assert next(asked) == stop_at + 1  # and is not asked again
    assert all(record.ended == "" for record in records)
    if records:
        assert len(list(fit(config, tiles, resume=tmp_path / NEWEST))) == 5 - len(records)
    else:
        assert not (tmp_path / NEWEST).exists()


def test_fit_can_be_closed_between_epochs(make_config, tiles, tiny):
    epochs = fit(make_config(**tiny, epochs=5), tiles, num_threads=2)
    assert next(epochs).epoch == 1
    epochs.close()
    assert next(epochs, None) is None


def test_fit_of_a_huge_learning_rate_diverges(make_config, tiles):
    config = make_config(lr=1e30, epochs=5)
    with pytest.raises(DivergedError, match=r"the training loss is (nan|inf) in epoch [1-5]$"):
        list(fit(config, tiles))


def test_fit_names_the_epoch_in_which_it_diverged(make_config, tiles, tiny, monkeypatch, tmp_path):
    steps = count(1)
    original = training_module.segmentation_loss

    def loss(*arguments: Any) -> torch.Tensor:
        return original(*arguments) * (math.nan if next(steps) > 5 else 1.0)

    monkeypatch.setattr(training_module, "segmentation_loss", loss)
    config = make_config(**tiny, epochs=5)
    records = []
    with pytest.raises(DivergedError, match="the training loss is nan in epoch 3"):
        records.extend(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    assert load(tmp_path / BEST)["epoch"] in (1, 2)
    assert '"epoch": 2' in load(tmp_path / NEWEST)["records"]
    assert '"epoch": 3' not in load(tmp_path / NEWEST)["records"]


def test_fit_calls_it_divergence_when_the_weights_are_lost_in_the_last_step(make_config, tiles, tiny, monkeypatch):
    # Finite training losses, then a last step that makes the weights NaN: this is no epoch that ran its course
    steps = count(1)
    original = TrainingState.train_step

    def step(self: TrainingState, *arguments: Any) -> torch.Tensor:
        loss = original(self, *arguments)
        if next(steps) == 2:
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.fill_(math.nan)
        return loss

    monkeypatch.setattr(TrainingState, "train_step", step)
    with pytest.raises(DivergedError, match="epoch 1"):
        list(fit(make_config(**tiny, epochs=1), tiles))


# Resuming


RESUMED: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema_decay": 0.9},
    "reduced": {"plateau_patience": 0, "unfreeze_lr_factor": 0.5},
}


@pytest.mark.parametrize("case", RESUMED)
def test_fit_resumes_at_each_epoch_with_the_same_records(make_config, tiles, tiny, tmp_path, case):
    # Two of five epochs frozen: before, at and after the change
    config = make_config(**tiny, epochs=5, frozen_fraction=0.4, augmentation="EXTREME", **RESUMED[case])
    assert config.frozen_epochs == 2
    whole = []
    for record in fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0):
        whole.append(record)
        (tmp_path / NEWEST).rename(tmp_path / f"{record.epoch}.pt")
    for epoch in range(1, 6):
        assert list(fit(config, tiles, resume=tmp_path / f"{epoch}.pt")) == whole[epoch:]


def test_fit_resumes_a_real_encoder_where_it_is_unfrozen(make_config, tiles, resnet34_file, tmp_path, monkeypatch):
    monkeypatch.setattr("trainables.checkpoints.os.fsync", lambda _: None)  # seconds for 100 MB on a busy disk
    config = make_config(
        architecture="unet_resnet34", weights=str(resnet34_file), epochs=2, frozen_fraction=0.5, draws_per_epoch=2
    )
    assert config.frozen_epochs == 1
    whole = list(fit(config, tiles))
    assert next(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)) == whole[0]
    assert list(fit(config, tiles, resume=tmp_path / NEWEST)) == whole[1:]
    for path in tmp_path.iterdir():
        path.unlink()


def test_fit_resumed_writes_the_same_checkpoints(make_config, tiles, tiny, tmp_path):
    config = make_config(**tiny, epochs=4, ema_decay=0.9)
    epochs = fit(config, tiles, checkpoints=tmp_path / "a", checkpoint_seconds=0)
    next(epochs)
    next(epochs)
    list(fit(config, tiles, resume=tmp_path / "a" / NEWEST, checkpoints=tmp_path / "b", checkpoint_seconds=0))
    list(epochs)
    one, other = (load(tmp_path / folder / NEWEST) for folder in "ab")
    for part in ("model", "ema"):
        assert all(torch.equal(one[part][key], other[part][key]) for key in one[part])
    assert one["schedule"] == other["schedule"]


@pytest.mark.parametrize("reason", ["epochs", "early stopping"])
def test_fit_resumed_after_its_end_yields_nothing(make_config, tiles, tiny, tmp_path, monkeypatch, reason):
    judge_as(monkeypatch, [0.5, 0.4, 0.3] + [0.2] * 20)
    epochs = 3 if reason == "epochs" else 10
    config = make_config(**tiny | {"weights": "none"}, epochs=epochs, stop_patience=2)
    records = list(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    assert records[-1].ended == reason
    assert list(fit(config, tiles, resume=tmp_path / NEWEST)) == []


def test_fit_refuses_a_checkpoint_of_another_configuration(make_config, tiles, tiny, tmp_path):
    config, other = make_config(**tiny), make_config(**tiny, lr=2e-3)
    next(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    message = refusal(lambda: next(fit(other, tiles, resume=tmp_path / NEWEST)))
    assert message.startswith(
        f"{tmp_path / NEWEST} is of configuration {config.signature()}, but this one is {other.signature()}: "
    )


def test_fit_refuses_to_resume_from_a_best_checkpoint(make_config, tiles, tiny, tmp_path):
    config = make_config(**tiny)
    next(fit(config, tiles, checkpoints=tmp_path))
    assert refusal(lambda: next(fit(config, tiles, resume=tmp_path / BEST))).startswith(f"{tmp_path / BEST} ")


def test_fit_refuses_a_missing_checkpoint(make_config, tiles, tmp_path):
    assert "does not exist" in refusal(lambda: next(fit(make_config(), tiles, resume=tmp_path / NEWEST)))


# Checkpoints


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.5}, {"val_center_px": 48}], ids=str)
def test_fit_best_checkpoint_reproduces_the_best_record(make_config, tiles, tmp_path, changes):
    config = make_config(epochs=3, lr=3e-3, **changes)
    records = list(fit(config, tiles, checkpoints=tmp_path))
    trained = load_model(tmp_path / BEST)
    best = records[records[-1].best_epoch - 1]
    assert trained.metrics == best.metrics
    assert trained.config == config
    val = tiles.val if config.recipe.val_center_px is None else tiles.val.center_windows(config.recipe.val_center_px)
    result = evaluate(trained.model, val, trained.info, stride=trained.stride, bce_weight=config.bce_weight, device=CPU)
    # The loaded model keeps its weights in another memory order, so a pixel at probability 1/2 may change sides
    assert result.scores.iou == pytest.approx(best.judged, abs=2e-3)
    assert result.loss == pytest.approx(best.metrics["val/loss"], rel=1e-5)


def test_fit_best_checkpoint_needs_no_pretrained_weights(make_config, tiles, tiny, tmp_path):
    weights = Path(tiny["weights"])
    config = make_config(**tiny, epochs=1)
    (record,) = fit(config, tiles, checkpoints=tmp_path)
    weights.unlink()
    assert load_model(tmp_path / BEST).metrics == record.metrics


def test_fit_writes_the_best_checkpoint_at_improvements_only(make_config, tiles, tiny, tmp_path, monkeypatch):
    judge_as(monkeypatch, [0.3, 0.5, 0.4, 0.6, 0.1])
    written = []
    for record in fit(make_config(**tiny, epochs=5), tiles, checkpoints=tmp_path):
        written.append(load(tmp_path / BEST)["epoch"])
        assert record.best_epoch == written[-1]
    assert written == [1, 2, 2, 4, 4]
    assert not (tmp_path / NEWEST).exists()  # no minute has passed


def test_fit_without_a_folder_writes_nothing(make_config, tiles, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    list(fit(make_config(**tiny), tiles))
    assert sorted(tmp_path.rglob("*")) == before


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


def test_fit_without_pretrained_weights_freezes_nothing(make_config, tiles, tiny, tmp_path):
    config = make_config(**tiny | {"weights": "none"}, epochs=3, frozen_fraction=0.67)
    encoders = [
        encoder_of(tmp_path / NEWEST)["0.weight"]
        for _ in fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)
    ]
    assert not torch.equal(encoders[0], encoders[1])


def test_fit_lowers_lr_when_the_encoder_is_unfrozen(make_config, tiles, tiny, monkeypatch):
    judge_as(monkeypatch, [0.1, 0.2, 0.3, 0.4])
    config = make_config(**tiny, epochs=4, frozen_fraction=0.5, unfreeze_lr_factor=0.1, lr=1e-3)
    assert [record.lr for record in fit(config, tiles)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_fit_halves_lr_on_a_plateau(make_config, tiles, tiny, monkeypatch):
    # Patience 1: the second epoch in a row without a better one halves the rate for the next
    judge_as(monkeypatch, [0.5, 0.5, 0.4, 0.6, 0.6, 0.6, 0.6])
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


def test_band_statistics_of_a_constant_band_do_not_divide_by_zero(tiles):
    constant = replace(tiles.train, images=tuple(np.full_like(image, 7) for image in tiles.train.images))
    assert band_statistics(constant, 1.0) == ([7.0] * 3, [1e-6] * 3)


@pytest.mark.parametrize(("weights", "imagenet"), [(True, True), (False, False)])
def test_fit_normalises_as_its_weights_expect(make_config, tiles, tiny, weights, imagenet):
    config = make_config(architecture="tiny", weights=tiny["weights"] if weights else "none")
    state = TrainingState(config, tiles, CPU)
    expected = [0.485, 0.456, 0.406] if imagenet else band_statistics(state.tiles.train, 1 / 255)[0]
    assert state.model.mean.flatten().tolist() == pytest.approx(expected)


def test_fit_normalises_by_the_budgets_own_tiles(make_config, tiles):
    one, all_of_them = (TrainingState(make_config(tiles=n), tiles, CPU).model.mean for n in (1, 3))
    assert not torch.equal(one, all_of_them)


def test_fit_never_trains_on_val_tiles(make_config, tiles):
    painted = tuple(np.zeros_like(image) for image in tiles.val.images)
    blind = replace(tiles, val=replace(tiles.val, images=painted))
    one, other = (next(fit(make_config(), t)) for t in (tiles, blind))
    assert one.metrics["train/loss"] == other.metrics["train/loss"]
    assert one.metrics["val/loss"] != other.metrics["val/loss"]


# What it refuses


def sized(tiles: Any, *sizes: tuple[int, int]) -> Any:
    """The same tiles with train tiles cut to these sizes."""
    parts = [(slice(height), slice(width)) for height, width in sizes]
    train = tiles.train.take(range(len(sizes)))
    train = replace(
        train,
        images=tuple(image[part] for image, part in zip(train.images, parts, strict=True)),
        masks=tuple(mask[part] for mask, part in zip(train.masks, parts, strict=True)),
    )
    return replace(tiles, train=train)


def test_check_accepts_what_fits(make_config, tiles):
    check(make_config(), tiles)
    check(make_config(window_px=48), tiles)
    check(make_config(window_px=32, tiles=2), sized(tiles, (33, 64), (50, 41)))


@pytest.mark.parametrize(("window", "use"), [(33, 32), (40, 32), (63, 48)])
def test_check_refuses_windows_beside_the_stride(make_config, tiles, window, use):
    message = refusal(lambda: check(make_config(window_px=window), tiles))
    assert message == f"--window-px is {window}, but unet needs a multiple of 16: use {use}"


def test_check_refuses_windows_larger_than_a_tile(make_config, tiles):
    message = refusal(lambda: check(make_config(window_px=64), sized(tiles, (64, 64), (64, 64), (64, 50))))
    assert message == "--window-px is 64, but the smallest train tile has a side of 50 px: use 48 or less"


def test_check_refuses_unequal_tiles_without_windows(make_config, tiles):
    message = refusal(lambda: check(make_config(), sized(tiles, (64, 64), (64, 64), (48, 48))))
    assert message == (
        "train tiles have sides of 48 to 64 px, but training on whole tiles needs equal squares: "
        "set --window-px to cut windows"
    )


def test_check_refuses_tiles_beside_the_stride(make_config, tiles):
    message = refusal(lambda: check(make_config(), sized(tiles, *[(50, 50)] * 3)))
    assert message == "tile side is 50 px, but unet needs a multiple of 16: set --window-px 48 to cut windows"


@pytest.mark.parametrize("window", [None, 32])
def test_check_advises_no_window_of_nothing_for_tiny_tiles(make_config, tiles, window):
    message = refusal(lambda: check(make_config(window_px=window), sized(tiles, *[(10, 10)] * 3)))
    assert "--window-px 0" not in message
    assert "use 0" not in message


def test_check_refuses_fewer_draws_than_a_batch(make_config, tiles):
    message = refusal(lambda: check(make_config(draws_per_epoch=3, batch_size=4), tiles))
    assert message == "draws_per_epoch is 3, but must be at least the batch size of 4"


def test_check_refuses_more_tiles_than_there_are(make_config, tiles):
    assert refusal(lambda: check(make_config(tiles=4), tiles)).startswith("--tiles 4 asks for 4 train tiles, but")


def test_fit_refuses_before_anything_is_written(make_config, tiles, tmp_path):
    refusal(lambda: next(fit(make_config(window_px=40), tiles, checkpoints=tmp_path / "out")))
    assert list(tmp_path.iterdir()) == []


# On a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no CUDA device here")
def test_fit_trains_on_cuda_with_autocast(make_config, tiles, tmp_path):
    config = make_config(architecture="unet_resnet34", epochs=2)
    state = TrainingState(config, tiles, torch.device("cuda"))
    with state.autocast():
        assert torch.is_autocast_enabled("cuda")
    records = list(fit(config, tiles, device="cuda", num_threads=2, checkpoints=tmp_path))
    assert [record.epoch for record in records] == [1, 2]
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    assert records[-1].peak_memory_gib > 0
    trained = load_model(tmp_path / BEST)
    result = evaluate(
        trained.model.cuda(), tiles.val, tiles.info, stride=trained.stride, bce_weight=0.5, device=torch.device("cuda")
    )
    assert result.scores.iou == pytest.approx(records[-1].best, abs=0.02)  # fp32 against mixed precision
