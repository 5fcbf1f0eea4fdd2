"""One model's scores on whole tiles: what it came to, what is left on the disk, and what ends it or spoils it."""

import errno
import json
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studies.models import evaluation
from studies.models.evaluation import VAL_SCORES, load_pictures, load_scores, pictured, score_model
from studies.models.scores import ModelScores, ScoringFailure, ScoringJob, ScoringMode, load_record
from tests.studies.reports import scores_on_val
from trainables.checkpoints import BEST, load_model
from trainables.common.whole_files import file_stem
from trainables.config import Recipe, TrialConfig
from trainables.data.tiles import IGNORE, DatasetInfo, Tiles
from trainables.trial import fit

CPU = ScoringMode(label="", cpus=1, gpus=0.0)
RECIPE = Recipe(epochs=1, draws_per_epoch=4, batch_size=2, window_px=64, val_center_px=64, small=True)


@pytest.fixture(scope="module")
def model(tiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    list(fit(TrialConfig(architecture="unet", tiles=2, lr=1e-3, recipe=RECIPE), tiles, checkpoints=folder))
    return folder


@pytest.fixture
def job(model, tmp_path):
    permit = tmp_path / "permit"
    permit.touch()
    (tmp_path / BEST).hardlink_to(model / BEST)
    return ScoringJob(folder=tmp_path, beat=tmp_path / "beat", permit=permit)


def scores_of(job: ScoringJob, tiles: Tiles, info: DatasetInfo) -> ModelScores:
    result = score_model(job, CPU, tiles, info)
    assert isinstance(result, ModelScores), result
    return result


def test_scores_are_those_of_whole_tiles(job, tiles):
    result = scores_of(job, tiles.val, tiles.info)
    trained = load_model(job.folder / BEST)
    whole = scores_on_val(trained, tiles)
    assert result.iou == whole.scores.iou
    assert result.tile_iou == dict(zip(tiles.val.ids, whole.scores.tile_iou, strict=True))
    for tile, matrix in zip(tiles.val.ids, whole.confusions, strict=True):
        assert result.tile_confusion[tile] == matrix.ravel().tolist()
    assert (result.epoch, result.scored) == (1, "")
    assert {path.name for path in job.folder.iterdir()} == {BEST, "permit"}  # and no sign of life is left


def test_equal_models_together_are_the_model_and_symmetries_are_scored_beside(job, tiles):
    alone, together, turned = (
        scores_of(replace(job, **changes), tiles.val, tiles.info)
        for changes in ({}, {"members": (job.folder, job.folder)}, {"tta": True})
    )
    assert (together.iou, together.tile_confusion) == (alone.iou, alone.tile_confusion)
    assert turned == replace(alone, tta=turned.tta)
    assert turned.tta is not None
    assert list(turned.tta["tile_iou"]) == list(turned.tta["tile_confusion"]) == list(tiles.val.ids)
    assert {sum(counts) for counts in turned.tta["tile_confusion"].values()} == {mask.size for mask in tiles.val.masks}
    assert 0 <= turned.tta["iou"] <= turned.tta["f1"] <= 1
    assert load_record(json.loads(json.dumps(turned.recorded()))) == replace(turned, epoch=0)


def test_tile_without_a_pixel_that_counts_has_no_iou(job, tiles):
    first, *others = tiles.val.masks
    void = replace(tiles.val, masks=(np.full_like(first, IGNORE), *others))
    whole, partly = (scores_of(job, its, tiles.info).tile_iou for its in (tiles.val, void))
    assert partly == {**whole, tiles.val.ids[0]: None}
    json.dumps(partly, allow_nan=False)  # it goes into logs and files


def test_scores_on_val_are_left_beside_the_model_and_read_again(job, tiles):
    result = scores_of(replace(job, scores_of="these tiles"), tiles.val, tiles.info)
    assert load_scores(job.folder, "these tiles") == result
    assert load_scores(job.folder, "other tiles") is None
    content = json.loads((job.folder / VAL_SCORES).read_text())
    (job.folder / VAL_SCORES).write_text(json.dumps(content | {"model": "of another one"}))
    assert load_scores(job.folder, "these tiles") is None


def test_every_tile_s_mask_picture_and_probabilities_are_saved(job, tiles):
    folder = job.folder / "pictures"
    result = scores_of(replace(job, pictures=folder, keeps_all=True), tiles.val, tiles.info)
    endings = (".png", "_beside.jpg", "_probability.png")
    assert {path.name for path in folder.iterdir()} == {f"{tile}{e}" for tile in tiles.val.ids for e in endings}
    for tile, image, truth in zip(tiles.val.ids, tiles.val.images, tiles.val.masks, strict=True):
        predicted = np.asarray(Image.open(folder / f"{tile}.png"))
        assert ((truth == 1) & (predicted == 1)).sum() == result.tile_confusion[tile][3]
        foreground = np.asarray(Image.open(folder / f"{tile}_probability.png"))
        assert np.array_equal(foreground >= 128, predicted == 1)
        assert load_pictures(folder, [tile])[tile].shape == (image.shape[0], 3 * image.shape[1] + 16, 3)


def test_pictures_alone_are_of_some_tiles(job, tiles, monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_PICTURES", 1)
    assert list(pictured(500)) == [0]
    score_model(replace(job, pictures=job.folder / "pictures"), CPU, tiles.val, tiles.info)
    assert [path.name for path in (job.folder / "pictures").iterdir()] == [f"{tiles.val.ids[0]}_beside.jpg"]


def test_folder_that_takes_no_pictures_spoils_no_scores(job, tiles):
    taken = job.folder / "taken"
    taken.touch()
    result = scores_of(replace(job, pictures=taken, keeps_all=True), tiles.val, tiles.info)
    assert result.unsaved == f"{taken} could not be written (File exists)"
    assert result.iou == scores_of(job, tiles.val, tiles.info).iou


def test_long_ids_make_names_that_file_systems_take(tiles, job):
    names = ["x" * 250, "x" * 249 + "y"]
    long = replace(tiles.val, ids=tuple(names))
    folder = job.folder / "pictures"
    result = scores_of(replace(job, pictures=folder, keeps_all=True), long, tiles.info)
    assert list(result.tile_iou) == names
    assert len(list(folder.iterdir())) == 6
    assert list(load_pictures(folder, names)) == names


@pytest.mark.parametrize("name", ["a" * 181, "é" * 91, "屋" * 61])
def test_file_stem_is_cut_to_whole_letters_and_told_from_others(name):
    assert file_stem("short é") == "short é"
    stem = file_stem(name)
    assert len(stem.encode()) <= 180
    assert stem[:50] == name[:50]
    assert stem != file_stem(f"{name}b")


def test_scoring_ends_before_its_next_tile_without_a_permit(job, tiles):
    assert job.permit is not None
    job.permit.unlink()
    assert score_model(replace(job, scores_of="tiles"), CPU, tiles.val, tiles.info) == ScoringFailure(kind="stopped")
    assert not (job.folder / VAL_SCORES).exists()
    assert scores_of(replace(job, permit=None), tiles.val, tiles.info).epoch == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "out of memory"),
        (MemoryError("Unable to allocate 3.00 GiB"), "out of memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "disk"),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), "error"),
        (KeyError("mean"), "error"),
    ],
)
def test_errors_say_whether_another_way_or_a_person_helps(job, tiles, monkeypatch, error, kind):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(evaluation, "evaluate", fail)
    found = score_model(job, CPU, tiles.val, tiles.info)
    assert isinstance(found, ScoringFailure)
    assert found.kind == kind
    if kind != "out of memory":
        assert found.reason.startswith(f"{type(error).__name__}: ")


def test_model_that_is_damaged_is_told_in_a_person_s_words(job, tiles):
    (job.folder / BEST).unlink()
    (job.folder / BEST).write_bytes(b"half a file")
    found = score_model(job, CPU, tiles.val, tiles.info)
    assert isinstance(found, ScoringFailure)
    assert found.reason.startswith(f"{job.folder / BEST} is damaged")


def test_device_that_is_lost_ends_the_worker(job, tiles, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(evaluation, "evaluate", fail)
    with pytest.raises(torch.AcceleratorError):
        score_model(job, CPU, tiles.val, tiles.info)
