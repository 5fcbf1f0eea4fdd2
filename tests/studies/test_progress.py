"""What a person watches: a line per stage, trial and model in a log, bars and a table of arms on a terminal."""

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from studies import progress as progress_module
from studies.models.scores import ModelScores, ScoringFailure
from studies.progress import StudyProgress, arm_table
from studies.search.coordinator import Coordinator
from studies.search.forecast import Forecast, Sizes
from studies.search.trials import Trial
from tests.studies.begun_study import Study
from tests.studies.reports import epoch_report

SCORES = ModelScores(iou=0.5, f1=0.5, tile_iou={})


def make(folder: Path, *architectures: str, **changes: Any) -> Coordinator:
    settings = {"architectures": list(architectures), "trials": 2, "epochs": 4, "grace_epochs": 2}
    return Study(folder, **settings | changes).coordinator


def begin(coordinator: Coordinator, console: Console) -> StudyProgress:
    progress = StudyProgress(console)
    progress.start(Forecast(coordinator.spec, Sizes(10_000, 40_000, 20_000, 80_000), 1))
    progress.begin("search", coordinator.num_planned, done=coordinator.num_ended, coordinator=coordinator)
    return progress


def end_one(coordinator: Coordinator, seconds: float = 10.0) -> Trial:
    trial = coordinator.next()
    assert trial is not None
    coordinator.report(trial.key, epoch_report(1, 0.512, ended="epochs", seconds=seconds))
    return trial


def seconds_in(line: str) -> float:
    """The estimate that a line ends with."""
    found = re.search(r"about (?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s)? ?left$", line)
    assert found, line
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


@pytest.fixture
def console():
    return Console(width=200, record=True, file=io.StringIO())


@pytest.fixture
def clock(monkeypatch):
    """Stands in for `time`."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def test_every_line_of_a_log_counts_all_stages_to_come(tmp_path, console, clock):
    coordinator = make(tmp_path, "unet", seeds=3)
    progress = begin(coordinator, console)
    for trial in (end_one(coordinator), end_one(coordinator)):
        progress.trial_ended(trial)
    progress.begin("final models", 3)
    progress.begin("validation", 1)
    progress.model_scored((coordinator.arms[0], 1), SCORES, 4.0)
    for stage in ("scoring on val", "scoring on test", "report"):
        progress.begin(stage, 3)
    lines = console.export_text().splitlines()
    later = "validation, scoring on val, scoring on test, report"
    assert lines[0] == f"search: 2 trials; then final models, {later}"
    assert lines[1].startswith("[1/2] unet-24 (base width 16) #0 finished (epochs): best 0.512 in epoch 1 · about ")
    assert lines[3].startswith(f"final models: 3 models; then {later} · about ")
    assert lines[5].startswith("[1/1] unet-24 #1 scored in 4 s · about ")
    estimates = [seconds_in(line) for line in lines[1:]]
    assert estimates == sorted(estimates, reverse=True)
    training = 3 * 1 * 10  # three final models of an epoch, as the trials had
    assert all(estimate > training for estimate in estimates[:3])
    assert lines[-1] == "report · about 25 s left"


def test_first_forecast_is_compared_with_what_it_took(tmp_path, console, clock):
    coordinator = make(tmp_path, "unet", seeds=0)
    progress = begin(coordinator, console)
    assert progress.forecast() is None
    clock.now += 12.0
    progress.trial_ended(end_one(coordinator))
    expected = progress.seconds_left() - 25.0  # that of the report
    clock.now += 33.0
    progress.trial_ended(end_one(coordinator, seconds=99.0))
    assert progress.forecast() == pytest.approx({"after_seconds": 12.0, "left_seconds": expected, "took_seconds": 33.0})


def test_models_that_are_scored_tell_how_long_the_others_take(tmp_path, console, clock):
    coordinator = make(tmp_path, "unet", seeds=0, wandb="disabled")
    progress = begin(coordinator, console)
    end_one(coordinator)
    progress.begin("validation", 5, done=2)  # those cost nothing now
    clock.now += 30.0
    progress.model_scored((coordinator.arms[0], 0), SCORES, 30.0)
    assert progress.seconds_left() == pytest.approx(2 * 30.0)
    progress.skip(1)
    assert progress.seconds_left() == pytest.approx(1 * 30.0)


def test_final_models_are_counted_beside_the_search_that_goes_on(tmp_path, console):
    coordinator, final = make(tmp_path / "a", "unet", seeds=2), make(tmp_path / "b", "deeplabv3plus_resnet34", seeds=2)
    progress = begin(coordinator, console)
    progress.trial_ended(end_one(coordinator))
    progress.begin_beside("final models", 5, done=1, coordinator=final)
    progress.trial_ended(end_one(final))
    progress.begin_beside("final models", 4, done=3, coordinator=final)  # one more was done before, one less is to come
    progress.trial_ended(end_one(coordinator))
    progress.trial_ended(end_one(final))
    lines = [line.partition(" · ")[0].split(" #")[0] for line in console.export_text().splitlines()]
    assert lines[1:3] == [
        "[1/2] unet-24 (base width 16)",
        "final models: 5 models, 1 of them done before; then validation, scoring on val, scoring on test, report",
    ]
    assert lines[3:] == [
        "[2/5] deeplabv3plus_resnet34-24",
        "[2/2] unet-24 (base width 16)",
        "[4/4] deeplabv3plus_resnet34-24",
    ]


def test_more_trials_than_a_stage_was_to_have_end_no_study(tmp_path, console):
    coordinator = make(tmp_path, "unet", seeds=0)
    progress = begin(coordinator, console)
    progress.begin("search", 1, coordinator=coordinator)
    for trial in (end_one(coordinator), end_one(coordinator)):
        progress.trial_ended(trial)
    assert "[2/1] unet-24" in console.export_text()


def test_stage_that_takes_longer_than_expected_is_not_done(tmp_path, console, clock):
    coordinator = make(tmp_path, "unet", seeds=0)
    progress = begin(coordinator, console)
    end_one(coordinator)
    progress.begin("report")
    clock.now += 1000.0
    assert progress.seconds_left() > 0


def test_trials_of_an_earlier_driver_are_counted_and_not_told_again(tmp_path, console):
    coordinator = make(tmp_path, "sam_conv", epochs=1)
    end_one(coordinator)
    progress = begin(coordinator, console)
    progress.trial_ended(end_one(coordinator))
    text = console.export_text()
    assert "1 of them done before" in text
    assert "[1/2]" not in text
    assert "[2/2] sam_conv-24 (small random encoder) #1 finished (epochs): " in text


def test_terminal_has_a_bar_for_each_stage_and_problems_in_words(tmp_path):
    coordinator = make(tmp_path, "unet", seeds=0)
    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True)
    with begin(coordinator, console) as progress:
        progress.trial_ended(end_one(coordinator))
        lines = render(progress)
        assert [line.split()[0] for line in lines[:3]] == ["search", "validation", "report"]
        assert "1/2 trials" in lines[0]
        assert "gone, about " in lines[3]
        assert any(line.strip().startswith("unet-24") for line in lines)
        progress.begin("validation", 2)
        progress.model_scored((coordinator.arms[0], 0), SCORES, 4.0)
        progress.model_scored((coordinator.arms[0], 1), ScoringFailure(reason="no luck"), 4.0)
        lines = render(progress)
        assert "took " in lines[0]
        assert "2/2 models" in lines[1]
    text = console.export_text()
    assert "unet-24 #1 no luck" in text
    assert "scored in" not in text


def render(progress: StudyProgress) -> list[str]:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(progress.render())
    return console.export_text().splitlines()


def test_table_shows_every_arm_in_full(tmp_path):
    coordinator = make(tmp_path, "unet", "deeplabv3plus_resnet34", "sam_conv")
    end_one(coordinator)
    for width in (80, 200):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(arm_table(coordinator))
        text = console.export_text()
        row = next(line for line in text.splitlines() if line.strip().startswith("unet-24 "))
        assert row.split()[-7:] == ["1", "0", "0", "–", "1", "0.512", "#0"]
        assert {"deeplabv3plus_resnet34-24", "sam_conv-24", "(small", "random", "encoder)"} <= set(text.split())
