"""Checks what is read of studies that were resumed, killed or extended, and of files that are incomplete."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.logs.record_log import split_records
from analysis.logs.wandb_files import read_logs
from analysis.logs.wandb_run import read_run
from tests.analysis.made_up import MadeUp, write_run


def epochs(logs, arm: str, number: int) -> list[int]:
    return list(logs.history.loc[(logs.history["arm"] == arm) & (logs.history["number"] == number), "epoch"])


def states(logs) -> dict[tuple[str, int], str]:
    return dict(zip(zip(logs.runs["arm"], logs.runs["number"], strict=True), logs.runs["state"], strict=True))


def cut(path: Path) -> None:
    """Takes the end of a run away, as when its process is killed."""
    path.write_bytes(path.read_bytes()[:-8])


def test_read_logs_joins_the_runs_of_a_trial_whether_they_overlap_or_not(tmp_path: Path):
    study = MadeUp("unet")
    config = {"study": "demo", "stage": "search", "arm": "unet-24", "run_arm": "unet-24", "trial": 0}
    for epochs in ([1, 2, 3], [2, 4], [5, 6]):  # the second begins with an epoch that the first one has
        logged = [
            {"epoch": epoch, "val/iou": epoch / 10, "epoch_seconds": 1.0, "micro_batch_size": 2}
            | ({"val/loss": 10 * epochs[0]} if epochs[0] > 1 else {})
            for epoch in epochs
        ]
        write_run(tmp_path, "trial", config, logged)
    study.write(tmp_path)
    logs = read_logs(tmp_path)
    assert logs.history[["epoch", "val/loss"]].fillna(0).to_numpy().tolist() == [
        *([1, 0], [2, 0], [3, 0]),  # the first record of an epoch stands, with all its numbers
        *([4, 20], [5, 50], [6, 50]),
    ]
    (row,) = logs.runs.to_dict("records")
    assert (row["epochs"], row["best_epoch"], row["micro_batch_size"], row["num_segments"]) == (6, 6, 2, 3)


def test_read_logs_copes_with_three_segments_of_which_the_newest_is_torn(tmp_path: Path):
    study = MadeUp("unet", phase="phase2_tuning")
    study.trial("unet-24", 0, [0.1, 0.2], "interrupted")
    study.trial("unet-24", 1, [0.3])
    study.write(tmp_path)
    study.rows = study.rows[1:]  # a resumed study tells every ended trial again
    study.trial("unet-24", 0, [0.1, 0.2, 0.4])
    study.select("unet-24", 0, 0.4)
    study.write(tmp_path)
    study.arms["unet-24"]["trials"] = 6
    study.trial("unet-24", 2, [0.6])
    study.forget("selection")
    study.select("unet-24", 2, 0.6)
    cut(study.write(tmp_path))
    logs = read_logs(tmp_path)
    assert states(logs) == {("unet-24", 0): "finished", ("unet-24", 1): "finished", ("unet-24", 2): "finished"}
    assert epochs(logs, "unet-24", 0) == [1, 2, 3]
    assert list(logs.selection["number"]) == [0]
    assert [arm["trials"] for arm in logs.study["arms"]] == [6]
    torn, unended = logs.notes
    assert " is torn at byte " in torn
    assert unended.startswith("The study's newest run has not ended: ")


def test_read_logs_takes_what_a_killed_study_selected_where_the_run_before_it_selected_nothing(tmp_path: Path):
    study = MadeUp("unet", phase="phase2_tuning")
    study.trial("unet-24", 0, [0.1])
    study.write(tmp_path)
    logs = read_logs(tmp_path)
    assert all(frame.empty for frame in (logs.selection, logs.models, logs.scores, logs.openings))
    assert list(logs.scores.columns) == ["arm", "number", "split", "tile", "group", "iou"]
    assert list(logs.openings.columns) == [
        *("arm", "attempt", "event", "at", "test_set", "why", "tiles_digest", "num_attempts", "num_studies")
    ]
    assert (logs.models["best_epoch"].dtype, logs.scores["iou"].dtype) == (pd.Int64Dtype(), float)
    study.model("unet-24", val=[0.1, 0.1])
    study.select("unet-24", 0, 0.1)
    cut(study.write(tmp_path))
    logs = read_logs(tmp_path)
    assert list(logs.selection["number"]) == [0]
    assert list(logs.models["val_iou"]) == [0.1]
    assert logs.notes[-1].startswith("The study's run has not ended: ")


def test_read_logs_returns_the_last_row_of_each_model_in_the_order_of_the_arms(tmp_path: Path):
    study = MadeUp("unet", "sam_conv")
    study.model("sam_conv-24", val_iou=0.5)
    study.model("unet-24", number=1, state="diverged")
    study.model("unet-24", number=0, val_iou=0.2)
    study.write(tmp_path)
    study.model("unet-24", number=0, val_iou=0.3, test_iou=0.25)
    study.write(tmp_path)  # resumed: tells all of them again
    models = read_logs(tmp_path).models
    keys = list(zip(models["arm"], models["number"], models["state"], strict=True))
    assert keys == [("unet-24", 0, "finished"), ("unet-24", 1, "diverged"), ("sam_conv-24", 0, "finished")]
    assert list(models["val_iou"].fillna(-1)) == [0.3, -1, 0.5]
    assert models["test_iou"].isna().to_list() == [False, True, True]


def test_read_logs_forgets_no_opening_and_counts_none_twice(tmp_path: Path):
    study = MadeUp("unet")
    study.open("unet-24", at="10:00")
    cut(study.write(tmp_path))  # killed after opening; what comes next does not know of it
    study.forget("opening")
    study.open("unet-24", "reopened", at="11:00", why="the machine died")
    study.write(tmp_path)
    study.forget("opening")
    study.open("unet-24", "reopened", at="11:00", why="the machine died; a bug")  # with what has happened since
    study.open("unet-24", "result", at="12:00", num_attempts=2)
    study.write(tmp_path)
    openings = read_logs(tmp_path).openings
    assert list(openings["event"]) == ["opened", "reopened", "result"]
    assert list(openings["why"].fillna("")) == ["", "the machine died; a bug", ""]
    assert openings["num_attempts"].max() == 2


def test_read_logs_notes_which_epochs_are_missing_where_a_file_ends_between_two_records(tmp_path: Path):
    study = MadeUp("unet")
    study.trial("unet-24", 0, [0.1, 0.2, 0.3])
    study.write(tmp_path)
    (path,) = study.paths
    whole = path.read_bytes()
    found: dict[int, tuple[str, ...]] = {}
    ends = [size for size in range(len(whole), 6, -1) if split_records(whole[:size])[1] is None]
    assert len(ends) >= 10
    for size in ends:
        path.write_bytes(whole[:size])
        run = read_run(path, [])
        num_epochs = 0 if run is None else len(run.rows)
        if num_epochs not in found:
            found[num_epochs] = read_logs(tmp_path).notes
    assert found.pop(3) == ()
    assert sorted(found) == [0, 1, 2]
    for num_epochs, notes in found.items():
        assert notes[-1] == f"The logs of unet-24, trial 0, hold {num_epochs} of its 3 epochs."


@pytest.mark.parametrize("size", [0, 3, 7, 20])
def test_read_logs_notes_a_file_that_is_cut_before_it_says_which_run_it_is(tmp_path: Path, size: int):
    study = MadeUp("unet")
    study.trial("unet-24", 0, [0.1])
    study.write(tmp_path)
    (path,) = study.paths
    path.write_bytes(path.read_bytes()[:size])
    logs = read_logs(tmp_path)
    assert states(logs) == {("unet-24", 0): "finished"}
    left_out, missing = logs.notes[-2:]
    assert left_out.startswith(f"{path.parent.name}/{path.name} ({size} bytes) does not ")
    assert left_out.endswith(": it is left out.")
    assert missing == "The logs of unet-24, trial 0, hold 0 of its 1 epochs."


def test_read_logs_keeps_the_models_of_a_study_that_scored_none_again_and_leaves_out_those_of_an_earlier_selection(
    tmp_path: Path,
):
    study = MadeUp("unet", phase="phase2_tuning")
    for number, iou in enumerate((0.5, 0.7)):
        study.trial("unet-24", number, [iou])
    study.select("unet-24", 0, 0.5)
    study.model("unet-24", test=[0.4], confirms="sig-unet-24-0")
    study.picture("unet-24", tmp_path, ["north-1"])
    study.write(tmp_path)
    study.forget("model")
    study.write(tmp_path)  # more seeds were asked for and interrupted, or another look was refused
    logs = read_logs(tmp_path)
    assert logs.models["test_iou"].tolist() == logs.scores["iou"].tolist() == [0.4]
    assert set(logs.images["split"]) == {"test"}
    study.forget("selection")
    study.select("unet-24", 1, 0.7)
    study.write(tmp_path)
    logs = read_logs(tmp_path)
    assert logs.models.empty
    assert "The final models of unet-24 are of an earlier selection, so they are left out." in logs.notes
