"""Cross-validated trials, and final models that nothing judges: what they learn from, and resuming them exactly."""

import numpy as np
import pytest
import torch

from trainables.checkpoints import BEST, NEWEST, load, load_model, newest_valid
from trainables.folds.split import pooled, split
from trainables.metrics import scores
from trainables.records import DivergedError, records_to_json
from trainables.training import pixel_statistics
from trainables.trial import fit

CASES = {
    "plain": {},
    "staged": {"ema_decay": 0.9, "frozen_fraction": 0.4, "unfreeze_lr_factor": 0.5, "encoder_lr_factor": 0.3},
}


@pytest.fixture
def pool(tiles):
    return pooled(tiles)


@pytest.fixture
def make(make_config, tiny):
    def of(**changes):
        settings = {"tiles": 5, "folds": 3, "epochs": 4, "schedule": "cosine", "stop_patience": 9}
        return make_config(**tiny | settings | changes)

    return of


@pytest.mark.parametrize("case", CASES)
def test_fold_is_a_plain_trial_on_its_tiles_and_an_epoch_is_the_mean_over_held_out_tiles(make, pool, case):
    config = make(**CASES[case])
    records = list(fit(config, pool, predictions_every=1))
    parts = split(config, pool)
    alone = []
    for part in parts:
        plain = config.model_copy(update={"folds": 0, "tiles": len(part.tiles.train)})
        alone.append(list(fit(plain, part.tiles)))
    for epoch, record in enumerate(records):
        its = [records_of_fold[epoch].metrics for records_of_fold in alone]
        assert record.metrics["train/loss"] == pytest.approx(np.mean([m["train/loss"] for m in its]), rel=1e-12)
        by_tile = {key: value for m in its for key, value in m.items() if key.startswith("val/iou/")}
        assert {key: value for key, value in record.metrics.items() if key.startswith("val/iou/")} == by_tile
        assert record.judged == record.metrics["val/iou"] == pytest.approx(np.mean(list(by_tile.values())), rel=1e-12)
        num_tiles = [len(part.places) for part in parts]
        assert record.metrics["val/loss"] == pytest.approx(np.average([m["val/loss"] for m in its], weights=num_tiles))
        matrices = [
            np.bincount(2 * mask.ravel().astype(int) + predicted.ravel(), minlength=4).reshape(2, 2)
            for mask, predicted in zip(pool.train.masks, record.predictions, strict=True)
        ]
        assert scores(matrices).iou == record.judged


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", [{}, {"folds": 0, "fixed_epochs": 3}])
def test_killed_and_resumed_is_as_if_it_had_not_been(make, pool, tmp_path, case, kind):
    config = make(**CASES[case] | kind)
    whole = []
    for record in fit(config, pool, checkpoints=tmp_path, checkpoint_seconds=0):
        whole.append(record)
        assert newest_valid(tmp_path, config) == tmp_path / NEWEST
        assert len(load(tmp_path / NEWEST)["records"]) == len(records_to_json(whole))
        (tmp_path / NEWEST).rename(tmp_path / f"{record.epoch}.pt")
    for epoch in range(1, len(whole) + 1):
        rest = list(fit(config, pool, resume=tmp_path / f"{epoch}.pt", checkpoints=tmp_path / "again"))
        assert [untimed(record) for record in rest] == [untimed(record) for record in whole[epoch:]]
    assert (tmp_path / BEST).exists() != bool(config.folds)  # none of a trial's networks is the model
    if not config.folds:
        one, other = (load(folder / BEST)["model"] for folder in (tmp_path, tmp_path / "again"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def untimed(record):
    return repr((record.epoch, record.metrics, record.lr, record.judged, record.best, record.best_epoch, record.ended))


def test_final_model_learns_from_all_labels_and_keeps_its_last_weights(make, pool, tmp_path):
    config = make(folds=0, fixed_epochs=3, ema_decay=0.9)
    records = list(fit(config, pool, checkpoints=tmp_path))
    assert [(r.epoch, set(r.metrics), r.best_epoch, r.ended) for r in records] == [
        (epoch, {"train/loss"}, epoch, "epochs" if epoch == 3 else "") for epoch in (1, 2, 3)
    ]
    searched = list(fit(make(folds=0, ema_decay=0.9), pool.budget(5, 0).__class__(pool.info, pool.train, pool.train)))
    assert [r.lr for r in records] == [r.lr for r in searched[:3]]  # of the schedule of all four epochs
    assert [r.metrics["train/loss"] for r in records] == [r.metrics["train/loss"] for r in searched[:3]]
    trained = load_model(tmp_path / BEST)
    assert (trained.epoch, trained.config) == (3, config)
    mean, _ = pixel_statistics(config, pool)
    assert trained.model.mean.flatten().tolist() == pytest.approx(mean)


def test_trial_stops_early_by_all_folds_together_and_diverges_with_any(make, pool, monkeypatch):
    records = list(fit(make(epochs=6, lr=1e-12, stop_patience=2, decoder_dropout=0.0), pool))
    best = max(range(len(records)), key=lambda epoch: records[epoch].judged)
    assert (records[-1].best_epoch, records[-1].best) == (best + 1, records[best].judged)
    assert records[-1].ended == "early stopping" or len(records) == 6
    with pytest.raises(DivergedError):
        list(fit(make(lr=1e30), pool))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folds": 6}, "--folds is 6, but must be from 2 to the 5 labels of a budget: use 2 to 5"),
        ({"folds": 1}, "--folds is 1, but must be from 2 to the 5 labels of a budget: use 2 to 5"),
        ({"schedule": "plateau"}, "--schedule is plateau, which waits for val"),
        ({"schedule": "plateau", "folds": 0, "fixed_epochs": 2}, "--schedule is plateau, which waits for val"),
    ],
)
def test_what_cannot_be_cross_validated_is_refused(make, pool, refusal, changes, words):
    assert refusal(lambda: next(fit(make(**changes), pool))).startswith(words)
