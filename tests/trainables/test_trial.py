"""The loop: equal records, what they say, when it ends, and what it refuses."""

import math
import tracemalloc
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from trainables import trial as fit_module
from trainables.checkpoints import BEST, NEWEST, load, load_model
from trainables.data.tiles import IGNORE
from trainables.losses import Loss
from trainables.predict import Evaluation, evaluate
from trainables.records import DivergedError, EpochRecord
from trainables.training import TrainingState
from trainables.trial import fit

CPU = torch.device("cpu")


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


def test_fit_records_have_no_score_of_a_tile_in_which_no_pixel_counts(make_config, tiles):
    void = np.full_like(tiles.val.masks[0], IGNORE)
    partly = replace(tiles, val=replace(tiles.val, masks=(void, *tiles.val.masks[1:])))
    without = replace(tiles, val=tiles.val.take(range(1, len(tiles.val))))
    (found,), (expected,) = (list(fit(make_config(epochs=1), its)) for its in (partly, without))
    assert f"val/iou/{tiles.val.ids[0]}" not in found.metrics
    assert found.metrics == expected.metrics


def test_fit_records_name_their_metrics(make_config, tiles):
    records = list(fit(make_config(epochs=3, plateau_patience=0), tiles))
    for record in records:
        assert set(record.metrics) == {
            "train/loss",
            "val/loss",
            "val/collapsed",
            "val/iou",
            "val/f1",
            "val/accuracy",
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
        "val/collapsed",
        "val/iou_center32",
        "val/f1_center32",
        "val/accuracy_center32",
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


def test_fit_attaches_predictions_of_the_tiles_that_it_is_told(make_config, tiles, tiny):
    config = make_config(**tiny, epochs=1)
    (whole,) = fit(config, tiles, predictions_every=1)
    for chosen in ([1], range(0, 2, 2), ()):
        (record,) = fit(config, tiles, predictions_every=1, predictions_of=chosen)
        expected = [whole.predictions[index] for index in chosen]
        assert len(record.predictions) == len(expected)
        assert all(np.array_equal(one, other) for one, other in zip(record.predictions, expected, strict=True))
        assert record == whole
    assert next(fit(config, tiles, predictions_of=[1])).predictions == ()


def test_state_of_a_trial_has_no_predictions_and_copies_none(make_config, tiles, tiny):
    # 20 epochs of two predictions of 1 MiB each: a state is far below one of them
    config = make_config(**tiny)
    state = TrainingState(config, tiles, CPU)
    (record,) = fit(make_config(**tiny, epochs=1), tiles, predictions_every=1)
    sizes = []
    tracemalloc.start()
    try:
        for epoch in range(1, 21):
            pictures = tuple(np.full((1024, 1024), epoch, np.uint8) for _ in range(2))
            state.end_epoch(replace(record, epoch=epoch, predictions=pictures))
            del pictures
            tracemalloc.reset_peak()
            content = state.state()
            held, peak = tracemalloc.get_traced_memory()
            sizes.append(len(content["records"]))
            assert max(held, peak) < 2**20
    finally:
        tracemalloc.stop()
    assert all(not kept.predictions for kept in state.records)
    assert sizes[-1] < 25 * sizes[0]


def test_record_as_json_shares_nothing_with_the_record(make_config, tiles, tiny):
    (record,) = fit(make_config(**tiny, epochs=1), tiles, predictions_every=1)
    content = record.as_json()
    content["metrics"]["val/iou"] = -1.0
    assert record.metrics["val/iou"] != -1.0


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


@pytest.mark.parametrize(("only", "name"), [(None, ""), (0, "background"), (1, "foreground")])
def test_fit_says_to_which_class_a_model_collapsed(make_config, tiles, tiny, monkeypatch, only, name):
    def judged(*args: Any, **kwargs: Any) -> Evaluation:
        return replace(evaluate(*args, **kwargs), only_class=only)

    monkeypatch.setattr(fit_module, "evaluate", judged)
    record = next(fit(make_config(**tiny), tiles))
    assert (record.collapsed_to, record.metrics["val/collapsed"]) == (name, float(only is not None))


def test_fit_ends_early_without_a_better_epoch(make_config, tiles, tiny, monkeypatch, judge_as):
    judge_as([0.2, 0.5, 0.4, 0.5, 0.5, 0.9])
    records = list(fit(make_config(**tiny | {"weights": "none"}, epochs=20, stop_patience=3), tiles))
    # an equal epoch is no better one: three after epoch 2
    assert [record.epoch for record in records] == [1, 2, 3, 4, 5]
    assert [record.ended for record in records] == ["", "", "", "", "early stopping"]
    assert (records[-1].best, records[-1].best_epoch) == (0.5, 2)


def test_fit_has_patience_with_a_frozen_encoder(make_config, tiles, tiny, monkeypatch, judge_as):
    judge_as([0.5] + [0.1] * 20)
    records = list(fit(make_config(**tiny, epochs=12, frozen_fraction=0.5, stop_patience=2), tiles))
    assert [record.epoch for record in records] == list(range(1, 9))  # two after the sixth, when it was unfrozen
    assert records[-1].ended == "early stopping"


@pytest.mark.parametrize("stop_at", range(9))
def test_fit_stops_within_an_epoch_without_a_record(make_config, tiles, tiny, tmp_path, stop_at):
    asked = count()
    config = make_config(**tiny, epochs=5)
    records = list(
        fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, should_stop=lambda: next(asked) == stop_at)
    )
    assert len(records) == stop_at // 4  # two batches and two val tiles per epoch
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
    original = TrainingState.train_step

    def step(*arguments: Any) -> torch.Tensor:
        return original(*arguments) * (math.nan if next(steps) > 5 else 1.0)

    monkeypatch.setattr(TrainingState, "train_step", step)
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


# What it refuses


def test_fit_refuses_before_anything_is_written(make_config, tiles, tmp_path, refusal):
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
        trained.model.cuda(),
        tiles.val,
        tiles.info,
        stride=trained.stride,
        loss=Loss(bce_weight=0.5),
        device=torch.device("cuda"),
    )
    assert result.scores.iou == pytest.approx(records[-1].best, abs=0.02)  # fp32 against mixed precision


def test_fit_records_have_the_iou_of_every_class_that_occurs(make_config, band_tiles):
    (record,) = fit(make_config(epochs=1), band_tiles)
    found = {key: value for key, value in record.metrics.items() if key.startswith("val/class_iou/")}
    assert {key.removeprefix("val/class_iou/") for key in found} == set(band_tiles.info.classes)
    assert record.metrics["val/iou"] == pytest.approx(np.mean(list(found.values())))
