"""The loop over its checkpoints: resuming exactly, and what a best checkpoint holds."""

from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.checkpoints import BEST, NEWEST, load, load_model
from trainables.predict import evaluate
from trainables.trial import fit

CPU = torch.device("cpu")


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
def test_fit_resumed_after_its_end_yields_nothing(make_config, tiles, tiny, tmp_path, monkeypatch, reason, judge_as):
    judge_as([0.5, 0.4, 0.3] + [0.2] * 20)
    epochs = 3 if reason == "epochs" else 10
    config = make_config(**tiny | {"weights": "none"}, epochs=epochs, stop_patience=2)
    records = list(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    assert records[-1].ended == reason
    assert list(fit(config, tiles, resume=tmp_path / NEWEST)) == []


def test_fit_refuses_a_checkpoint_of_another_configuration(make_config, tiles, tiny, tmp_path, refusal):
    config, other = make_config(**tiny), make_config(**tiny, lr=2e-3)
    next(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    message = refusal(lambda: next(fit(other, tiles, resume=tmp_path / NEWEST)))
    assert message.startswith(
        f"{tmp_path / NEWEST} is of configuration {config.signature()}, but this one is {other.signature()}: "
    )


def test_fit_refuses_to_resume_from_a_best_checkpoint(make_config, tiles, tiny, tmp_path, refusal):
    config = make_config(**tiny)
    next(fit(config, tiles, checkpoints=tmp_path))
    assert refusal(lambda: next(fit(config, tiles, resume=tmp_path / BEST))).startswith(f"{tmp_path / BEST} ")


def test_fit_refuses_a_missing_checkpoint(make_config, tiles, tmp_path, refusal):
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
    result = evaluate(trained.model, val, trained.info, stride=trained.stride, loss=config.loss_function, device=CPU)
    # The loaded model keeps its weights in another memory order, so a pixel at probability 1/2 may change sides
    assert result.scores.iou == pytest.approx(best.judged, abs=2e-3)
    assert result.loss == pytest.approx(best.metrics["val/loss"], rel=1e-5)


def test_fit_best_checkpoint_needs_no_pretrained_weights(make_config, tiles, tiny, tmp_path):
    weights = Path(tiny["weights"])
    config = make_config(**tiny, epochs=1)
    (record,) = fit(config, tiles, checkpoints=tmp_path)
    weights.unlink()
    assert load_model(tmp_path / BEST).metrics == record.metrics


def test_fit_writes_the_best_checkpoint_at_improvements_only(make_config, tiles, tiny, tmp_path, monkeypatch, judge_as):
    judge_as([0.3, 0.5, 0.4, 0.6, 0.1])
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
