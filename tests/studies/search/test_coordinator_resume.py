"""Going on from the ledger, without Ray: whatever write a study is killed at, it decides what it would have decided."""

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from studies.search.coordinator import MAX_LOSSES, Coordinator
from studies.search.ledger import Ledger
from studies.search.plans import Finals, Search
from studies.search.trials import Trial
from studies.spec import Arm, StudySpec
from tests.studies.reports import epoch_report
from trainables.common.errors import UserError
from trainables.config import Recipe

EPOCHS = 4


class KilledError(BaseException):
    """What a kill looks like to a test: nothing after it is written."""


class MortalLedger(Ledger):
    """Is killed before its write number `dies_at`, counted over all kinds of writes."""

    def __init__(self, path: Path, arms: dict[str, str], dies_at: float = math.inf):
        self.writes, self.dies_at = 0, math.inf
        super().__init__(path, arms, study_id="one")
        self.dies_at = dies_at
        for name in ("create_new_trial", "set_trial_user_attr", "set_trial_intermediate_value"):
            self._mortal(self._storage, name)
        for study in self._studies.values():  # its own storage caches, and tells states
            self._mortal(study._storage, "create_new_trial")
            self._mortal(study._storage, "set_trial_state_values")

    def _mortal(self, owner: Any, name: str) -> None:
        write = getattr(owner, name)

        def dying(*arguments: Any, **named: Any) -> Any:
            self.writes += 1
            if self.writes >= self.dies_at:
                raise KilledError
            return write(*arguments, **named)

        setattr(owner, name, dying)


def make_spec(**changes: object) -> StudySpec:
    settings = {"architectures": ("unet",), "tiles": (5, 24), "trials": 5, "grace_epochs": 1, "reduction_factor": 2}
    return StudySpec.model_validate(settings | {"recipe": Recipe(epochs=EPOCHS)} | changes)


def make(path: Path, spec: StudySpec | None = None, dies_at: float = math.inf) -> Coordinator:
    spec = spec or make_spec()
    ledger = MortalLedger(path / "optuna.db", {arm.name: arm.architecture for arm in spec.arms()}, dies_at)
    return Coordinator(spec, ledger, Search(spec))


def judged(coordinator: Coordinator, arm: Arm, number: int, epoch: int) -> float:
    """A curve that rises with the epochs and crosses those of other trials."""
    lr = coordinator.trials[arm, number].config.lr
    return round(0.8 - 0.2 * abs(math.log10(lr / 2e-3)) - (0.1 + 0.05 * (number % 3)) / epoch, 6)


def take(coordinator: Coordinator) -> Trial:
    trial = coordinator.next()
    assert trial is not None
    return trial


def run(coordinator: Coordinator, checkpoint_every: int = 2) -> None:
    """One worker, which takes trials up after the last epoch that has a checkpoint and repeats the ones after it."""
    while (job := coordinator.next()) is not None:
        first = job.epoch // checkpoint_every * checkpoint_every + 1
        for epoch in range(first, EPOCHS + 1):
            best = max(judged(coordinator, job.arm, job.number, e) for e in range(1, epoch + 1))
            if coordinator.report(
                job.key,
                epoch_report(epoch, best, ended="epochs" if epoch == EPOCHS else ""),
            ):
                break


def written(coordinator: Coordinator) -> list[Any]:
    """All that decides what a study comes to."""
    return [
        (
            arm.name,
            trial.number,
            trial.params,
            trial.intermediate_values,
            trial.state,
            trial.value if trial.state == TrialState.COMPLETE else None,
            trial.user_attrs["stop"],
            trial.user_attrs["outcome"],
            trial.user_attrs["epochs"],
        )
        for arm in coordinator.arms
        for trial in coordinator.ledger.trials(arm.name)
    ]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    coordinator = make(tmp_path_factory.mktemp("reference"))
    run(coordinator)
    assert coordinator.is_complete
    outcomes = {progress.outcome for progress in coordinator.trials.values()}
    assert outcomes == {"finished", "stopped"}
    return coordinator


def rungs(coordinator: Coordinator) -> dict[str, Any]:
    return {arm.name: coordinator.ladders[arm].rungs for arm in coordinator.arms}


def selection(coordinator: Coordinator) -> list[Any]:
    found = [coordinator.selection(arm) for arm in coordinator.arms]
    return [(one.number, one.config, one.best, one.best_epoch) for one in found if one]


# The writes of the reference lie between 150 and 200; every seventh of them takes a few seconds
@pytest.mark.parametrize("dies_at", range(2, 200, 7))
def test_study_killed_at_any_write_comes_to_the_same(reference: Coordinator, tmp_path: Path, dies_at: int) -> None:
    coordinator = make(tmp_path, dies_at=dies_at)
    try:
        run(coordinator)
    except KilledError:
        pass
    else:
        assert coordinator.ledger.writes < dies_at, "it wrote so often and was not killed"  # type: ignore[attr-defined]
    coordinator = make(tmp_path)
    run(coordinator)
    assert coordinator.is_complete
    assert written(coordinator) == written(reference)
    assert rungs(coordinator) == rungs(reference)
    assert selection(coordinator) == selection(reference)


def test_study_killed_over_and_over_comes_to_the_same(reference: Coordinator, tmp_path: Path) -> None:
    """Each driver gets a few writes further only."""
    for _ in range(200):
        coordinator = make(tmp_path, dies_at=16)
        try:
            run(coordinator)
        except KilledError:
            continue
        break
    assert coordinator.is_complete
    assert written(coordinator) == written(reference)
    assert rungs(coordinator) == rungs(reference)


def test_resumed_complete_study_writes_nothing(reference: Coordinator) -> None:
    path = Path(reference.ledger._storage.engine.url.database)
    again = make(path.parent)
    run(again)
    assert again.ledger.writes == 0  # type: ignore[attr-defined]


def test_interrupted_trials_go_on_before_new_ones_and_in_their_order(tmp_path: Path) -> None:
    first = make(tmp_path)
    jobs = [first.next() for _ in range(3)]
    started = [(job.arm, job.number) for job in jobs if job]
    first.report(started[1], epoch_report(1, 0.5, seconds=2.0))
    again = make(tmp_path)
    resumed = [again.next() for _ in range(4)]
    assert [(job.arm, job.number) for job in resumed[:3] if job] == started
    assert [job.epoch for job in resumed if job] == [0, 1, 0, 0]
    assert resumed[3] is not None
    assert (resumed[3].arm, resumed[3].number) not in started
    assert again.trials[started[1]].seconds == 2.0


def test_repeated_epochs_are_booked_as_lost_and_their_first_record_stands(tmp_path: Path) -> None:
    coordinator = make(tmp_path)
    job = take(coordinator)
    for epoch, best in ((1, 0.3), (2, 0.5)):
        coordinator.report(job.key, epoch_report(epoch, best, seconds=10.0))
    again = make(tmp_path)
    again.next()
    for epoch, best in ((1, 0.3), (2, 0.4), (3, 0.45)):  # another device repeats it a little worse
        again.report(job.key, epoch_report(epoch, best, seconds=7.0))
    progress = again.trials[job.arm, 0]
    assert (progress.epoch, progress.best, progress.best_epoch) == (3, 0.5, 2)
    assert (progress.seconds, progress.lost_epochs, progress.lost_seconds) == (27.0, 2, 14.0)
    assert again.ledger.trials(job.arm.name)[0].intermediate_values == {1: 0.3, 2: 0.5, 3: 0.5}
    assert make(tmp_path).trials[job.arm, 0].lost_seconds == 14.0


def test_trial_that_ends_earlier_when_repeated_ends_with_what_is_on_record(tmp_path: Path) -> None:
    coordinator = make(tmp_path)
    job = take(coordinator)
    for epoch in (1, 2, 3):
        coordinator.report(job.key, epoch_report(epoch, 0.5, best_epoch=1))
    again = make(tmp_path)
    again.next()
    assert again.report(job.key, epoch_report(2, 0.5, best_epoch=1, ended="early stopping"))
    progress = again.trials[job.arm, 0]
    assert (progress.outcome, progress.epoch) == ("finished", 3)


def test_allowance_that_grows_extends_every_arm(reference: Coordinator, tmp_path: Path) -> None:
    run(make(tmp_path))
    extended = make(tmp_path, make_spec(trials=7))
    run(extended)
    assert [len(extended.of_arm(arm)) for arm in extended.arms] == [7, 7]
    before = {row[:2]: row for row in written(reference)}
    after = {row[:2]: row for row in written(extended)}
    assert {key: after[key] for key in before} == before


def test_ledger_of_other_settings_is_refused(tmp_path: Path) -> None:
    make(tmp_path).next()
    with pytest.raises(
        UserError, match=r"trial 0 of unet-5 has the signature \w{16} in the ledger, but \w{16} by this"
    ):
        make(tmp_path, make_spec(recipe=Recipe(epochs=EPOCHS, weight_decay=0.5)))


# Workers that are lost


def test_trial_that_lost_its_worker_goes_on_first_and_fails_when_no_worker_survives(tmp_path: Path) -> None:
    coordinator = make(tmp_path)
    job = take(coordinator)
    for _ in range(MAX_LOSSES - 1):
        coordinator.lose(job.key, "its worker was lost")
        take(coordinator)
    coordinator.report(job.key, epoch_report(1, 0.5))  # an epoch: it is not the trial that kills them
    for _ in range(MAX_LOSSES - 1):
        coordinator.lose(job.key, "its worker was lost")
        again = take(coordinator)
        assert (again.arm, again.number, again.epoch) == (job.arm, 0, 1)
    coordinator = make(tmp_path)  # losses count over drivers
    coordinator.next()
    coordinator.lose(job.key, "its worker was lost")
    progress = coordinator.trials[job.arm, 0]
    assert (progress.outcome, progress.reason) == ("failed", "lost 3 workers in epoch 2: its worker was lost")
    assert coordinator.ledger.trials(job.arm.name)[0].state == TrialState.FAIL


def test_losses_of_an_epoch_that_is_done_do_not_count_after_a_resume(tmp_path: Path) -> None:
    coordinator = make(tmp_path)
    job = take(coordinator)
    for _ in range(MAX_LOSSES - 1):
        coordinator.lose(job.key, "its worker was lost")
        coordinator.next()
    coordinator.report(job.key, epoch_report(1, 0.5))
    again = make(tmp_path)
    again.next()
    again.lose(job.key, "its worker was lost")
    assert again.trials[job.arm, 0].outcome is None


def test_cost_that_was_written_ahead_of_an_epoch_is_not_booked_twice(tmp_path: Path) -> None:
    coordinator = make(tmp_path)
    job = take(coordinator)
    coordinator.report(job.key, epoch_report(1, 0.5, seconds=10.0))
    ledger = coordinator.ledger
    ledger.report = lambda *_: (_ for _ in ()).throw(KilledError)  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        coordinator.report(job.key, epoch_report(2, 0.6, seconds=7.0))
    assert ledger.trials(job.arm.name)[0].user_attrs["cost"]["seconds"] == 17.0
    again = make(tmp_path)
    again.next()
    assert again.trials[job.arm, 0].seconds == 10.0
    again.report(job.key, epoch_report(2, 0.6, seconds=8.0))
    assert again.trials[job.arm, 0].seconds == 18.0


def test_trial_that_was_taken_back_is_not_taken_back_twice(tmp_path: Path) -> None:
    coordinator = make(tmp_path)
    job = take(coordinator)
    coordinator.interrupt(job.key)
    coordinator.lose(job.key, "late news")
    coordinator.interrupt(job.key)
    following = [coordinator.next(), coordinator.next()]
    assert [(j.arm.name, j.number) for j in following if j] == [("unet-5", 0), ("unet-24", 0)]


# Memory


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(8, [4, 2]), (4, [2]), (5, [2]), (7, [3]), (2, []), (3, [])], ids=str
)
@pytest.mark.parametrize("has_company", [True, False])
def test_out_of_memory_is_tried_alone_then_in_smaller_micro_batches_and_never_the_same_twice(
    tmp_path: Path, batch_size: int, sizes: list[int], has_company: bool
) -> None:
    spec = make_spec(recipe=Recipe(epochs=EPOCHS, batch_size=batch_size))
    tried = []
    coordinator = make(tmp_path, spec)
    while (job := coordinator.next()) is not None and job.number == 0 and job.arm == coordinator.arms[0]:
        tried.append((job.is_alone, job.micro_batch_size))
        coordinator.out_of_memory(job.key, "out of memory on cuda", has_company=has_company)
        coordinator = make(tmp_path, spec)  # a driver that goes on knows what was tried
    alone = [(True, 0)] if has_company else []
    assert tried == [(False, 0), *alone, *((True, size) for size in sizes)]
    progress = coordinator.trials[coordinator.arms[0], 0]
    assert (progress.outcome, progress.reason) == ("out of memory", "out of memory on cuda")
    assert progress.micro_batch_size == (sizes[-1] if sizes else 0)


# Final models


def test_confirmation_retrains_the_chosen_with_new_seeds_to_the_end(reference: Coordinator, tmp_path: Path) -> None:
    spec = make_spec(seeds=3)
    chosen = {arm: best.config for arm in reference.arms if (best := reference.selection(arm)) is not None}
    plan = Finals.confirming(spec, chosen, 24)
    labels = {arm.name: arm.architecture for arm in plan.arms}
    coordinator = Coordinator(spec, MortalLedger(tmp_path / "optuna.db", labels), plan)
    run(coordinator)
    assert coordinator.is_complete
    seeds = {}
    for arm, config in zip(plan.arms, chosen.values(), strict=True):
        configs = [progress.config for progress in coordinator.of_arm(arm)]
        assert arm.name == f"{arm.architecture}-{arm.tiles}-confirmation-{config.signature()[:8]}"
        assert [progress.epoch for progress in coordinator.of_arm(arm)] == [EPOCHS] * 3
        for one in configs:
            same = one.model_copy(
                update={
                    "init_seed": config.init_seed,
                    "recipe": one.recipe.model_copy(update={"draw_seed": config.recipe.draw_seed}),
                }
            )
            assert same == config
        seeds[arm] = [(one.init_seed, one.recipe.draw_seed) for one in configs]
        assert len({seed for pair in seeds[arm] for seed in pair}) == 6
        assert not {config.init_seed, config.recipe.draw_seed} & {seed for pair in seeds[arm] for seed in pair}
    assert len(set(map(tuple, seeds.values()))) == 1  # the same draws for every arm
