"""Studies whose trials are put on record without Ray, or wait; and what `python -m studies.status` prints of one."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from studies import stages, status, study
from studies.backend.slots import Slots
from studies.backend.watch import Permit
from studies.command_line import make_spec
from studies.files import folder
from studies.search.coordinator import Coordinator
from studies.search.ledger import Ledger
from studies.search.plans import Finals, first_plan
from studies.search.trials import Outcome, TrialKey
from studies.settings.arms import Arm
from studies.spec import StudySpec
from tests.studies.reports import epoch_report
from trainables.common.command import exit_code

EPOCHS = 3
NUM_TILES = 24
CONV, UNET = Arm("deeplabv3plus_resnet34", 24), Arm("unet", 24)


def keep_ray_away(patch: pytest.MonkeyPatch) -> None:
    """Trials only wait until their time is over."""

    def wait(*_: Any, permit: Permit, **__: Any) -> bool:
        while permit.ending is None:
            permit.check_time()
        return False

    patch.setattr(study, "ray_session", lambda address: contextlib.nullcontext())
    patch.setattr(study, "ray_slots", lambda *_: Slots(count=2, cpus=1, gpus=0.0, alone=(2, 0.0)))
    patch.setattr(study, "is_faster_in_bf16", lambda *_: True)
    patch.setattr(stages, "run_trials", wait)


def study_spec(**changes: object) -> StudySpec:
    settings = {
        "profile": "smoke",
        "architectures": ["unet", "deeplabv3plus_resnet34"],
        "tiles": [24],
        "trials": 6,
        "epochs": EPOCHS,
        "grace_epochs": 1,
        "reduction_factor": 2,
        "seeds": 2,
        "test": True,
    }
    return make_spec(settings | changes)


class Study:
    """A study's folder, with trials that are said to have done something."""

    def __init__(self, out: Path, **changes: object):
        self.out, self.spec = out, study_spec(**changes)
        out.mkdir(parents=True, exist_ok=True)
        labels = {arm.name: arm.architecture for arm in self.spec.arms()}
        self.ledger = Ledger(out / folder.LEDGER, labels, study_id="f00")
        plan = first_plan(self.spec, {}, NUM_TILES)
        self.search = self.coordinator = Coordinator(self.spec, self.ledger, plan)
        provenance = {"study_id": "f00", "segments": [], "weights_digests": {}, "num_train_tiles": NUM_TILES}
        folder.write_study(out, self.spec, provenance)

    def start_again(self, **changes: object) -> None:
        """Goes on with the study, or with one that has grown."""
        self.spec = study_spec(**changes) if changes else self.spec
        folder.write_study(self.out, self.spec, folder.load_settings(self.out / folder.STUDY)[1])

    def confirm(self, *arms: Arm) -> list[Arm]:
        chosen = {arm: one.config for arm in arms if (one := self.search.selection(arm))}
        plan = Finals.confirming(self.spec, chosen, NUM_TILES)
        self.ledger.add_arms({arm.name: arm.architecture for arm in plan.arms})
        self.coordinator = Coordinator(self.spec, self.ledger, plan)
        return list(plan.arms)

    def begin(self) -> TrialKey:
        job = self.coordinator.next()
        assert job is not None
        return job.key

    def epochs(self, trial: TrialKey, best: list[float]) -> None:
        for epoch, value in enumerate(best, start=1):
            self.coordinator.report(
                trial, epoch_report(epoch, value, ended="epochs" if epoch == EPOCHS else "", seconds=100.0)
            )

    def finish(self) -> None:
        """All that is left of the stage."""
        while not self.coordinator.is_complete:
            self.coordinator.next()
            for key, trial in self.coordinator.trials.items():
                if trial.is_running:
                    self.coordinator.report(key, epoch_report(EPOCHS, 0.5, best_epoch=1, ended="epochs"))

    def select(self) -> dict[str, str]:
        """Writes selection.json; the signatures by arm."""
        best = {arm: self.search.selection(arm) for arm in self.search.arms}
        rows = {
            arm.name: {"number": one.number, "signature": one.config.signature()} for arm, one in best.items() if one
        }
        folder.write_json(self.out / "selection.json", rows)
        return {arm: str(row["signature"]) for arm, row in rows.items()}


def fill_search(study: Study) -> None:
    """One of each kind in each arm: finished, stopped, diverged, out of memory, failed, and one that is open."""
    for best in ([0.3, 0.5, 0.61234], [0.2]):  # the second is below the best half at the first rung
        for _ in study.spec.arms():
            study.epochs(study.begin(), best)
    coordinator = study.coordinator
    failures: tuple[tuple[Outcome, dict[Arm, str]], ...] = (
        ("diverged", dict.fromkeys((UNET, CONV), "the training loss is nan in epoch 2")),
        ("out of memory", dict.fromkeys((UNET, CONV), "out of memory on cuda: 80 GiB")),
        ("failed", {UNET: "OSError: [/data/x.tif] is no [image] :x:", CONV: "KeyError: 'roof'"}),
    )
    for outcome, reasons in failures:
        for _ in study.spec.arms():
            arm, _ = trial = study.begin()
            study.epochs(trial, [0.4])
            coordinator.fail(trial, outcome, reasons[arm])
    for _ in study.spec.arms():
        trial = study.begin()
        study.epochs(trial, [0.45])
        coordinator.report(trial, epoch_report(1, 0.45, seconds=50.0))  # repeated, as its worker was lost
        coordinator.report(trial, epoch_report(2, 0.5, seconds=100.0))


def printed(out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    assert exit_code(lambda: status.main([str(out)])) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    return "\n".join(line.rstrip() for line in output.splitlines())
