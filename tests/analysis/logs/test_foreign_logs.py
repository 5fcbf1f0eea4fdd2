"""Checks what is read where several studies, or other programs, have logged, and what is said of mistakes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.logs.run_configs import ArmFacts, StudyRunConfig, required
from analysis.logs.wandb_files import LogsError, logs_of, read_logs
from analysis.logs.wandb_run import LoggedRun
from tests.analysis.made_up import MadeUp, arm_facts, study_config

ARM = arm_facts("unet", 5)
STUDY = study_config("mine", [ARM])
ARM_KEYS = [f"arms/{key}" for key in required(ArmFacts)]
NEEDED = [key for key in required(StudyRunConfig) if key != "study"]


def logged(job_type: str, config: dict[str, Any], rows: list[dict[str, Any]] | None = None, at: int = 0) -> LoggedRun:
    path = Path(f"project/{job_type}{at}/run-{job_type}{at}.wandb")
    return LoggedRun(path=path, job_type=job_type, start=(at, 0), config=config, rows=rows or [], ended=True)


def study_run(name: str = "mine", at: int = 10, rows: list[dict[str, Any]] | None = None, **config: Any) -> LoggedRun:
    return logged("study", STUDY | {"study": name} | config, rows, at)


def trial_run(number: int = 0, values: tuple[float, ...] = (0.5,), at: int = 1, **config: Any) -> LoggedRun:
    known = {"study": "mine", "arm": "unet-5", "run_arm": "unet-5", "trial": number, "stage": "search"}
    return logged("trial", known | config, [{"epoch": i, "val/iou": v} for i, v in enumerate(values, start=1)], at)


def test_logs_of_joins_rows_as_a_server_gives_them_in_any_order_of_runs():
    ends = {"trial/arm": "unet-5", "trial/run_arm": "unet-5", "trial/number": 1, "trial/stage": "search"}
    rows = [ends | {"trial/state": "stopped", "trial/epochs": 1, "trial/reason": "asha", "_step": 0}]
    first = trial_run(0, (0.2, 0.4), at=1)
    second = trial_run(0, (0.2, 0.3, 0.5), at=2)  # goes on, and has other numbers for epoch 2
    runs = [study_run(rows=rows), second, trial_run(1, (0.9,)), first]
    logs, backward = (logs_of(its, "someone/fewtile", ["Read."]) for its in (runs, runs[::-1]))
    assert logs.runs.equals(backward.runs)
    assert logs.history.equals(backward.history)
    keys = ["number", "state", "epochs", "judged", "num_segments", "run"]
    assert list(logs.runs[keys].fillna(-1).itertuples(index=False, name=None)) == [
        (0, "started", 3, 0.5, 2, "run-trial2"),
        (1, "stopped", 1, -1, 1, "run-trial1"),
    ]
    assert list(logs.history["val/iou"]) == [0.2, 0.4, 0.5, 0.9]
    assert logs.notes == ("Read.",)


@pytest.mark.parametrize("lost", ["arm", "run_arm", "trial", "stage"])
def test_logs_of_leaves_out_runs_of_trials_and_rows_of_the_study_that_do_not_say_what_they_are_of(lost: str):
    lacking = trial_run(1, at=3)
    del lacking.config[lost]
    logs = logs_of([study_run(), trial_run(0), lacking], "someone/fewtile")
    assert list(logs.runs["number"]) == [0]
    assert logs.notes == (
        "1 of 2 runs of trials do not say all of arm, run_arm, trial, stage, such as run-trial3.wandb: "
        "they are left out.",
    )
    row = {"model/arm": "unet-5", "model/number": 0, "model/run_arm": "unet-5", "model/val_iou": 0.5}
    logs = logs_of([study_run(rows=[row, {"model/arm": "unet-5", "model/val_iou": 0.9}])], "someone/fewtile")
    assert list(logs.models["val_iou"]) == [0.5]
    assert logs.notes == (
        "run-study10.wandb has rows model/… that do not say all of arm, number, run_arm: 1 of 2 are left out.",
    )


def test_logs_of_takes_the_newest_study_or_the_one_that_is_named():
    runs = [study_run("mine", 10), study_run("theirs", 20), trial_run(0), trial_run(3, study="theirs")]
    newest = logs_of(runs, "someone/fewtile")
    assert (newest.study["study"], list(newest.runs["number"])) == ("theirs", [3])
    assert newest.notes == ("There are logs of other studies as well (mine): only the newest, theirs, is read.",)
    named = logs_of(runs, "someone/fewtile", study="mine")
    assert (named.study["study"], list(named.runs["number"]), named.notes) == ("mine", [0], ())
    with pytest.raises(LogsError) as caught:
        logs_of(runs, "someone/fewtile", study="other")
    assert str(caught.value) == "someone/fewtile holds no study 'other', but mine, theirs: name one of these"


def test_logs_of_says_where_studies_of_one_name_cannot_be_one():
    logs = logs_of([study_run(at=1, tiles_digest="d"), study_run(at=2, seed=7, tiles_digest="d")], "someone/fewtile")
    assert logs.notes == (
        "The runs of the study mine differ in seed, which no resumed study can: several studies of that name are read "
        "as one.",
    )


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({"study": "foreign"}, NEEDED),
        (STUDY | {"study": "old", "arms": [ARM, {**ARM, "track": None}, {"arm": "unet-24"}]}, ARM_KEYS[1:]),
        (STUDY | {"study": "odd", "arms": "many"}, ARM_KEYS),
    ],
)
def test_logs_of_names_what_another_program_s_study_does_not_say(config: dict[str, Any], missing: list[str]):
    foreign = logged("study", config, at=99)
    with pytest.raises(LogsError) as caught:
        logs_of([foreign], "someone/fewtile")
    told = f"the study's run run-study99.wandb does not say {', '.join(missing)}"
    assert str(caught.value) == f"{told}, but a report needs that: read a study that Fewtile has logged"
    logs = logs_of([foreign, study_run()], "someone/fewtile")
    assert (logs.study["study"], logs.notes) == ("mine", (f"T{told[1:]}: it is left out.",))


def test_logs_of_another_program_are_told_in_one_line():
    runs = [logged("", {"learning_rate": 0.1}, [{"loss": 0.5}]), logged("train", {"study": 3}), trial_run(0)]
    with pytest.raises(LogsError) as caught:
        logs_of(runs, "someone/theirs")
    assert str(caught.value) == (
        "someone/theirs holds 3 readable W&B runs, but none is a study's (job type study): "
        "give the folder or the project that a study logged to"
    )
    assert logs_of([*runs, study_run()], "someone/theirs").runs["number"].to_list() == [0]


def test_logs_of_advises_to_upload_only_where_files_lie_here():
    trial = trial_run(0, wandb_mode="offline, since the server could not be reached")
    assert logs_of([study_run(), trial], "someone/fewtile").notes == ()
    here = replace(trial, path=Path("out/wandb/offline-run-1/run-1.wandb"))
    (note,) = logs_of([study_run(), here], "out").notes
    assert note.startswith("1 of 2 W&B runs are offline")
    assert note.endswith("`wandb sync out/wandb/offline-run-*` uploads them.")


def test_read_logs_reads_the_study_that_is_named(tmp_path: Path):
    for name, value in (("older", 0.9), ("newer", 0.1)):
        study = MadeUp("unet", name=name)
        study.trial("unet-24", 0, [value])
        study.write(tmp_path)
    assert list(read_logs(tmp_path).runs["judged"]) == [0.1]
    assert list(read_logs(tmp_path, "older").runs["judged"]) == [0.9]
