"""Checks what is read of studies that were resumed, killed, extended or confirmed, and of files that are incomplete."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.report import write_report
from analysis.wandb_logs import read_logs, read_run


def epochs(logs, arm: str, number: int) -> list[int]:
    return list(logs.history.loc[(logs.history["arm"] == arm) & (logs.history["number"] == number), "epoch"])


def states(logs) -> dict[tuple[str, int], str]:
    return dict(zip(zip(logs.runs["arm"], logs.runs["number"], strict=True), logs.runs["state"], strict=True))


def cut(path: Path) -> None:
    """Takes the end of a run away, as when its process is killed."""
    path.write_bytes(path.read_bytes()[:-8])


def log_epochs(study, arm: str, number: int, first: int, last: int) -> None:
    """Logs a run of a trial with only some of its epochs."""
    run = study.run(job_type="trial", config={"study": study.name, "arm": arm, "trial": number})
    for epoch in range(first, last + 1):
        run.log({"epoch": epoch, study.metric: epoch / 10, "epoch_seconds": 1.0, "micro_batch_size": 2})
    run.finish()


def test_read_logs_finds_all_epochs_of_a_trial_whose_runs_overlap_or_do_not(fake_study):
    study = fake_study()
    log_epochs(study, "unet-24", 0, 1, 3)
    log_epochs(study, "unet-24", 0, 2, 4)
    log_epochs(study, "unet-24", 0, 5, 6)
    study.end({})
    logs = read_logs(study.out)
    assert epochs(logs, "unet-24", 0) == [1, 2, 3, 4, 5, 6]
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
    assert write_report(study.out).notes == logs.notes


def test_read_logs_takes_what_a_killed_study_selected_where_the_run_before_it_selected_nothing(fake_study):
    study = fake_study()
    study.trial("unet-24", 0, [0.1])
    study.end({})
    study.confirm("unet-24", 0, val_iou=0.1)
    cut(study.end({"unet-24": (0, 0.1, 0.2)}))
    logs = read_logs(study.out)
    assert list(logs.selection["number"]) == [0]
    assert list(logs.confirmations["val_iou"]) == [0.1]
    assert logs.notes[-1].startswith("The study's run has not ended: ")


def test_read_logs_returns_the_last_confirmation_of_each_seed_in_the_order_of_the_arms(fake_study):
    study = fake_study()
    study.trial("unet-24", 0, [0.1])
    study.trial("sam_conv-24", 0, [0.1])
    study.confirm("sam_conv-24", 0, val_iou=0.5, val_f1=0.6)
    study.confirm("unet-24", 1, state="diverged")
    study.confirm("unet-24", 0, val_iou=0.2)
    study.confirm("unet-24", 0, val_iou=0.3, test_iou=0.25, test_f1=0.4, best_epoch=7, micro_batch_size=2)
    study.end({"unet-24": (0, 0.1, 0.2), "sam_conv-24": (0, 0.1, 0.2)})
    confirmations = read_logs(study.out).confirmations
    keys = list(zip(confirmations["arm"], confirmations["number"], confirmations["state"], strict=True))
    assert keys == [("unet-24", 0, "finished"), ("unet-24", 1, "diverged"), ("sam_conv-24", 0, "finished")]
    assert confirmations.iloc[0].to_dict() == {
        "arm": "unet-24",
        "number": 0,
        "init_seed": 100,
        "draw_seed": 200,
        "signature": "new-unet-24-0",
        "state": "finished",
        "val_iou": 0.3,
        "val_f1": pytest.approx(float("nan"), nan_ok=True),
        "test_iou": 0.25,
        "test_f1": 0.4,
        "best_epoch": 7,
        "micro_batch_size": 2,
        "attempt": "unet-24-a",
    }
    assert confirmations["test_iou"].isna().to_list() == [False, True, True]
    assert confirmations["best_epoch"].dtype == pd.Int64Dtype()


def test_read_logs_has_no_confirmations_and_openings_where_none_are_logged(fake_study):
    study = fake_study()
    study.end({})
    logs = read_logs(study.out)
    assert logs.confirmations.empty
    assert logs.openings.empty
    assert list(logs.openings.columns) == [
        *("arm", "attempt", "event", "at", "why", "tiles_digest", "num_attempts", "num_studies"),
    ]


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
    for size in range(len(whole), 6, -1):
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


def test_read_logs_says_how_many_runs_are_offline_that_should_have_been_online(fake_study):
    study = fake_study()
    study.segment("unet-24", 0, [0.1], config={"wandb_mode": "offline, since the server could not be reached"})
    study.segment("unet-24", 1, [0.1])
    study.end({})
    assert read_logs(study.out).notes == (
        "1 of 3 W&B runs are offline, since the server could not be reached: "
        f"`wandb sync {study.out}/wandb/offline-run-*` uploads them.",
    )
