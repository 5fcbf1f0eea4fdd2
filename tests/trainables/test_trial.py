"""The loop: equal records, what they say, when it ends, and what it refuses."""

import json
import math
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from trainables import trial as trial_module
from trainables.checkpoints import BEST, NEWEST, load, load_model
from trainables.data.tiles import IGNORE
from trainables.losses import Loss
from trainables.predict import evaluate
from trainables.records import DivergedError, EpochRecord
from trainables.training import TrainingState
from trainables.trial import fit

CPU = torch.device("cpu")


# The same records for the same configuration


def test_fit_gives_equal_records_for_one_configuration(make_config, tiles, tiny):
    config = make_config(**tiny, epochs=3, augmentation="EXTREME", draws_per_epoch=8)
    one, again, threaded = (list(fit(config, tiles, num_threads=n)) for n in (0, 0, 2))
    assert len(one) == 3
    assert one == again == threaded
    assert all(record.seconds > 0 and record.peak_memory_gib == 0 for record in one)


@pytest.mark.parametrize(("augmentation", "is_same"), [("LIGHT", True), ("EXTREME", False)])
def test_fit_with_draws_augmented_on_the_device_repeats_and_learns_from_the_same_draws(
    make_config, tiles, tiny, augmentation, is_same
):
    settings = tiny | {"augmentation": augmentation, "draws_per_epoch": 8}
    on_cpu = list(fit(make_config(**settings), tiles))
    config = make_config(**settings, augment_on="device")
    one, threaded = (list(fit(config, tiles, num_threads=n)) for n in (0, 2))
    assert one == threaded
    assert (one == on_cpu) is is_same
    losses = [[record.metrics["train/loss"] for record in records] for records in (one, on_cpu)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize(
    "change", [{"init_seed": 1}, {"draw_seed": 1}, {"lr": 2e-3}, {"bce_weight": 0.9}, {"tiles": 2}]
)
def test_fit_depends_on_its_configuration(make_config, tiles, tiny, change):
    base, changed = (next(fit(make_config(**tiny, **its), tiles)) for its in ({}, change))
    assert base.metrics["train/loss"] != changed.metrics["train/loss"]


def test_fit_trials_do_not_disturb_each_other(make_config, tiles, tiny):
    config, other = make_config(**tiny), make_config(**tiny, init_seed=7, lr=3e-3)
    alone = list(fit(config, tiles))
    together = []
    for record, _ in zip(fit(config, tiles), fit(other, tiles), strict=True):
        together.append(record)
        torch.manual_seed(99)  # and whoever iterates may use torch's generator
    assert together == alone


def test_fit_learns(make_config, tiles, tiny):
    settings = tiny | {"weights": "none", "decoder_dropout": 0.0}
    config = make_config(**settings, epochs=5, draws_per_epoch=16, augmentation="NONE", lr=1e-2)
    records = list(fit(config, tiles))
    assert records[-1].metrics["train/loss"] < 0.7 * records[0].metrics["train/loss"]
    assert records[-1].best > 0.5  # calling everything roof scores 0.1


# What a record says


def test_fit_records_have_no_score_of_a_tile_in_which_no_pixel_counts(make_config, tiles, tiny):
    void = np.full_like(tiles.val.masks[0], IGNORE)
    partly = replace(tiles, val=replace(tiles.val, masks=(void, *tiles.val.masks[1:])))
    without = replace(tiles, val=tiles.val.take(range(1, len(tiles.val))))
    (found,), (expected,) = (list(fit(make_config(**tiny, epochs=1), its)) for its in (partly, without))
    assert f"val/iou/{tiles.val.ids[0]}" not in found.metrics
    assert found.metrics == expected.metrics


def test_fit_records_name_their_metrics_and_centre_windows(make_config, tiles, tiny):
    losses = []
    for center, suffix in ((None, ""), (32, "_center32")):
        config = make_config(**tiny, epochs=3, plateau_patience=0, val_center_px=center)
        records = list(fit(config, tiles, predictions_every=3))
        scores = [f"val/iou{suffix}/{tile}" for tile in ("val_0", "val_1")]
        names = {"train/loss", "val/loss", "val/collapsed", *(f"val/{m}{suffix}" for m in ("iou", "f1", "accuracy"))}
        for record in records:
            assert set(record.metrics) == names | set(scores)
            assert record.judged == record.metrics[config.judged_metric]
            assert record.judged == pytest.approx(np.mean([record.metrics[score] for score in scores]))
            assert all(math.isfinite(value) for value in record.metrics.values())
        assert [record.epoch for record in records] == [1, 2, 3]
        assert [record.best for record in records] == np.maximum.accumulate([r.judged for r in records]).tolist()
        assert [record.ended for record in records] == ["", "", "epochs"]
        assert [its.shape for its in records[-1].predictions] == [(center or 64, center or 64)] * 2
        losses.append(records[0].metrics["train/loss"])
    assert losses[0] == losses[1]  # training knows nothing of validation


def test_fit_can_be_closed_and_attaches_predictions_where_asked_and_of_the_tiles_asked_for(make_config, tiles, tiny):
    config = make_config(**tiny, epochs=5)
    epochs = fit(config, tiles, num_threads=2)
    assert next(epochs).epoch == 1
    epochs.close()
    assert next(epochs, None) is None
    assert [bool(r.predictions) for r in fit(config, tiles, predictions_every=2)] == [False, True, False, True, True]
    assert not any(record.predictions for record in fit(config, tiles, predictions_of=[1]))
    whole = next(fit(config, tiles, predictions_every=1))
    for asked in ([1], range(0, 2, 2), ()):
        record = next(fit(config, tiles, predictions_every=1, predictions_of=asked))
        expected = [whole.predictions[index] for index in asked]
        assert len(record.predictions) == len(expected)
        assert all(np.array_equal(one, other) for one, other in zip(record.predictions, expected, strict=True))
        assert record == whole


def test_record_as_json_is_the_record_without_predictions_and_shares_nothing_with_it(make_config, tiles, tiny):
    (record,) = fit(make_config(**tiny, epochs=1), tiles, predictions_every=1)
    assert record.predictions
    content = record.as_json()
    assert "predictions" not in content
    assert EpochRecord(**content) == record
    content["metrics"]["val/iou"] = -1.0
    assert record.metrics["val/iou"] != -1.0
    state = TrainingState(make_config(**tiny), tiles, CPU)
    state.end_epoch(record)
    assert not state.records[0].predictions  # nor do checkpoints hold them
    assert json.loads(state.state()["records"]) == [content | {"metrics": record.metrics}]


def test_fit_trains_uint16_tiles_of_four_classes(make_config, band_tiles, tiny):
    settings = tiny | {"weights": "none", "augmentation": "EXTREME"}
    config = make_config(**settings, epochs=2, window_px=32, draws_per_epoch=8, val_center_px=48)
    records = list(fit(config, band_tiles))
    assert len(records) == 2
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    prefix = "val/class_iou_center48/"
    found = {key.removeprefix(prefix): v for key, v in records[-1].metrics.items() if key.startswith(prefix)}
    assert set(found) == set(band_tiles.info.classes)
    assert records[-1].judged == pytest.approx(np.mean(list(found.values())))
    assert 0 < records[-1].judged <= 1


# When it ends


def test_fit_says_to_which_class_a_model_collapsed(make_config, tiles, tiny, monkeypatch):
    for only, name in ((None, ""), (0, "background"), (1, "foreground")):
        judged = partial(lambda its, *args, **kwargs: replace(evaluate(*args, **kwargs), only_class=its), only)
        monkeypatch.setattr(trial_module, "evaluate", judged)
        record = next(fit(make_config(**tiny), tiles))
        assert (record.collapsed_to, record.metrics["val/collapsed"]) == (name, float(only is not None))


def test_fit_ends_early_without_a_better_epoch_and_has_patience_with_a_frozen_encoder(
    make_config, tiles, tiny, judge_as
):
    judge_as([0.2, 0.5, 0.4, 0.5, 0.5, 0.9])
    records = list(fit(make_config(**tiny | {"weights": "none"}, epochs=20, stop_patience=3), tiles))
    # an equal epoch is no better one: three after epoch 2
    assert [record.ended for record in records] == ["", "", "", "", "early stopping"]
    assert (records[-1].best, records[-1].best_epoch) == (0.5, 2)
    judge_as([0.5] + [0.1] * 20)
    records = list(fit(make_config(**tiny, epochs=12, frozen_fraction=0.5, stop_patience=2), tiles))
    assert [record.epoch for record in records] == list(range(1, 9))  # two after the sixth, when it was unfrozen
    assert records[-1].ended == "early stopping"


@pytest.mark.parametrize("stop_at", range(9))
def test_fit_stops_within_an_epoch_and_goes_on_as_if_it_had_not(make_config, tiles, tiny, tmp_path, stop_at):
    asked = count()
    config = make_config(**tiny, epochs=3)
    whole = list(fit(config, tiles))
    records = list(
        fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, should_stop=lambda: next(asked) == stop_at)
    )
    assert records == whole[: stop_at // 4]  # two batches and two val tiles per epoch
    assert next(asked) == stop_at + 1  # and is not asked again
    if records:
        assert list(fit(config, tiles, resume=tmp_path / NEWEST)) == whole[len(records) :]
    else:
        assert not (tmp_path / NEWEST).exists()


def test_fit_names_the_epoch_in_which_it_diverged(make_config, tiles, tiny, monkeypatch, tmp_path):
    steps = count(1)
    original = TrainingState.train_step

    def step(*arguments: Any) -> torch.Tensor:
        return original(*arguments) * (math.nan if next(steps) > 5 else 1.0)

    monkeypatch.setattr(TrainingState, "train_step", step)
    with pytest.raises(DivergedError, match="the training loss is nan in epoch 3"):
        list(fit(make_config(**tiny, epochs=5), tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    assert load(tmp_path / BEST)["epoch"] in (1, 2)
    assert '"epoch": 2' in load(tmp_path / NEWEST)["records"]
    assert '"epoch": 3' not in load(tmp_path / NEWEST)["records"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no CUDA device here")
def test_fit_trains_on_cuda_with_autocast(make_config, tiles, tmp_path):
    config = make_config(architecture="unet_resnet34", epochs=2)
    cuda = torch.device("cuda")
    with TrainingState(config, tiles, cuda).autocast():
        assert torch.is_autocast_enabled("cuda")
    records = list(fit(config, tiles, device="cuda", num_threads=2, checkpoints=tmp_path))
    assert [record.epoch for record in records] == [1, 2]
    assert all(math.isfinite(value) for record in records for value in record.metrics.values())
    assert records[-1].peak_memory_gib > 0
    trained = load_model(tmp_path / BEST)
    result = evaluate(
        trained.model.cuda(), tiles.val, tiles.info, stride=trained.stride, loss=Loss(bce_weight=0.5), device=cuda
    )
    assert result.scores.iou == pytest.approx(records[-1].best, abs=0.02)  # fp32 against mixed precision
