"""What a person watches: durations in words, the time left, and the table of arms."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from studies.backend.progress import ProgressDisplay
from studies.search.coordinator import Coordinator
from studies.search.forecast import seconds_left
from studies.search.ledger import Ledger
from studies.search.plans import Search
from studies.spec import StudySpec
from trainables.config import Recipe


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    architectures = ("unet", "deeplabv3plus_resnet34")
    spec = StudySpec(architectures=architectures, tiles=(24,), trials=2, grace_epochs=2, recipe=Recipe(epochs=4))
    labels = {arm.name: arm.architecture for arm in spec.arms()}
    return Coordinator(spec, Ledger(tmp_path / "optuna.db", labels, study_id="one"), Search(spec))


def test_seconds_left_counts_open_epochs_at_each_arm_s_pace(coordinator: Coordinator) -> None:
    assert seconds_left(coordinator, 2) is None
    fast, slow = coordinator.next(), coordinator.next()
    assert fast is not None
    assert slow is not None
    coordinator.report(fast.arm, 0, 1, 0.5, 1, "", 10.0)
    coordinator.report(slow.arm, 0, 1, 0.5, 1, "", 30.0)
    # Nothing has ended: full courses of 4. Each arm has 3 epochs running and 4 to come: 7 · 10 + 7 · 30 over 2 slots
    assert seconds_left(coordinator, 2) == pytest.approx(140.0)
    coordinator.report(fast.arm, 0, 2, 0.5, 1, "early stopping", 10.0)
    # Ended trials took 2 epochs: fast has 2 to come, slow 1 running and 2 to come
    assert seconds_left(coordinator, 1) == pytest.approx(2 * 10 + 3 * 30)


def test_table_shows_every_arm_in_full_in_80_columns(coordinator: Coordinator) -> None:
    job = coordinator.next()
    assert job is not None
    coordinator.report(job.arm, 0, 1, 0.512, 1, "early stopping", 10.0)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(ProgressDisplay(coordinator, 2, console).render())
    lines = console.export_text().splitlines()
    unet = next(line for line in lines if line.strip().startswith("unet-24 "))
    assert unet.split() == ["unet-24", "1", "0", "0", "–", "1", "0.512", "#0"]
    assert any(line.strip().startswith("deeplabv3plus_resnet34-24 ") for line in lines)


def test_table_and_lines_name_a_random_encoder(tmp_path: Path) -> None:
    spec = StudySpec(architectures=("sam_conv",), tiles=(24,), trials=2, recipe=Recipe(epochs=1, small=True))
    coordinator = Coordinator(
        spec, Ledger(tmp_path / "optuna.db", {"sam_conv-24": "sam_conv"}, study_id="one"), Search(spec)
    )
    job = coordinator.next()
    assert job is not None
    console = Console(width=200, record=True, file=io.StringIO())
    display = ProgressDisplay(coordinator, 1, console)
    coordinator.report(job.arm, 0, 1, 0.512, 1, "epochs", 10.0)
    display.close()
    assert "[1/2] sam_conv-24 (small random encoder) #0 finished (epochs): " in console.export_text(clear=False)
    ProgressDisplay(coordinator, 1, console).close()  # of a study that goes on: what ended before was said then
    assert console.export_text().count("[1/2]") == 1
    for width in (80, 200):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(ProgressDisplay(coordinator, 1, console).render())
        words = console.export_text(clear=False).split()
        assert {"sam_conv-24", "(small", "random", "encoder)"} <= set(words)
