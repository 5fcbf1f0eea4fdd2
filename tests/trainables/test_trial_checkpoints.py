"""The loop over its checkpoints: resuming exactly after a kill at any moment, and which best epoch stays on disk."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.checkpoints import BEST, NEWEST, PREVIOUS, load, load_model, newest_valid, save
from trainables.predict import evaluate
from trainables.records import EpochRecord
from trainables.trial import fit

NEVER_SECONDS = 1e9
"""Between two checkpoints: those of `checkpoint_epochs` only."""


@pytest.fixture
def config(make_config, tiny):
    return make_config(**tiny, epochs=5, augmentation="EXTREME")


def held(folder: Path) -> list[int]:
    """How many epochs newest.pt and previous.pt hold, 0 for one that is not there."""
    paths = (folder / NEWEST, folder / PREVIOUS)
    return [len(json.loads(load(path)["records"])) if path.exists() else 0 for path in paths]


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def have_equal_weights(one: Path, other: Path) -> bool:
    return are_equal(load(one / BEST)["model"], load(other / BEST)["model"])


def bests(records: list[EpochRecord]) -> list[tuple[float, int]]:
    return [(record.best, record.best_epoch) for record in records]


# Resuming


FOR_GOOD = {"architecture": "sam_conv", "weights": "none"}
"""A network with an encoder that is frozen for good."""
RESUMED: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema_decay": 0.9},
    "reduced": {"plateau_patience": 0, "unfreeze_lr_factor": 0.5},
    "cosine": {"schedule": "cosine", "encoder_lr_factor": 0.3},
    "frozen for good": {"epochs": 2, "ema_decay": 0.9, "plateau_patience": 0, **FOR_GOOD},
}


@pytest.mark.parametrize("case", RESUMED)
def test_fit_resumes_at_each_epoch_with_the_same_records(make_config, tiles, tiny, tmp_path, case):
    # Two of five epochs frozen: before, at and after the change
    settings = {"epochs": 5, "frozen_fraction": 0.4, "augmentation": "EXTREME"}
    config = make_config(**tiny | settings | RESUMED[case])
    assert config.frozen_epochs == (2 if config.is_pretrained else 0)
    whole = []
    for record in fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0):
        whole.append(record)
        (tmp_path / NEWEST).rename(tmp_path / f"{record.epoch}.pt")
    for epoch in range(1, len(whole) + 1):
        assert list(fit(config, tiles, resume=tmp_path / f"{epoch}.pt")) == whole[epoch:]


def test_fit_resumed_writes_the_same_checkpoints(make_config, tiles, tiny, tmp_path):
    config = make_config(**tiny, epochs=4, ema_decay=0.9)
    epochs = fit(config, tiles, checkpoints=tmp_path / "a", checkpoint_seconds=0)
    next(epochs)
    next(epochs)
    list(fit(config, tiles, resume=tmp_path / "a" / NEWEST, checkpoints=tmp_path / "b", checkpoint_seconds=0))
    list(epochs)
    one, other = (load(tmp_path / folder / NEWEST) for folder in "ab")
    assert all(are_equal(one[part], other[part]) for part in ("model", "ema"))
    assert one["schedule"] == other["schedule"]


@pytest.mark.parametrize("reason", ["epochs", "early stopping"])
def test_fit_resumed_after_its_end_yields_nothing(make_config, tiles, tiny, tmp_path, reason, judge_as):
    judge_as([0.5, 0.4, 0.3] + [0.2] * 20)
    config = make_config(**tiny | {"weights": "none"}, epochs=3 if reason == "epochs" else 10, stop_patience=2)
    records = list(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    assert records[-1].ended == reason
    assert list(fit(config, tiles, resume=tmp_path / NEWEST)) == []


def test_fit_refuses_other_checkpoints(make_config, tiles, tiny, tmp_path, refusal):
    config, other, newest = make_config(**tiny), make_config(**tiny, lr=2e-3), tmp_path / NEWEST
    assert "does not exist" in refusal(lambda: next(fit(config, tiles, resume=newest)))
    next(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    message = refusal(lambda: next(fit(other, tiles, resume=newest)))
    assert message.startswith(f"{newest} is of configuration {config.signature()}, but this one is {other.signature()}")
    assert refusal(lambda: next(fit(config, tiles, resume=tmp_path / BEST))).startswith(f"{tmp_path / BEST} ")


# Which checkpoints there are


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.5, **FOR_GOOD}, {"val_center_px": 48}], ids=str)
def test_fit_best_checkpoint_reproduces_the_best_record(make_config, tiles, tmp_path, changes):
    config = make_config(epochs=2, lr=3e-3, **changes)
    records = list(fit(config, tiles, checkpoints=tmp_path))
    trained = load_model(tmp_path / BEST)
    best = records[records[-1].best_epoch - 1]
    assert (trained.metrics, trained.config) == (best.metrics, config)
    val = tiles.val if config.recipe.val_center_px is None else tiles.val.center_windows(config.recipe.val_center_px)
    loss, cpu = config.loss_function, torch.device("cpu")
    result = evaluate(trained.model, val, trained.info, stride=trained.stride, loss=loss, device=cpu)
    # The loaded model keeps its weights in another memory order, so a pixel at probability 1/2 may change sides
    assert result.scores.iou == pytest.approx(best.judged, abs=2e-3)
    assert result.loss == pytest.approx(best.metrics["val/loss"], rel=1e-5)


def test_fit_writes_the_best_checkpoint_at_improvements_only(make_config, tiles, tiny, tmp_path, judge_as, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judge_as([0.3])
    next(fit(make_config(**tiny), tiles))  # without a folder
    assert [path.name for path in tmp_path.iterdir()] == ["tiny_encoder.pth"]
    judge_as([0.3, 0.5, 0.4, 0.6, 0.1])
    written = []
    for record in fit(make_config(**tiny, epochs=5), tiles, checkpoints=tmp_path):
        written.append(load(tmp_path / BEST)["epoch"])
        assert record.best_epoch == written[-1]
    assert written == [1, 2, 2, 4, 4]
    assert not (tmp_path / NEWEST).exists()  # no minute has passed
    Path(tiny["weights"]).unlink()
    assert load_model(tmp_path / BEST).epoch == 4  # without the weights that it began from


@pytest.mark.parametrize(
    ("seconds", "epochs", "expected"),
    [
        (0, (), [[1, 0], [2, 1], [3, 2], [4, 3], [5, 4]]),
        (0, range(2, 3), [[1, 0], [2, 1], [3, 2], [4, 3], [5, 4]]),
        (NEVER_SECONDS, {2, 4}, [[0, 0], [2, 0], [2, 0], [4, 2], [4, 2]]),
    ],
)
def test_fit_writes_checkpoints_by_the_clock_and_after_epochs(config, tiles, tmp_path, seconds, epochs, expected):
    out = tmp_path / "out"
    records = fit(config, tiles, checkpoints=out, checkpoint_seconds=seconds, checkpoint_epochs=epochs)
    assert [held(out) for _ in records] == expected
    assert {path.name for path in out.iterdir()} == {BEST, NEWEST, PREVIOUS}


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_fit_resumes_from_the_one_before_a_damaged_one(config, tiles, tmp_path, damage):
    whole = list(fit(config, tiles, checkpoints=tmp_path / "whole"))
    epochs = fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)
    assert list(islice(epochs, 3)) == whole[:3]
    epochs.close()
    newest = tmp_path / NEWEST
    content = newest.read_bytes()
    newest.unlink()
    if damage == "cut":
        newest.write_bytes(content[:1000])
    resume = newest_valid(tmp_path, config)
    assert resume == tmp_path / PREVIOUS
    resumed = fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, resume=resume)
    assert next(resumed) == whole[2]
    assert held(tmp_path) == [3, 2]  # the damaged one has not taken the place of the one that is whole
    assert list(resumed) == whole[3:]
    assert held(tmp_path) == [5, 4]
    assert have_equal_weights(tmp_path, tmp_path / "whole")


# The best on disk is of a later epoch than the checkpoint


@pytest.fixture
def kill_after(config, tiles, tmp_path):
    """Trains some epochs with one checkpoint, after the first; gives the way to go on."""
    args: dict[str, Any] = {"checkpoints": tmp_path, "checkpoint_seconds": NEVER_SECONDS}

    def kill(num_epochs: int) -> Any:
        epochs = fit(config, tiles, **args, checkpoint_epochs=range(1, 2))
        for _ in islice(epochs, num_epochs):
            pass
        epochs.close()
        return lambda: fit(config, tiles, **args, resume=tmp_path / NEWEST)

    return kill


@pytest.mark.faults
@pytest.mark.parametrize("killed_after", [1, 2, 3, 4, 5])
def test_fit_ends_with_the_same_best_wherever_it_was_killed(
    config, tiles, tmp_path, kill_after, judge_as, killed_after
):
    values = [0.2, 0.5, 0.4, 0.6, 0.3]
    judge_as(values)
    whole = list(fit(config, tiles, checkpoints=tmp_path / "whole"))
    judge_as(values)
    resumed = kill_after(killed_after)()
    kept = load(tmp_path / BEST)["epoch"]
    assert kept == [1, 2, 2, 4, 4][killed_after - 1]
    inode = (tmp_path / BEST).stat().st_ino
    judge_as(values[1:])
    records = []
    for record in resumed:
        records.append(record)
        if record.epoch <= kept:  # repeated epochs write nothing
            assert (tmp_path / BEST).stat().st_ino == inode
    assert records == whole[1:]
    one, other = load(tmp_path / BEST), load(tmp_path / "whole" / BEST)
    assert are_equal(one.pop("model"), other.pop("model"))
    assert one == other
    assert one["epoch"] == 4


def test_fit_lets_a_later_best_stay_until_an_epoch_is_better(tmp_path, kill_after, judge_as):
    judge_as([0.2, 0.3, 0.5])
    resumed = kill_after(3)()
    before = (tmp_path / BEST).read_bytes()
    judge_as([0.4999, 0.4998, 0.5, 0.6])  # epochs 2 to 5 on a device that repeats in all digits but the last
    records = list(islice(resumed, 3))
    # The repeat of epoch 3 is no better than what is on disk, which is the best from then on; 0.5 again is not better
    assert bests(records) == [(0.4999, 2), (0.5, 3), (0.5, 3)]
    assert (tmp_path / BEST).read_bytes() == before
    records += resumed
    assert bests(records)[-1] == (0.6, 5)
    assert (load(tmp_path / BEST)["epoch"], load(tmp_path / BEST)["metrics"]["val/iou"]) == (5, 0.6)


@pytest.mark.parametrize(("values", "epochs"), [([0.1, 0.51], [3, 3]), ([0.51, 0.505], [2, 2])])
def test_fit_replaces_a_later_best_by_a_better_repeat(tmp_path, kill_after, judge_as, values, epochs):
    judge_as([0.2, 0.3, 0.5])
    resumed = kill_after(3)()
    judge_as(values)
    records = list(islice(resumed, 2))
    best = load(tmp_path / BEST)
    assert [best["epoch"], records[-1].best_epoch] == epochs
    assert best["metrics"]["val/iou"] == records[-1].best == 0.51


@pytest.mark.parametrize("other", ["configuration", "nothing"])
def test_fit_replaces_a_later_best_that_is_of_no_use(make_config, tmp_path, kill_after, judge_as, other):
    judge_as([0.2, 0.3, 0.5])
    resumed = kill_after(3)()
    if other == "configuration":
        save(tmp_path / BEST, load(tmp_path / BEST) | {"config": make_config(lr=9e-3).model_dump_json()})
    else:
        (tmp_path / BEST).write_bytes((tmp_path / BEST).read_bytes()[:-1])
    judge_as([0.4])
    assert bests([next(resumed)]) == [(0.4, 2)]
    assert load(tmp_path / BEST)["metrics"]["val/iou"] == 0.4


@pytest.mark.faults
@pytest.mark.parametrize("case", ["missing", "cut", "older", "older, as good", "worse", "whole"])
def test_fit_mends_the_best_of_the_last_record(config, tiles, tmp_path, judge_as, case):
    judge_as([0.2, 0.5])
    path, epochs = tmp_path / BEST, fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)
    next(epochs)
    older = path.read_bytes()
    next(epochs)
    epochs.close()
    expected, content = load(path), path.read_bytes()
    if case == "missing":
        path.unlink()
    elif case == "cut":
        path.write_bytes(content[:-1])
    elif case == "older":
        path.write_bytes(older)
    elif case == "older, as good":
        save(path, expected | {"epoch": 1})
    elif case == "worse":  # of the same epoch, when it went another way
        save(path, expected | {"metrics": {"val/iou": 0.4999}})
    inode = path.stat().st_ino if path.exists() else 0
    judge_as([0.1])
    assert bests([next(fit(config, tiles, checkpoints=tmp_path, resume=tmp_path / NEWEST))]) == [(0.5, 2)]
    mended = load(path)
    assert are_equal(mended["model"], expected["model"])
    assert (mended["epoch"], mended["metrics"]) == (2, expected["metrics"])
    assert (path.stat().st_ino == inode) == (case == "whole")
