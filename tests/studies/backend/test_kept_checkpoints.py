"""Which checkpoints are kept: the best of whatever can still be selected or is tested, and what open trials need."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.backend.kept_checkpoints import Checkpoints
from studies.files.folder import trial_folder
from studies.search.coordinator import Coordinator
from studies.search.plans import Finals, first_plan
from studies.spec import StudySpec
from tests.studies.reports import epoch_report
from tests.studies.search.in_memory import coordinate
from trainables.checkpoints import BEST, NEWEST
from trainables.config import Recipe


def start(**changes: Any) -> Coordinator:
    settings = {"architectures": ("unet",), "tiles": (24,), "trials": 4, "seeds": 3, "grace_epochs": 1}
    spec = StudySpec.model_validate(settings | {"recipe": Recipe(epochs=2)} | changes)
    return coordinate(spec, first_plan(spec, {}, 24))


def end_all(coordinator: Coordinator, out: Path, values: Sequence[float]) -> Checkpoints:
    """Every trial saves two checkpoints and runs its course to a value; negative ones diverge."""
    checkpoints, (arm,) = Checkpoints(coordinator, out), coordinator.arms
    while (job := coordinator.next()) is not None:
        folder = trial_folder(out, arm.name, job.number)
        folder.mkdir(parents=True)
        for name in (BEST, NEWEST):
            (folder / name).write_text(str(job.number))
        value = values[job.number]
        if value < 0:
            coordinator.fail((arm, job.number), "diverged", "the training loss is nan")
        else:
            coordinator.report((arm, job.number), epoch_report(2, value, ended="epochs"))
        checkpoints.trial_ended(job)
    return checkpoints


def kept(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out / "checkpoints" / "unet-24")) for path in out.rglob("*.pt"))


def test_search_keeps_the_best_checkpoint_of_its_leader(tmp_path):
    end_all(start(), tmp_path, [0.3, 0.5, -1.0, 0.4])
    assert kept(tmp_path) == ["0001/best.pt"]


def test_final_models_all_keep_their_best(tmp_path):
    coordinator = start(phase="phase1_comparison")
    assert isinstance(coordinator.plan, Finals)
    end_all(coordinator, tmp_path, [0.3, -1.0, 0.5])
    assert kept(tmp_path) == ["0000/best.pt", "0002/best.pt"]


def test_grid_has_the_checkpoint_of_what_it_selects(tmp_path):
    """Four values, three times: trial 0 stands for the value with the best mean, but did not lead when it ended."""
    coordinator = start(vary="decoder_dropout")
    end_all(coordinator, tmp_path, [0.6, 0.9, 0.1, 0.1, 0.7, 0.1, 0.1, 0.1, 0.5, 0.1, 0.1, 0.1])
    selected = coordinator.selection(coordinator.arms[0])
    assert selected is not None
    assert selected.number == 0
    assert kept(tmp_path) == ["0000/best.pt"]


def test_what_a_killed_driver_left_is_tidied_by_the_next(tmp_path):
    coordinator = start()
    end_all(coordinator, tmp_path, [0.3, 0.5, 0.2, 0.4])
    arm = coordinator.arms[0]
    for number in (0, 1):
        folder = trial_folder(tmp_path, arm.name, number)
        folder.mkdir(exist_ok=True)
        (folder / NEWEST).write_text("left")
    Checkpoints(coordinator, tmp_path)
    assert kept(tmp_path) == ["0001/best.pt"]
