"""Checkpoints: what comes back from the disk, and which one a trial resumes from."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import checkpoints as ckpt
from trainables.checkpoints import (
    BEST,
    NEWEST,
    PREVIOUS,
    KeptBest,
    kept_best,
    load,
    load_model,
    newest_valid,
    save,
)
from trainables.data.tiles import DatasetInfo
from trainables.models.architectures import ARCHITECTURES
from trainables.models.segmenter import Segmenter

INFO = DatasetInfo(
    classes=("clear", "thick", "thin"),
    bands=("red", "green", "blue", "nir"),
    scale=1e-4,
    ignore_index=9,
    colors_rgb=((0, 0, 0), (1, 2, 3), (4, 5, 6)),
    groups={"a": "here"},
)


# What comes back


def in_training(model: Segmenter) -> None:
    """Batch norms in a state that no fresh model has."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_load_model_gives_the_saved_model_back(name, make_config, save_best, tmp_path):
    config = make_config(architecture=name, decoder_dropout=0.3)
    model = save_best(tmp_path / BEST, config, INFO, in_training)
    trained = load_model(tmp_path / BEST)
    assert (trained.config, trained.info) == (config, INFO)
    assert (trained.stride, trained.epoch, trained.metrics) == (ARCHITECTURES[name].stride, 3, {"val/iou": 0.25})
    assert (trained.model.only_px, trained.model.whole_px) == (None, ARCHITECTURES[name].whole_px)
    assert not trained.model.training
    assert trained.model.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert trained.model.std.flatten().tolist() == pytest.approx([0.5, 0.6, 0.7, 0.8])
    pixels = torch.rand(1, 4, 64, 64)
    with torch.inference_mode():
        assert torch.equal(trained.model(pixels), model.eval()(pixels))


@pytest.mark.parametrize("can_sync_folders", [True, False])
def test_save_and_load_keep_tensors_and_plain_values(tmp_path, monkeypatch, can_sync_folders):
    fsync = os.fsync

    def synced(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and not can_sync_folders:
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(ckpt.os, "fsync", synced)
    path = tmp_path / "deep" / "folder" / NEWEST
    save(path, {"tensor": torch.arange(5), "text": "ä", "number": 0.1, "list": [1, None], "dict": {"a": True}})
    content = load(path)
    assert torch.equal(content.pop("tensor"), torch.arange(5))
    assert content == {"text": "ä", "number": 0.1, "list": [1, None], "dict": {"a": True}}
    assert [p.name for p in path.parent.iterdir()] == [NEWEST]


@pytest.mark.parametrize("missing", ["config", "info", "frozen_digest"])
def test_load_model_refuses_other_dicts(tmp_path, make_config, save_best, missing, refusal):
    # An encoder's weights have no config, a newest.pt has no info, older versions have no digest
    path = tmp_path / NEWEST
    save_best(path, make_config(), INFO)
    save(path, {key: value for key, value in load(path).items() if key != missing})
    assert refusal(lambda: load_model(path)).endswith(" is no best.pt of a trial: use another one")


# Which one to go on from


@pytest.fixture
def checkpoint(make_config):
    """Writes the checkpoint of a configuration, as far as it is looked at."""

    def write(path: Path, **changes: Any) -> None:
        parts = dict.fromkeys(("records", "frozen_digest", "model", "ema", "optimizer", "schedule", "scaler"))
        save(path, parts | {"config": make_config(**changes).model_dump_json()})

    return write


@pytest.mark.parametrize("case", ["whole", "missing", "cut", "flipped", "of another", "a best", "of then"])
def test_newest_valid_skips_what_is_of_no_use(make_config, checkpoint, tmp_path, case):
    config, newest, previous = make_config(), tmp_path / NEWEST, tmp_path / PREVIOUS
    checkpoint(newest)
    checkpoint(previous)
    content = newest.read_bytes()
    if case == "missing":  # killed between two renames
        newest.unlink()
    elif case == "cut":
        newest.write_bytes(content[:-1])
    elif case == "flipped":
        newest.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif case == "of another":
        checkpoint(newest, lr=2e-3)
    elif case == "a best":
        save(newest, {key: load(newest).get(key) for key in ("config", "frozen_digest", "model", "metrics")})
    elif case == "of then":  # with a setting that there is no more
        settings = json.loads(load(newest)["config"]) | {"momentum": 0.9}
        save(newest, load(newest) | {"config": json.dumps(settings)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert newest_valid(tmp_path, config) == (newest if case == "whole" else previous)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    checkpoint(previous, init_seed=5)
    assert newest_valid(tmp_path, config) == (newest if case == "whole" else None)
    assert newest_valid(tmp_path / "nowhere", config) is None


def test_kept_best_is_that_of_the_same_configuration(make_config, tmp_path):
    config, nothing = make_config(val_center_px=32), KeptBest()
    content = {"config": config.model_dump_json(), "info": "", "epoch": 7, "frozen_digest": "", "model": {}}
    assert (kept_best(tmp_path, config), nothing.judged) == (nothing, -np.inf)
    save(tmp_path / BEST, content | {"metrics": {"val/iou_center32": 0.25, "val/f1_center32": 0.5}})
    assert kept_best(tmp_path, config) == (7, 0.25)
    assert kept_best(tmp_path, make_config()) == nothing
    (tmp_path / BEST).write_bytes((tmp_path / BEST).read_bytes()[:-1])
    assert kept_best(tmp_path, config) == nothing
