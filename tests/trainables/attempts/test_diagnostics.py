import pytest
import torch

from trainables.attempts.diagnostics import diagnostics, memory_words
from trainables.common.duration import duration
from trainables.config import Recipe, TrialConfig
from trainables.records import EpochRecord

TILES = {"austin1": 0.71, "austin6": 0.55, "austin11": 0.68, "austin16": 0.63, "austin21": 0.49, "austin26": 0.61}


def record(suffix: str = "", **changes) -> EpochRecord:
    metrics = {"train/loss": 0.2141, "val/loss": 0.2869, f"val/iou{suffix}": 0.6117, f"val/f1{suffix}": 0.7482}
    metrics |= {f"val/iou{suffix}/{tile}": iou for tile, iou in TILES.items()} | {"val/collapsed": 0.0}
    values = {
        "epoch": 5,
        "metrics": metrics,
        "lr": 1e-3,
        "judged": 0.6117,
        "best": 0.6204,
        "best_epoch": 4,
        "seconds": 61.3,
        "step_seconds": 0.4188,
    }
    return EpochRecord(**values | changes)


def block(recipe: Recipe | None = None, **changes) -> str:
    config = TrialConfig(architecture="unet_resnet34", tiles=24, lr=1e-3, recipe=recipe or Recipe())
    suffix = "" if config.recipe.val_center_px is None else f"_center{config.recipe.val_center_px}"
    return diagnostics(
        "02 unet_resnet34",
        config,
        record(suffix, **changes),
        seconds_left=3371.0,
        memory="gpu_mem: 4.2 / 15.6 GiB",
    )


def test_diagnostics_show_what_the_reference_study_shows():
    assert block() == (
        "=== attempt: 02 unet_resnet34  epoch: 5/60  lr: 1.00e-03 ===\n"
        "train: loss=0.214 (n=400 augmented, bs=4, steps=100)\n"
        "val:   loss=0.287  iou=0.612  f1=0.748  (n=6 tiles)\n"
        "per_tile_iou: austin1=0.71  austin6=0.55  austin11=0.68  austin16=0.63\n"
        "              austin21=0.49  austin26=0.61\n"
        "worst_tile:   austin21 (iou=0.49)\n"
        "collapse:     no\n"
        "best_so_far:  iou=0.620 in epoch 4\n"
        "gpu_mem: 4.2 / 15.6 GiB   step_time: 0.42s   epoch_time: 61s   left: about 56 min 11 s"
    )


def test_diagnostics_name_the_class_that_a_model_collapsed_to():
    assert "collapse:     every val pixel is building\n" in block(collapsed_to="building")


def test_diagnostics_count_whole_batches_only():
    assert "(n=8 augmented, bs=4, steps=2)" in block(Recipe(draws_per_epoch=11, batch_size=4))


def test_diagnostics_name_the_metric_of_centre_windows():
    text = block(Recipe(val_center_px=512))
    assert "iou=0.612  f1=0.748  (n=6 tiles, val/iou_center512)" in text
    assert "worst_tile:   austin21 (iou=0.49)" in text


def test_memory_words_tell_of_this_process_on_a_cpu():
    words = memory_words(torch.device("cpu"), 0.0)
    assert words.startswith("memory: ")
    assert 0.1 < float(words.split()[1]) < 64


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "…"), (0.4, "0 s"), (59.6, "1 min 00 s"), (754, "12 min 34 s"), (7380, "2 h 03 min")],
)
def test_duration_rounds_for_people(seconds, words):
    assert duration(seconds) == words
