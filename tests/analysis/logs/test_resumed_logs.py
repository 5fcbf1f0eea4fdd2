"""Checks what is read of studies that were resumed, killed or extended, and of files that are incomplete."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.logs.record_log import split_records
from analysis.logs.wandb_files import read_logs
from analysis.logs.wandb_run import read_run


def epochs(logs, arm: str, number: int) -> list[int]:
    return list(logs.history.loc[(logs.history["arm"] == arm) & (logs.history["number"] == number), "epoch"])


def states(logs) -> dict[tuple[str, int], str]:
    return dict(zip(zip(logs.runs["arm"], logs.runs["number"], strict=True), logs.runs["state"], strict=True))


def cut(path: Path) -> None:
    """Takes the end of a run away, as when its process is killed."""
    path.write_bytes(path.read_bytes()[:-8])


def test_read_logs_joins_the_runs_of_a_trial_whether_they_overlap_or_not(fake_study):
    study = fake_study()
    config = {"study": study.name, "stage": "search", "arm": "unet-24", "run_arm": "unet-24", "trial": 0}
    for epochs in ([1, 2, 3], [2, 4], [5, 6]):  # the second begins with an epoch that the first one has
        run = study.run(job_type="trial", config=config)
        for epoch in epochs:
            row = {"epoch": epoch, study.metric: epoch / 10, "epoch_seconds": 1.0, "micro_batch_size": 2}
            run.log(row | {"val/loss": 10 * epochs[0]} if epochs[0] > 1 else row)
        run.finish()
    study.end({})
    logs = read_logs(study.out)
    assert logs.history[["epoch", "val/loss"]].fillna(0).to_numpy().tolist() == [
        *([1, 0], [2, 0], [3, 0]),  # the first record of an epoch stands, with all its numbers
        *([4, 20], [5, 50], [6, 50]),
    ]
    (row,) = logs.runs.to_dict("records")
    assert (row["epochs"], row["best_epoch"], row["micro_batch_size"], row["num_segments"]) == (6, 6, 2, 3)


def test_read_logs_copes_with_three_segments_of_which_the_newest_is_torn(fake_study):
    study = fake_study()
    study.trial("unet-24", 0, [0.1, 0.2], state="interrupted")
    study.trial("unet-24", 1, [0.3])
    study.end({})
    study.ended = study.ended[1:]  # a resumed study logs every ended trial again
    study.trial("unet-24", 0, [0.1, 0.2, 0.4])
    study.end({"unet-24": (0, 0.4, 0.5)})
    study.arms = [arm | {"trials": 6} for arm in study.arms]
    study.trial("unet-24", 2, [0.6])
    cut(study.end({"unet-24": (2, 0.6, 0.7)}))
    logs = read_logs(study.out)
    assert states(logs) == {("unet-24", 0): "finished", ("unet-24", 1): "finished", ("unet-24", 2): "finished"}
    assert epochs(logs, "unet-24", 0) == [1, 2, 3]
    assert list(logs.selection["number"]) == [0]
    assert {arm["trials"] for arm in logs.study["arms"]} == {6}
    torn, unended = logs.notes
    assert " is torn at byte " in torn
    assert unended.startswith("The study's newest run has not ended: ")


def test_read_logs_takes_what_a_killed_study_selected_where_the_run_before_it_selected_nothing(fake_study):
    study = fake_study()
    study.trial("unet-24", 0, [0.1])
    study.end({})
    study.model("unet-24", 0, val_iou=0.1)
    cut(study.end({"unet-24": (0, 0.1, 0.2)}))
    logs = read_logs(study.out)
    assert list(logs.selection["number"]) == [0]
    assert list(logs.models["val_iou"]) == [0.1]
    assert logs.notes[-1].startswith("The study's run has not ended: ")


def test_read_logs_returns_the_last_row_of_each_model_in_the_order_of_the_arms(fake_study):
    study = fake_study()
    study.trial("unet-24", 0, [0.1])
    study.trial("sam_conv-24", 0, [0.1])
    study.model("sam_conv-24", 0, val_iou=0.5, val_f1=0.6)
    study.model("unet-24", 1, state="diverged")
    study.model("unet-24", 0, val_iou=0.2)
    study.end({"unet-24": (0, 0.1, 0.2), "sam_conv-24": (0, 0.1, 0.2)})
    study.model("unet-24", 0, val_iou=0.3, test_iou=0.25, test_f1=0.4)
    study.end({"unet-24": (0, 0.1, 0.2), "sam_conv-24": (0, 0.1, 0.2)})  # resumed: tells all of them again
    models = read_logs(study.out).models
    keys = list(zip(models["arm"], models["number"], models["state"], strict=True))
    assert keys == [("unet-24", 0, "finished"), ("unet-24", 1, "diverged"), ("sam_conv-24", 0, "finished")]
    assert list(models["val_iou"].fillna(-1)) == [0.3, -1, 0.5]
    assert models["test_iou"].isna().to_list() == [False, True, True]


def test_read_logs_has_all_columns_where_nothing_but_the_study_is_logged(fake_study):
    study = fake_study()
    study.end({})
    logs = read_logs(study.out)
    assert all(frame.empty for frame in (logs.runs, logs.history, logs.models, logs.scores, logs.openings))
    assert list(logs.scores.columns) == ["arm", "number", "split", "tile", "group", "iou"]
    assert list(logs.openings.columns) == [
        *("arm", "attempt", "event", "at", "why", "tiles_digest", "num_attempts", "num_studies")
    ]
    assert (logs.models["best_epoch"].dtype, logs.scores["iou"].dtype) == (pd.Int64Dtype(), float)


def test_read_logs_forgets_no_opening_and_counts_none_twice(fake_study):
    study = fake_study()
    study.trial("unet-24", 0, [0.1])
    study.open("unet-24", "opened", num_attempts=1, num_studies=1)
    cut(study.end({"unet-24": (0, 0.1, 0.2)}))  # killed after opening; what comes next does not know of it
    study.opened = []
    study.open("unet-24", "reopened", at="2026-11-20T11:00:00", why="the machine died")
    study.end({"unet-24": (0, 0.1, 0.2)})
    study.opened[0]["why"] = "the machine died; a bug"  # told again, with what has happened since
    study.open("unet-24", "result", at="2026-11-20T12:00:00", num_attempts=2, num_studies=1)
    study.end({"unet-24": (0, 0.1, 0.2)})
    openings = read_logs(study.out).openings
    assert list(openings["event"]) == ["opened", "reopened", "result"]
    assert list(openings["why"].fillna("")) == ["", "the machine died; a bug", ""]
    assert openings["num_attempts"].max() == 2


def test_read_logs_notes_which_epochs_are_missing_where_a_file_ends_between_two_records(fake_study):
    study = fake_study()
    path = study.trial("unet-24", 0, [0.1, 0.2, 0.3])
    study.end({})
    whole = path.read_bytes()
    found: dict[int, tuple[str, ...]] = {}
    ends = [size for size in range(len(whole), 6, -1) if split_records(whole[:size])[1] is None]
    assert len(ends) > 10
    for size in ends:
        path.write_bytes(whole[:size])
        run = read_run(path, [])
        num_epochs = 0 if run is None else sum("epoch" in row for row in run.rows)
        if num_epochs not in found:
            found[num_epochs] = read_logs(study.out).notes
    assert found.pop(3) == ()
    assert sorted(found) == [0, 1, 2]
    for num_epochs, notes in found.items():
        assert notes[-1] == f"The logs of unet-24, trial 0, hold {num_epochs} of its 3 epochs."


@pytest.mark.parametrize("size", [0, 3, 7, 20])
def test_read_logs_notes_a_file_that_is_cut_before_it_says_which_run_it_is(fake_study, size: int):
    study = fake_study()
    path = study.trial("unet-24", 0, [0.1])
    study.end({})
    path.write_bytes(path.read_bytes()[:size])
    logs = read_logs(study.out)
    assert states(logs) == {("unet-24", 0): "finished"}
    left_out, missing = logs.notes[-2:]
    assert left_out.startswith(f"{path.parent.name}/{path.name} ({size} bytes) does not ")
    assert left_out.endswith(": it is left out.")
    assert missing == "The logs of unet-24, trial 0, hold 0 of its 1 epochs."


def test_read_logs_keeps_the_models_of_a_study_that_was_resumed_and_ended_before_it_scored_any(fake_study):
    """More seeds were asked for and interrupted, or another look was refused: nothing is taken back."""
    study = fake_study()
    study.trial("unet-24", 0, [0.5])
    study.model("unet-24", 0, values=[0.5], val_iou=0.5, test_iou=0.4, test_tile_iou={"e1": 0.4})
    study.end({"unet-24": (0, 0.5, 0.6)}, tested=("unet-24",))
    study.models.clear()
    study.end({"unet-24": (0, 0.5, 0.6)})
    logs = read_logs(study.out)
    assert logs.models["test_iou"].tolist() == [0.4]
    assert logs.scores["iou"].tolist() == [0.4]
    assert set(logs.images["split"]) == {"test"}


def test_read_logs_leaves_out_models_of_an_earlier_selection(fake_study):
    study = fake_study()
    study.trial("unet-24", 0, [0.5])
    study.trial("unet-24", 1, [0.7])
    study.model("unet-24", 0, values=[0.5], val_iou=0.5, test_iou=0.4, confirms="sig-unet-24-0")
    study.end({"unet-24": (0, 0.5, 0.6)})
    assert len(read_logs(study.out).models) == 1
    study.models.clear()
    study.end({"unet-24": (1, 0.7, 0.8)})
    logs = read_logs(study.out)
    assert logs.models.empty
    assert "The final models of unet-24 are of an earlier selection, so they are left out." in logs.notes
