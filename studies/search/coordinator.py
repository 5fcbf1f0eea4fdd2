"""Who runs next and who stops: equal allowances, suggestions, ASHA's decisions; all in the ledger. Knows no Ray.

A coordinator over a ledger that already holds trials goes on where it ends: trials that ended are known, the others are
handed out again, and every ladder has on its rungs what it had.
"""

from typing import Any

from optuna.trial import FrozenTrial

from studies.search.ledger import Ledger
from studies.search.plans import Plan
from studies.search.trials import Assignment, Outcome, Progress
from studies.spec import Arm, StudySpec
from trainables.common.errors import UserError
from trainables.training import chunk_sizes

MAX_LOSSES = 3
"""Workers that a trial may lose without ending one more epoch, before it counts as failed itself."""

LEAST_MICRO_BATCH = 2
"""Draws; batch norm cannot train on one."""


class Coordinator:
    """Hands out trials arm by arm and judges what they report.

    Args:
        spec: The study.
        ledger: Where every suggestion, value and decision is written, and what a study goes on from.
        plan: The arms and their trials.

    Raises:
        UserError: The ledger's trials are not those of this plan.
    """

    def __init__(self, spec: StudySpec, ledger: Ledger, plan: Plan):
        self.spec, self.ledger, self.plan = spec, ledger, plan
        self.arms = plan.arms
        self.trials: dict[tuple[Arm, int], Progress] = {}
        self._by_arm: dict[Arm, list[Progress]] = {arm: [] for arm in self.arms}
        self.ladders = {arm: plan.ladder(arm) for arm in self.arms}
        self._waiting: list[Progress] = []
        self._restore()

    def of_arm(self, arm: Arm) -> list[Progress]:
        """The arm's trials so far, by number."""
        return self._by_arm[arm]

    @property
    def num_running(self) -> int:
        """Trials that workers have."""
        return sum(progress.is_running for progress in self.trials.values())

    @property
    def is_complete(self) -> bool:
        """Whether every allowance is spent and every trial ended."""
        return all(p.outcome is not None for p in self.trials.values()) and all(
            len(self.of_arm(arm)) >= self.plan.allowance(arm) for arm in self.arms
        )

    def next(self) -> Assignment | None:
        """The next trial: one that was interrupted, else a new one for the arm that has had the fewest.

        None when there is none to hand out: every allowance is spent, though trials may still run and come back.
        """
        progress = self._waiting.pop(0) if self._waiting else self._add()
        if progress is None:
            return None
        progress.is_running = True
        trial = progress.assignment
        progress.assignment = Assignment(
            trial.arm, trial.number, trial.config, progress.epoch, progress.is_alone, progress.micro_batch_size
        )
        return progress.assignment

    def report(
        self,
        arm: Arm,
        number: int,
        epoch: int,
        best: float,
        best_epoch: int,
        ended: str,
        seconds: float,
        is_replayed: bool = False,
    ) -> bool:
        """Takes an epoch's record; True when the trial ends with it.

        An epoch counts once: its first record stands, and a repeated one is booked as lost cost.

        Args:
            arm: The trial's arm.
            number: Its number in the arm.
            epoch: From 1.
            best: Best judged value so far.
            best_epoch: When that was.
            ended: Why the trial ran its course, or empty.
            seconds: What the epoch took.
            is_replayed: Whether the record was read from a checkpoint: it cost nothing again.
        """
        progress = self.trials[arm, number]
        if progress.outcome is not None:
            return True
        is_new = epoch > progress.epoch
        if not is_new:
            if not is_replayed:
                progress.lost_epochs += 1
                progress.lost_seconds += seconds
            if not ended:
                return False
        if is_new:
            progress.epoch, progress.losses = epoch, 0
            progress.seconds += seconds
            if not best <= progress.best:  # a repeated epoch may have come out worse than its record
                progress.best, progress.best_epoch = best, best_epoch
        epoch = progress.epoch
        ladder = self.ladders[arm]
        ladder.record(number, epoch, progress.best)
        outcome: Outcome | None = None
        reason = ""
        if progress.decided is not None and progress.decided[0] == epoch:
            _, outcome, reason = progress.decided
        elif ended:
            outcome, reason = "finished", ended
        elif not ladder.goes_on(number, epoch):
            outcome, reason = "stopped", f"below the best 1/{ladder.reduction_factor} at rung {epoch}"
        cost = {
            "epoch": epoch,
            "before": progress.seconds - (seconds if is_new else 0.0),
            "seconds": progress.seconds,
            "lost": [progress.lost_epochs, progress.lost_seconds],
        }
        self.ledger.note(arm.name, number, "cost", cost)
        if outcome is not None:
            self.ledger.decide(arm.name, number, epoch, outcome, reason)
        if is_new:
            self.ledger.report(arm.name, number, epoch, progress.best)
        if outcome is not None:
            self._end(progress, outcome, reason)
        return outcome is not None

    def fail(self, arm: Arm, number: int, outcome: Outcome, reason: str, details: str = "") -> None:
        """Ends a trial that diverged or raised; it is never selectable."""
        progress = self.trials[arm, number]
        if progress.outcome is None:
            self._end(progress, outcome, reason, {"details": details[-4000:]} if details else {})

    def interrupt(self, arm: Arm, number: int) -> None:
        """Takes a trial back that ended between epochs by no fault of its own; it is the next to be handed out."""
        progress = self.trials[arm, number]
        if progress.is_running:
            progress.is_running = False
            self._waiting.insert(0, progress)

    def lose(self, arm: Arm, number: int, reason: str) -> None:
        """Takes a trial back whose worker was lost: it goes on elsewhere, unless no worker survives its next epoch."""
        progress = self.trials[arm, number]
        if not progress.is_running:
            return
        progress.losses += 1
        if progress.losses >= MAX_LOSSES:
            self.fail(arm, number, "failed", f"lost {progress.losses} workers in epoch {progress.epoch + 1}: {reason}")
            return
        self._retry(progress, reason)

    def out_of_memory(self, arm: Arm, number: int, reason: str, *, has_company: bool) -> None:
        """Takes a trial back that ran out of memory: it is tried alone on its device, then with smaller micro-batches.

        Args:
            arm: The trial's arm.
            number: Its number in the arm.
            reason: What the device said.
            has_company: Whether other trials may have been on its device.
        """
        progress = self.trials[arm, number]
        if not progress.is_running:
            return
        if has_company and not progress.is_alone:
            progress.is_alone = True
            self._retry(progress, reason)
            return
        batch_size = progress.assignment.config.batch_size
        now = progress.micro_batch_size or batch_size
        smaller = max(LEAST_MICRO_BATCH, now // 2)
        if max(chunk_sizes(batch_size, smaller)) >= max(chunk_sizes(batch_size, now)):  # it would need as much again
            self.fail(arm, number, "out of memory", reason)
            return
        progress.is_alone, progress.micro_batch_size = True, smaller
        self._retry(progress, reason)

    def selection(self, arm: Arm) -> Progress | None:
        """The trial that the plan selects among those of the arm that ran their course."""
        return self.plan.best([progress for progress in self.of_arm(arm) if progress.outcome == "finished"])

    def _add(self) -> Progress | None:
        """A new trial of the arm that has had the fewest, written to the ledger; None when no allowance is left."""
        open_arms = [arm for arm in self.arms if len(self.of_arm(arm)) < self.plan.allowance(arm)]
        if not open_arms:
            return None
        arm = min(open_arms, key=lambda a: len(self.of_arm(a)))
        number = len(self.of_arm(arm))
        point = self.plan.point(arm, number, self.ledger.trials(arm.name))
        config = self.plan.config(arm, number, point)
        attributes = {"signature": config.signature(), "config": config.model_dump_json()}
        added = self.ledger.add(arm.name, point, self.plan.space(arm), attributes)
        assert added == number, f"the ledger numbered {arm.name}'s trial {added}, not {number}"
        return self._know(Progress(Assignment(arm, number, config)))

    def _know(self, progress: Progress) -> Progress:
        trial = progress.assignment
        self.trials[trial.arm, trial.number] = progress
        self._by_arm[trial.arm].append(progress)
        return progress

    def _retry(self, progress: Progress, reason: str) -> None:
        trial = progress.assignment
        progress.is_running = False
        content = {
            "epoch": progress.epoch,
            "losses": progress.losses,
            "is_alone": progress.is_alone,
            "micro_batch_size": progress.micro_batch_size,
            "reason": reason,
        }
        self.ledger.note(trial.arm.name, trial.number, "retry", content)
        self._waiting.append(progress)

    def _end(self, progress: Progress, outcome: Outcome, reason: str, attributes: dict[str, Any] | None = None) -> None:
        progress.outcome, progress.reason, progress.is_running = outcome, reason, False
        cost = {
            "reason": reason,
            "epochs": progress.epoch,
            "seconds": round(progress.seconds, 3),
            "best_epoch": progress.best_epoch,
        }
        assignment = progress.assignment
        self.ledger.end(assignment.arm.name, assignment.number, outcome, progress.best, cost | (attributes or {}))

    def _restore(self) -> None:
        """Reads the ledger's trials; those that are open are handed out again in the order in which they began."""
        open_trials: list[tuple[FrozenTrial, Progress]] = []
        for arm in self.arms:
            for trial in self.ledger.trials(arm.name):
                progress = self._know(self._restored(arm, trial))
                if progress.outcome is None:
                    open_trials.append((trial, progress))
        open_trials.sort(key=lambda pair: pair[0].datetime_start or pair[0].number)
        self._waiting = [progress for _, progress in open_trials]

    def _restored(self, arm: Arm, trial: FrozenTrial) -> Progress:
        attributes, number = trial.user_attrs, trial.number
        config = self.plan.config(arm, number, trial.params)
        if config.signature() != attributes["signature"]:
            raise UserError(
                f"trial {number} of {arm.name} has the signature {attributes['signature']} in the ledger, but "
                f"{config.signature()} by this version's defaults: go on with the version that began the study, or "
                "start in another folder"
            )
        progress = Progress(Assignment(arm, number, config))
        for epoch, best in sorted(trial.intermediate_values.items()):
            self.ladders[arm].record(number, epoch, best)
            if not best <= progress.best:
                progress.best, progress.best_epoch = best, epoch
            progress.epoch = epoch
        if cost := attributes.get("cost"):
            is_known = cost["epoch"] <= progress.epoch  # it is written ahead of its epoch's value
            progress.seconds = cost["seconds" if is_known else "before"]
            progress.lost_epochs, progress.lost_seconds = cost["lost"]
        if retry := attributes.get("retry"):
            progress.losses = retry["losses"] if retry["epoch"] == progress.epoch else 0
            progress.is_alone, progress.micro_batch_size = retry["is_alone"], retry["micro_batch_size"]
        stop = attributes.get("stop")
        if trial.state.is_finished():
            progress.outcome, progress.reason = attributes["outcome"], attributes["reason"]
        elif "outcome" in attributes:  # killed before the state itself was told
            self._end(progress, attributes["outcome"], attributes["reason"])
        elif stop is not None and stop[0] <= progress.epoch:
            self._end(progress, stop[1], stop[2])
        elif stop is not None:
            progress.decided = (stop[0], stop[1], stop[2])
        return progress
