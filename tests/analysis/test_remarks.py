"""Checks the columns of a confirmation and what the captions say of tests, reopenings, micro-batches and lost work."""

import math

import pytest

from analysis import tables
from analysis.report import write_report
from analysis.wandb_logs import read_logs

TEST = {"val_iou": 0.5, "val_f1": 0.66, "test_iou": 0.4, "test_f1": 0.57}


def captions(logs) -> list[str]:
    return [tables.architecture_caption(logs), tables.tiles_caption(logs)]


@pytest.fixture
def study(fake_study):
    """A study of two arms with a selected trial each."""
    study = fake_study(tiles=(24,))
    study.trial("unet-24", 0, [0.5])
    study.trial("sam_conv-24", 0, [0.4])
    return study


def end(study):
    study.end({"unet-24": (0, 0.5, 0.66), "sam_conv-24": (0, 0.4, 0.57)})
    return read_logs(study.out)


def test_iou_by_architecture_has_the_means_over_the_seeds_of_a_confirmation(study):
    for number, (val_iou, test_iou) in enumerate([(0.46, 0.40), (0.48, 0.43), (0.50, 0.49)]):
        study.confirm("unet-24", number, val_iou=val_iou, test_iou=test_iou, test_f1=test_iou + 0.1)
    study.confirm("sam_conv-24", 0, **TEST)
    study.confirm("sam_conv-24", 1, state="diverged")
    unet, sam = tables.iou_by_architecture(end(study)).to_dict("records")
    names = ("seeds", "val_iou_confirmed", "test_iou", "test_iou_sd", "test_f1")
    assert [unet[name] for name in names] == pytest.approx([3, 0.48, 0.44, math.sqrt(0.0042 / 2), 0.54])
    assert [sam[name] for name in names[:3]] == [1, 0.5, 0.4]
    assert math.isnan(sam["test_iou_sd"])
    assert unet["val_iou"] == 0.5


def test_iou_by_architecture_has_no_test_columns_while_the_test_tiles_are_sealed(study):
    study.confirm("unet-24", 0, val_iou=0.46)
    logs = end(study)
    frame = tables.iou_by_architecture(logs)
    assert list(frame["seeds"]) == [1, 0]
    assert list(frame["val_iou_confirmed"].dropna()) == [0.46]
    assert not [column for column in frame.columns if "test" in column]
    assert "Confirmed val IoU is the mean over 1 model per row" in tables.architecture_caption(logs)


def test_captions_say_nothing_of_what_did_not_happen(study):
    logs = end(study)
    assert "seeds" not in tables.iou_by_architecture(logs).columns
    for caption in captions(logs):
        for word in ("test", "REOPENED", "micro-batches", "again", "result"):
            assert word not in caption.lower()


def test_captions_tell_the_confirmation_and_who_opened_the_test_tiles(study):
    for number in range(2):
        study.confirm("unet-24", number, **TEST)
    study.confirm("sam_conv-24", 0, **TEST)
    study.confirm("sam_conv-24", 1, state="diverged")
    study.open("unet-24", "opened", num_attempts=4, num_studies=3)
    study.open("unet-24", "result", num_attempts=5, num_studies=3)
    study.open("sam_conv-24", "recorded", num_attempts=5, num_studies=3)
    first, second = captions(end(study))
    assert (
        "Test values and the confirmed val IoU are means over 1 or 2 models per row, trained again with new seeds, on "
        "test tiles that were opened once for them (sd: between the seeds)."
    ) in first
    for caption in (first, second):
        assert caption.endswith(
            "The recorded result of an earlier opening was used for sam_conv-24. "
            "So far, 5 attempts of 3 studies ever opened these test tiles. "
            "Without a result are sam_conv-24 seed 1 (diverged)."
        )


def test_captions_of_every_table_name_each_reopening_with_its_reason(study):
    study.confirm("unet-24", 0, **TEST)
    study.open("unet-24", "opened", num_attempts=1, num_studies=1)
    study.open("unet-24", "reopened", at="2026-11-20T11:00:00", why="a bug in\nthe metric.")
    study.open("sam_conv-24", "reopened", at="2026-11-20T12:00:00")
    logs = end(study)
    assert "opened once" not in tables.architecture_caption(logs)
    report = write_report(study.out)
    assert set(report.captions) == {"iou_by_architecture", "iou_by_tiles"}
    for caption in report.captions.values():
        assert "Test tiles were REOPENED for unet-24: a bug in the metric. " in caption
        assert "Test tiles were REOPENED for sam_conv-24: no reason is logged. " in caption
        assert "So far, 1 attempt of 1 study ever opened these test tiles." in caption


def test_captions_name_trials_in_micro_batches_and_what_was_lost(study):
    study.trial("unet-24", 1, [0.6, 0.7], cost={"micro_batch_size": 2, "lost_epochs": 1, "lost_seconds": 10.4})
    study.trial("sam_conv-24", 1, [0.1], cost={"micro_batch_size": 4, "lost_epochs": 0, "lost_seconds": 5.0})
    study.trial("sam_conv-24", 2, [], state="out of memory", reason="even alone", cost={"micro_batch_size": 0})
    study.end({"unet-24": (1, 0.5, 0.66), "sam_conv-24": (0, 0.4, 0.57)})
    logs = read_logs(study.out)
    first, second = captions(logs)
    assert "Failed trials: 1 out of memory." in first
    assert list(tables.iou_by_architecture(logs)["failed"]) == [0, 1]
    for caption in (first, second):
        assert (
            "Trained in micro-batches after running out of memory: unet-24 trial 1 (2 draws at once), "
            "sam_conv-24 trial 1 (4 draws at once); selected of them: unet-24 trial 1."
        ) in caption
        assert "1 epoch was trained again after lost workers or interruptions, at a cost of 15 s." in caption


def test_captions_name_retrained_models_in_micro_batches(study):
    study.trial("unet-24", 0, [0.6])
    study.confirmed.append({"arm": "unet-24", "number": 1, "test_iou": 0.5, "micro_batch_size": 2})
    study.end({"unet-24": (0, 0.5, 0.66)})
    for caption in captions(read_logs(study.out)):
        assert "after running out of memory: unet-24 seed 1 (2 draws at once); selected of them: none." in caption


def test_captions_say_where_no_trial_in_micro_batches_was_selected(study):
    study.trial("unet-24", 1, [0.1], cost={"micro_batch_size": 2})
    for caption in captions(end(study)):
        assert "unet-24 trial 1 (2 draws at once); selected of them: none." in caption
