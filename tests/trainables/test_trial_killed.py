"""The loop after a kill at any moment: what it goes on from, and which best epoch stays on disk."""

import json
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.checkpoints import BEST, NEWEST, PREVIOUS, load, newest_valid, save
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


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load(path)["model"]
    return state


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# Two newest ones


def test_fit_keeps_the_checkpoint_before(config, tiles, tmp_path):
    out = tmp_path / "out"
    epochs = fit(config, tiles, checkpoints=out, checkpoint_seconds=0)
    assert [held(out) for _ in epochs] == [[1, 0], [2, 1], [3, 2], [4, 3], [5, 4]]
    assert {path.name for path in out.iterdir()} == {BEST, NEWEST, PREVIOUS}


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_fit_resumes_from_the_one_before_a_damaged_one(config, tiles, tmp_path, damage):
    whole = list(fit(config, tiles, checkpoints=tmp_path / "whole"))
    epochs = fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)
    assert list(islice(epochs, 3)) == whole[:3]
    epochs.close()
    newest = tmp_path / NEWEST
    if damage == "cut":
        newest.write_bytes(newest.read_bytes()[:1000])
    else:
        newest.unlink()
    resume = newest_valid(tmp_path, config)
    assert resume == tmp_path / PREVIOUS
    resumed = fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, resume=resume)
    assert next(resumed) == whole[2]
    # The damaged one has not taken the place of the one that is whole
    assert held(tmp_path) == [3, 2]
    assert list(resumed) == whole[3:]
    assert held(tmp_path) == [5, 4]
    assert are_equal(weights_of(tmp_path / BEST), weights_of(tmp_path / "whole" / BEST))


def test_fit_writes_checkpoints_after_the_epochs_asked_for(config, tiles, tmp_path):
    epochs = fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=NEVER_SECONDS, checkpoint_epochs={2, 4})
    assert [held(tmp_path) for _ in epochs] == [[0, 0], [2, 0], [2, 0], [4, 2], [4, 2]]


def test_fit_writes_checkpoints_by_the_clock_too(config, tiles, tmp_path):
    epochs = fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, checkpoint_epochs=range(2, 3))
    assert [held(tmp_path)[0] for _ in epochs] == [1, 2, 3, 4, 5]


# Stopped in validation


@pytest.mark.parametrize("tile", [0, 1])
def test_fit_stopped_in_validation_goes_on_as_if_it_had_not_been(config, tiles, tmp_path, tile):
    whole = list(fit(config, tiles))
    asked = count()
    stop_at = 4 + 2 + tile  # the second epoch's two batches are done
    records = list(
        fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0, should_stop=lambda: next(asked) == stop_at)
    )
    assert records == whole[:1]
    assert next(asked) == stop_at + 1
    resume = newest_valid(tmp_path, config)
    assert list(fit(config, tiles, checkpoints=tmp_path, resume=resume)) == whole[1:]


# The best on disk is of a later epoch than the checkpoint


@pytest.fixture
def kill_after(config, tiles, tmp_path):
    """Trains some epochs with one checkpoint, after the first; gives the way to go on."""

    def kill(num_epochs: int) -> Any:
        epochs = fit(
            config, tiles, checkpoints=tmp_path, checkpoint_seconds=NEVER_SECONDS, checkpoint_epochs=range(1, 2)
        )
        for _ in islice(epochs, num_epochs):
            pass
        epochs.close()
        return lambda: fit(
            config, tiles, checkpoints=tmp_path, checkpoint_seconds=NEVER_SECONDS, resume=tmp_path / NEWEST
        )

    return kill


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


def test_fit_ends_with_the_same_best_when_epochs_are_really_judged(config, tiles, tmp_path, kill_after):
    whole = list(fit(config, tiles, checkpoints=tmp_path / "whole"))
    resumed = kill_after(4)()
    assert load(tmp_path / BEST)["epoch"] > 1
    assert list(resumed) == whole[1:]
    assert are_equal(weights_of(tmp_path / BEST), weights_of(tmp_path / "whole" / BEST))


def bests(records: list[EpochRecord]) -> list[tuple[float, int]]:
    return [(record.best, record.best_epoch) for record in records]


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
    assert load(tmp_path / BEST)["metrics"]["val/iou"] == 0.51
    assert [load(tmp_path / BEST)["epoch"], records[-1].best_epoch] == epochs
    assert records[-1].best == 0.51


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


@pytest.mark.parametrize("case", ["missing", "cut", "older", "older, as good", "worse", "whole"])
def test_fit_mends_the_best_of_the_last_record(config, tiles, tmp_path, judge_as, case):
    judge_as([0.2, 0.5])
    epochs = fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0)
    next(epochs)
    older = (tmp_path / BEST).read_bytes()
    next(epochs)
    epochs.close()
    path = tmp_path / BEST
    expected = load(path)
    content = path.read_bytes()
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
    assert are_equal(load(path)["model"], expected["model"])
    assert (load(path)["epoch"], load(path)["metrics"]) == (2, expected["metrics"])
    assert (path.stat().st_ino == inode) == (case == "whole")
