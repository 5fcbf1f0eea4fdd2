import pytest

from trainables.attempts.diagnostics import block
from trainables.common.duration import duration
from trainables.config import Recipe, TrialConfig
from trainables.records import EpochRecord

TILES = {"austin1": 0.71, "austin6": 0.55, "austin11": 0.68, "austin16": 0.63, "austin21": 0.49, "austin26": 0.61}


def shown(recipe: Recipe | None = None, *, collapsed_to: str = "") -> str:
    """The block of an epoch that was validated as the recipe says."""
    config = TrialConfig(architecture="unet_resnet34", tiles=24, lr=1e-3, recipe=recipe or Recipe())
    judged = config.judged_metric
    metrics = {"train/loss": 0.2141, "val/loss": 0.2869, judged: 0.6117, judged.replace("iou", "f1"): 0.7482}
    metrics |= {f"{judged}/{tile}": iou for tile, iou in TILES.items()} | {"val/collapsed": 0.0}
    record = EpochRecord(
        epoch=5,
        metrics=metrics,
        lr=1e-3,
        judged=0.6117,
        best=0.6204,
        best_epoch=4,
        collapsed_to=collapsed_to,
        seconds=61.3,
        step_seconds=0.4188,
    )
    return block("02 unet_resnet34", config, record, seconds_left=3371.0, memory="gpu_mem: 4.2 / 15.6 GiB")


def test_block_shows_what_the_reference_study_shows():
    assert shown() == (
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


def test_block_names_the_collapse_whole_batches_and_centre_windows():
    text = shown(Recipe(draws_per_epoch=11, batch_size=4, val_center_px=512), collapsed_to="building")
    assert "collapse:     every val pixel is building\n" in text
    assert "(n=8 augmented, bs=4, steps=2)" in text  # the rest of 3 draws makes no batch
    assert "iou=0.612  f1=0.748  (n=6 tiles, val/iou_center512)" in text
    assert "worst_tile:   austin21 (iou=0.49)" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "…"), (0.4, "0 s"), (59.6, "1 min 00 s"), (754, "12 min 34 s"), (7380, "2 h 03 min")],
)
def test_duration_rounds_for_people(seconds, words):
    assert duration(seconds) == words
